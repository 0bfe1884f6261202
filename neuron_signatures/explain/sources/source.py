"""The run whose neurons are explained, and which of its texts are for writing, choosing and scoring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuron_signatures.explain.puzzles import Puzzle
from neuron_signatures.runs.records.names import Part

SourceKind = Literal["run", "neuron_record", "puzzles"]


@dataclass(frozen=True)
class Source:
    """A run with records.

    `explain`, `select` and `report` are the parts whose texts a writer sees, a choice is made on and a score is
    reported on. Puzzles have one part for all three: their scores are not held out (`held_out`), because a puzzle has
    too few sentences to split.
    """

    kind: SourceKind
    run_dir: Path
    explain: tuple[Part, ...] = ("explain",)
    select: tuple[Part, ...] = ("select",)
    report: tuple[Part, ...] = ("report",)
    lines: tuple[str, ...] = ()
    """For the summary: what was imported."""
    puzzles: tuple[Puzzle, ...] = ()
    """In order: puzzle i is neuron L0N<i>, of which only the pole + is known."""

    @property
    def held_out(self) -> bool:
        """Whether no text that a writer sees is used for a choice or a score."""
        return not set(self.explain) & {*self.select, *self.report}
