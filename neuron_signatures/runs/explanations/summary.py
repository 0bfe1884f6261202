"""What explanations a run holds, for listings: read from the stage records only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.meta import read_set_meta
from neuron_signatures.runs.explanations.names import EXPLANATIONS, HUMAN_SET, SETS
from neuron_signatures.runs.files import counted


@dataclass(frozen=True)
class ExplanationsSummary:
    """Counts of the finished sets; `problem` says what is damaged."""

    n_sets: int = 0
    n_explanations: int = 0
    n_ok: int = 0
    n_unfinished: int = 0
    """Sets without a stage record."""
    by_people: bool = False
    """Whether there is a set of what people wrote."""
    problem: str = ""

    def text(self) -> str:
        """In one line."""
        if self.problem:
            return f"damaged: {self.problem}"
        parts = []
        if self.n_sets:
            failed = self.n_explanations - self.n_ok
            failures = f", {failed:,} more failed" if failed else ""
            parts.append(f"{counted(self.n_ok, 'explanation')} in {counted(self.n_sets, 'set')}{failures}")
        if self.n_unfinished:
            parts.append(f"{counted(self.n_unfinished, 'set')} unfinished")
        if self.by_people:
            parts.append("some by people")
        return ", ".join(parts) or "none"


def summarise_explanations(run_dir: Path) -> ExplanationsSummary | None:
    """None if the run has no folder of explanations."""
    if not (run_dir / EXPLANATIONS).is_dir():
        return None
    metas, unfinished = [], 0
    try:
        names = SETS.names(run_dir)
        for name in names:
            try:
                metas.append(read_set_meta(run_dir, name))
            except UsageError:
                unfinished += name != HUMAN_SET
    except BadRunError as e:
        return ExplanationsSummary(problem=e.what)
    return ExplanationsSummary(
        n_sets=len(metas),
        n_explanations=sum(m.n_explanations for m in metas),
        n_ok=sum(m.counts.get("ok", 0) for m in metas),
        n_unfinished=unfinished,
        by_people=HUMAN_SET in names,
    )
