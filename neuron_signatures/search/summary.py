"""What the command `index` would do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_signatures.runs.errors import escape_controls
from neuron_signatures.runs.files import counted, human_bytes
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.record import SearchFacts
from neuron_signatures.runs.tokens import brief
from neuron_signatures.search.collect import Collected

_BYTES_PER_TEXT: Final = 700
"""Of the words of a text and their index, measured on look-up rules and windows of 128 tokens."""
_BYTES_PER_ROW: Final = 40
_DIMENSIONS: Final = 384
"""Of MiniLM; other models have more."""


@dataclass(frozen=True)
class IndexForecast:
    """The counts of a dry run; `embedder` None: no vectors, for the reason `why`."""

    run_dir: Path
    n_texts: int
    n_explanations: int
    n_exemplars: int
    embedder: str | None
    why: str
    warnings: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """About the size of the index."""
        vectors = 0 if self.embedder is None else 2 * _DIMENSIONS * self.n_texts
        return _BYTES_PER_TEXT * self.n_texts + _BYTES_PER_ROW * (self.n_explanations + self.n_exemplars) + vectors

    def lines(self) -> list[str]:
        """For people."""
        by = f"embedded by {brief(self.embedder)}" if self.embedder else f"not embedded ({self.why})"
        counts = _counts(self.n_explanations, self.n_exemplars, self.n_texts)
        return [f"would index {counts}, {by}; about {human_bytes(self.n_bytes)}", *_warnings(self.warnings)]

    def fields(self) -> dict[str, Any]:
        return {
            "run": str(self.run_dir), "n_texts": self.n_texts, "n_explanations": self.n_explanations,
            "n_exemplars": self.n_exemplars, "embedder": self.embedder, "bytes": self.n_bytes,
            "warnings": list(self.warnings),
        }  # fmt: skip


@dataclass(frozen=True)
class IndexSummary:
    """What was indexed."""

    run_dir: Path
    facts: SearchFacts
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        f = self.facts
        by = "searched by words" + (f" and by meaning ({brief(f.embedder.name)})" if f.embedder else "")
        line = f"indexed {_counts(f.n_explanations, f.n_exemplars, f.n_texts)}, {by}: {self.run_dir / 'search'}"
        return [escape_controls(line), *_warnings(self.warnings)]

    def fields(self) -> dict[str, Any]:
        return {"run": str(self.run_dir), **self.facts.model_dump(), "warnings": list(self.warnings)}


def forecast_of(run: Run, found: Collected, embedder: str | None, why: str) -> IndexForecast:
    """Of collected texts."""
    n = len(found.explained.rows)
    return IndexForecast(run.path, found.n_texts, n, found.exemplars.n, embedder, why, found.warnings)


def _counts(n_explanations: int, n_exemplars: int, n_texts: int) -> str:
    of = f"{counted(n_explanations, 'explanation')} and {counted(n_exemplars, 'exemplar')}"
    return f"{of} ({counted(n_texts, 'different text')})"


def _warnings(warnings: tuple[str, ...]) -> list[str]:
    return [f"note: {escape_controls(warning)}" for warning in warnings]
