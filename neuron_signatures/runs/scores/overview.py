"""What scores a run holds, for listings: read from the stage records only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.scores.meta import read_meta
from neuron_signatures.runs.scores.names import LOGS, SCORES


@dataclass(frozen=True)
class ScoresSummary:
    """Counts of the finished scores; `problem` says what is damaged."""

    n_scored: int = 0
    """Explanations, once per scorer."""
    n_ok: int = 0
    n_sets: int = 0
    scorers: tuple[str, ...] = ()
    n_unfinished: int = 0
    """Logs without a stage record."""
    n_select: int = 0
    """Finished ones on the part `select`, which are no scores; not in the other counts."""
    problem: str = ""

    def text(self) -> str:
        """In one line."""
        if self.problem:
            return f"damaged: {self.problem}"
        parts = []
        if self.scorers:
            failed = self.n_scored - self.n_ok
            failures = f", {failed:,} more failed" if failed else ""
            parts.append(f"{counted(self.n_ok, 'explanation')} scored ({', '.join(self.scorers)}){failures}")
        if self.n_select:
            parts.append(f"{self.n_select} for choosing")
        if self.n_unfinished:
            parts.append(f"{self.n_unfinished} unfinished")
        return ", ".join(parts) or "none"


def summarise_scores(run_dir: Path) -> ScoresSummary | None:
    """None if the run has no folder of scores."""
    if not (run_dir / SCORES).is_dir():
        return None
    metas, unfinished = [], 0
    try:
        for name in LOGS.names(run_dir):
            try:
                metas.append(read_meta(run_dir, name))
            except UsageError:
                unfinished += 1
    except BadRunError as e:
        return ScoresSummary(problem=e.what)
    reported = [m for m in metas if m.split == "report"]
    return ScoresSummary(
        n_scored=sum(sum(m.counts.values()) for m in reported),
        n_ok=sum(m.counts.get("ok", 0) for m in reported),
        n_sets=len({m.set for m in reported}),
        scorers=tuple(dict.fromkeys(m.scorer for m in reported)),
        n_unfinished=unfinished,
        n_select=len(metas) - len(reported),
    )
