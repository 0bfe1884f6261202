"""What a stage has done: explanations by status, poles left out, and what it cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuron_signatures.llm.spent import Spent
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.llm.status import STATUSES


@dataclass
class Tally:
    """Counts of one process, which grow as it works."""

    n_poles: int = 0
    """Poles that were asked for."""
    n_done_before: int = 0
    """Poles of which an earlier process made everything."""
    n_locked: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    """Of the explanations made now."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Names of poles with too little evidence, by the reason."""
    n_undecided: int = 0
    """Choices in which no candidate's score was defined, so that the first was taken."""

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out.setdefault(reason, []).append(name)

    @property
    def n_failed(self) -> int:
        return sum(n for status, n in self.statuses.items() if status != "ok")


@dataclass(frozen=True)
class Outcome:
    """`set_statuses` count all explanations of the set, also those of earlier commands."""

    run_dir: Path
    set_name: str
    tally: Tally
    spent: Spent
    set_statuses: dict[str, int]
    finished: bool
    stopped: str = ""
    """Why it ended before all poles were done; empty if it did not."""

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        t = self.tally
        return {
            "run_dir": str(self.run_dir), "set": self.set_name, "finished": self.finished, "stopped": self.stopped,
            "n_poles": t.n_poles, "n_done_before": t.n_done_before, "n_locked": t.n_locked,
            "statuses": dict(t.statuses), "left_out": {reason: len(names) for reason, names in t.left_out.items()},
            "n_undecided": t.n_undecided, "set_statuses": self.set_statuses, **asdict(self.spent),
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        t = self.tally
        done = f" ({t.n_done_before:,} done before)" if t.n_done_before else ""
        lines = [f"{self.set_name}: {counted(t.n_poles, 'pole')}{done}, {_by_status(t.statuses)} now"]
        lines += [f"{len(names):,} left out: {reason}" for reason, names in t.left_out.items()]
        if t.n_locked:
            lines.append(f"{t.n_locked:,} left out: their explanation is locked")
        if t.n_undecided:
            lines.append(f"{counted(t.n_undecided, 'choice')} without a defined score: the first sample was taken")
        lines.append(self.spent.text())
        lines.append(f"the set now has {_by_status(self.set_statuses)}: {self.run_dir / 'explanations'}")
        return lines


def _by_status(statuses: dict[str, int]) -> str:
    """Such as `98 ok, 2 too_long`."""
    found = [f"{statuses[s]:,} {s}" for s in STATUSES if statuses.get(s)]
    return ", ".join(found) or "no explanations"
