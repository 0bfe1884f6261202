"""`explain export --finetune`: chat examples (JSONL) for training a small explainer or simulator.

Each line is `{"messages": [{"role": ..., "content": ...}, ...]}`, the last message the answer. The answers are the
current explanations of a finished set: what was chosen, revised, or written by a person in its place.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from neuron_signatures.explain.examples import ExplainerExamples, LeftOut, SimulatorExamples
from neuron_signatures.llm.chat import Message
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.meta import read_set_meta
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import Shown
from neuron_signatures.runs.files import explain_os_errors, human_bytes, whole_file
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

Task = Literal["explainer", "simulator"]


@dataclass
class FinetuneSummary:
    """`left_out` counts explanations by the reason why they gave no example."""

    file: Path
    task: Task
    n_explanations: int = 0
    """That gave examples."""
    n_examples: int = 0
    n_bytes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": str(self.file), "task": self.task, "n_explanations": self.n_explanations,
            "n_examples": self.n_examples, "n_bytes": self.n_bytes, "left_out": dict(sorted(self.left_out.items())),
        }  # fmt: skip

    def lines(self) -> list[str]:
        what = f"{self.n_examples:,} examples for a small {self.task}, of {self.n_explanations:,} explanations"
        left_out = [f"left out: {n:,} ({reason})" for reason, n in sorted(self.left_out.items())]
        return [f"{what}, {human_bytes(self.n_bytes)}: {self.file}", *left_out]


def export_finetune(run_dir: Path, set_name: str, file: Path, task: Task) -> FinetuneSummary:
    """Write the examples of a finished set.

    For an explainer, the prompt of an explanation is built again; it must be the one that was answered (by its sha256),
    which is not so if the records or the prompts of this version are others. For a simulator, the texts are of the
    part explain. Raises `UsageError` for a set that is not finished, a file that exists, and without any example.
    """
    if file.exists():
        raise UsageError("this file exists", where=str(file), next_step="Choose another name, or remove it")
    meta = read_set_meta(run_dir, set_name)
    explanations = Explanations.open(run_dir, sets=[set_name])
    summary = FinetuneSummary(file, task)
    run = Run.open(run_dir)
    with Records.open(run) as records:
        maker = ExplainerExamples(run, records, meta.settings) if task == "explainer" else SimulatorExamples(records)
        with explain_os_errors(file), whole_file(file.parent, file.name) as out:
            for line in _lines(explanations, maker, summary):
                summary.n_bytes += out.write(line)
            if not summary.n_examples:
                reasons = ", ".join(summary.left_out) or "it has no explanation"
                raise UsageError(f"no example can be made of the set {set_name}: {reasons}", where=str(run_dir))
    return summary


def _lines(
    explanations: Explanations, maker: ExplainerExamples | SimulatorExamples, summary: FinetuneSummary
) -> Iterator[bytes]:
    _count_failed(explanations, summary)
    for shown in explanations.all():
        if not shown.current:
            continue
        found = _voted_down(shown) or maker.examples(shown)
        if isinstance(found, LeftOut):
            summary.left_out[found.reason] += 1
            continue
        summary.n_explanations += 1
        summary.n_examples += len(found)
        yield from map(_line, found)


def _count_failed(explanations: Explanations, summary: FinetuneSummary) -> None:
    """Count the poles (and modes) without an explanation, by the status of the last request."""
    current = {(r.at, r.mode) for r in explanations.rows() if r.current}
    failed = {(r.at, r.mode): r.status for r in explanations.rows() if r.status != "ok"}
    summary.left_out.update(f"status {status}" for of, status in failed.items() if of not in current)


def _voted_down(shown: Shown) -> LeftOut | None:
    return LeftOut("more votes against it than for it") if shown.down > shown.up else None


def _line(messages: Sequence[Message]) -> bytes:
    record = {"messages": [m._asdict() for m in messages]}
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")
