"""The interventions of a run as a table, and reading one for display."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import BadRunError, ProjectError, UsageError
from neuron_signatures.runs.intervention_records import EffectRecord, SwapRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.layout.text import Column, RowTable, Span, beginning, line
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.tables.documents import DocTable
from neuron_signatures.views.interventions.effects import single_effects
from neuron_signatures.views.interventions.labels import InterventionRecord
from neuron_signatures.views.interventions.results import ResultRef, example_flags, read_intervention
from neuron_signatures.views.interventions.sheets import Sheet


class ReadResult(NamedTuple):
    record: InterventionRecord
    single: Sheet | str
    """Effects of single neurons, or why they cannot be read; empty for results without them."""


@dataclass
class ResultTable(RowTable[ResultRef]):
    """Interventions, newest first, and one line for each that cannot be read."""

    empty: str

    def columns(self) -> Sequence[Column]:
        return (
            Column("title", "intervention", 0, min_width=40),
            Column("verdict", "verdict", 0, drop=2, min_width=50),
            Column("made", "made (UTC)", 16, drop=1),
        )

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.rows[i]
        title = f"broken: {r.stem}: {r.problem}" if r.problem else r.title
        title = f"from another dump? {title}" if r.doubt else title
        return {
            "title": Span(beginning(title), "warn" if r.problem or r.doubt else ""),
            "verdict": Span(beginning(r.verdict), "mark"),
            "made": Span(beginning(r.created_at_utc[:16].replace("T", " ")), "dim"),
        }

    def record(self, i: int) -> dict[str, Any]:
        return self.rows[i]._asdict()


def read_result(run_dir: Path, stem: str) -> ReadResult:
    """Raises `UsageError` or `BadRunError` if the record cannot be read; a damaged table is a message."""
    record = read_intervention(run_dir, stem)
    if not isinstance(record, EffectRecord):
        return ReadResult(record, "")
    try:
        return ReadResult(record, single_effects(run_dir, stem))
    except ProjectError as e:
        return ReadResult(record, e.line())


def result_printed(run_dir: Path, ref: ResultRef, found: ReadResult, table: DocTable, pair: int | None) -> Printed:
    """A result as lines, and its record as data."""
    record = found.record
    data = record.pairs[pair] if isinstance(record, SwapRecord) and pair is not None else record
    head = [line(Span(beginning(ref.title), "title")), *(r.line for r in table.rows)]
    return Printed(head, None, {"screen": "intervention", "run": str(run_dir), "list": ref.stem, **data.model_dump()})


def choose_result(opened: OpenedRun, name: str) -> ResultRef:
    """The intervention with this name. Raises `UsageError` if there is none, `BadRunError` if it cannot be read."""
    refs = opened.interventions()
    found = next((r for r in refs if r.stem == name), None)
    if found is None:
        raise UsageError(f"no intervention {name!r} (there are: {', '.join(r.stem for r in refs) or 'none'})")
    if found.problem:
        raise BadRunError(found.problem, where=name)
    return found


def no_interventions(run: Run, cursor: Cursor) -> str:
    """How to make an intervention."""
    flags = shlex.join(["--run_dir", str(run.path), *example_flags(run.prompts[cursor.prompt].probe_id)])
    return f"no interventions yet; make one with: python -m neuron_signatures.poc3_intervene {flags}"
