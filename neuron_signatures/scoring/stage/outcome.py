"""What the stage has done, and what the scores are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.llm.spent import Spent
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.llm.status import STATUSES
from neuron_signatures.runs.scores.meta import About
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.scores.summary import Summary
from neuron_signatures.scoring.stage.scored_set import Tally

FOR_CHOOSING = "of the part select, for choosing among explanations: these values are no scores"


@dataclass(frozen=True)
class LogOutcome:
    """One set and one scorer. `summaries` are of all that the log holds; empty if it was not begun."""

    about: About
    tally: Tally
    finished: bool
    summaries: Sequence[Summary]

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        t, a = self.tally, self.about
        return {
            "name": a.name, "set": a.set, "scorer": a.scorer, "model": a.scorer_model, "part": a.split,
            "finished": self.finished, "n_poles": t.n_poles, "n_done_before": t.n_done_before,
            "statuses": dict(t.statuses), "n_failed_requests": t.n_failed_requests,
            "scores": [asdict(s) for s in self.summaries],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people: what was done, and the headline score."""
        t = self.tally
        done = f" ({t.n_done_before:,} done before)" if t.n_done_before else ""
        state = "" if self.finished else "; unfinished"
        failed = f", {counted(t.n_failed_requests, 'request')} failed" if t.n_failed_requests else ""
        lines = [f"{self.about.name}: {counted(t.n_poles, 'pole')}{done}, {_by_status(t.statuses)}{failed}{state}"]
        if self.about.split == "select":
            lines.append(f"  {FOR_CHOOSING}")
        return lines + [f"  {line}" for s in self.summaries[:1] for line in headline(s)]


@dataclass(frozen=True)
class Outcome:
    """All sets and scorers of one command."""

    run_dir: Path
    logs: Sequence[LogOutcome]
    spent: Spent
    warnings: Sequence[str] = ()
    stopped: str = ""
    """Why it ended before all was done; empty if it did not."""

    @property
    def n_failed(self) -> int:
        """Items without a score because of a failed request, or failed requests of others."""
        return sum(log.tally.n_failed_requests for log in self.logs)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run_dir": str(self.run_dir), "logs": [log.fields() for log in self.logs],
            "warnings": list(self.warnings), "stopped": self.stopped, **asdict(self.spent),
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        lines = [line for log in self.logs for line in log.lines()]
        return [*lines, self.spent.text(), f"scores: {self.run_dir / SCORES}"]


def headline(s: Summary) -> list[str]:
    """A summary in two or three lines."""
    if not s.score:
        return [f"nothing scored; failed: {_counts(s.failed)}"]
    what = f"{s.score}: {_number(s.mean)}{_interval(s.low, s.high)} over {counted(s.n_neurons, 'neuron')}"
    null = f"null {_number(s.null_best)}, lift {_number(s.lift)}, above the null {_share(s.share_above_null)}"
    few = s.share_significant is None
    null += ", too few draws for p <= .05" if few else f", p <= .05 {_share(s.share_significant)} (chance 5 %)"
    lines = [f"{what}, {counted(s.n, 'pole')}", null if s.n_with_null else "no null: no other explanations were scored"]
    rest = [f"ceiling {_number(s.ceiling)}", f"look-up rules {_number(s.lookup)}"]
    rest += [] if s.coverage is None else [f"coverage {_share(s.coverage)}"]
    rest += [f"undefined: {_counts(s.undefined)}"] if s.undefined else []
    rest += [f"not scored: {_counts(s.failed)}"] if s.failed else []
    return [*lines, ", ".join(rest)]


def _by_status(statuses: dict[str, int]) -> str:
    found = [f"{statuses[s]:,} {s}" for s in STATUSES if statuses.get(s)]
    return f"scored {', '.join(found)} now, controls included" if found else "nothing scored now"


def _counts(counts: Any) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in counts.items()) or "none"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
