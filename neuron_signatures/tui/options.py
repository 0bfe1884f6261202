"""Flags of the browser as one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIST_SCREENS = ("peaks", "influence", "signatures", "contrast")
NAMED_SCREENS = (*LIST_SCREENS, "interventions", "circuit", "simulated")
"""Screens of which `--list` selects one result."""
WITHOUT_PROMPTS = ("corpus", "neurons", "explanation", "simulated", "explanations", "at_large", "search", "run")
"""Screens of a run that holds records of a corpus and no prompts; the first is the default."""
SCREENS = (
    "browser", "corpus", "neurons", "explanation", "simulated", "explanations", "prompts", "layers", "stack", "top",
    "lists", *LIST_SCREENS, "interventions", "circuit", "at_large",
    "notes", "search", "run", "runs",
)  # fmt: skip

SEARCH_WAYS = ("prompts", "words", "promotes", "suppresses", "meaning")
"""What `--by` selects: tokens in prompts, texts by words, who writes a token, texts by meaning."""


@dataclass(frozen=True)
class Options:
    """What to open and show; None: the flag was not given."""

    run_dir: Path | None = None
    runs_root: Path = Path("runs")
    prompt_idx: int | None = None
    prompt_id: str | None = None
    layer: int | None = None
    neuron: int | None = None
    ctx_idx: int | None = None
    """Negative counts from the end."""
    window: int = 15
    all_tokens: bool = False
    include_bos: bool = False
    screen: str | None = None
    list_name: str | None = None
    query: str | None = None
    by: str | None = None
    """One of `SEARCH_WAYS`; None: the first that the run has."""
    limit: int | None = None
    """Maximum number of printed rows; None: the default of the screen."""

    @property
    def names_a_place(self) -> bool:
        """Whether a flag gives the start position."""
        return any(x is not None for x in (self.prompt_idx, self.prompt_id, self.layer, self.neuron, self.ctx_idx))
