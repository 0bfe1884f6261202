"""What a report is asked for, and how much it shows."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BYTES = 4_000_000
"""Size that a report stays below."""
MAX_TOP_K = 100


@dataclass(frozen=True)
class Settings:
    """Flags of the report. None: chosen from what the run holds."""

    prompt_id: str | None = None
    influence: str | None = None
    """Stem of an influence result."""
    top_k: int = 10


@dataclass(frozen=True)
class Detail:
    """How much a report shows; a smaller one is tried if the report is too large."""

    windows: int = 4
    """Strongest windows of a pole."""
    predicted: int = 2
    """Windows with the simulated activations."""
    prompt_tokens: int = 300
    """Tokens of a prompt."""
    explanations: int = 12
    """Explanations of a pole."""
    characters: int = 1200
    """Of an explanation."""
    rows: int = 60
    """Of a table."""
    files: int = 400
    """Files with their checksums."""
    neurons: int = MAX_TOP_K
    """Neurons that have a card."""

    def left_out(self) -> str:
        """What a reader does not see because of the size; empty for the full detail."""
        if self == DETAILS[0]:
            return ""
        return (
            f"To stay below {MAX_BYTES / 1e6:g} MB, this report shows at most {self.neurons} neurons, "
            f"{self.windows} windows of a pole, {self.prompt_tokens} tokens of a prompt, {self.explanations} "
            f"explanations of a pole, {self.characters} characters of each, {self.rows} rows of a table and "
            f"{self.files} checksums."
        )


DETAILS = (
    Detail(),
    Detail(windows=2, predicted=1, prompt_tokens=120, explanations=6, characters=400, rows=30, files=100),
    Detail(1, 1, 60, 3, 200, 20, 40, 20),
    Detail(0, 0, 30, 2, 120, 10, 10, 8),
)
"""From full to least."""
