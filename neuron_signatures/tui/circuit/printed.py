"""A circuit, or the list of all, for `--print` and for exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.tui.circuit.filtering import matching
from neuron_signatures.tui.circuit.grid_lines import Marks, grid_lines, size_of
from neuron_signatures.tui.circuit.head import answer_spans, circuit_head
from neuron_signatures.tui.circuit.tables import NodeTable, TreeTable
from neuron_signatures.tui.layout.text import Column, Line, RowTable, Span, beginning, clip, line, width
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.views.circuit.common import read_common
from neuron_signatures.views.circuit.grid import grid_of
from neuron_signatures.views.circuit.opened import (
    CircuitRef,
    OpenedCircuit,
    circuit_refs,
    open_circuit,
    trace_command,
)
from neuron_signatures.views.circuit.tree import TreeRow, to_depth, tree_rows

MOST = 8
"""Sources of a node that are shown at first."""
_DEPTH = 2
"""Levels of a printed tree."""


@dataclass
class CircuitTable(RowTable[CircuitRef]):
    """The circuits of a run, with one line for each that cannot be read."""

    empty: str

    def columns(self) -> Sequence[Column]:
        longest = max((width(beginning(r.name)) for r in self.rows), default=0)
        return (
            Column("name", "circuit", max(8, min(longest, 32))), Column("answer", "explains", 0, min_width=42),
            Column("nodes", "nodes", 6, right=True, drop=3), Column("edges", "edges", 6, right=True, drop=4),
            Column("tested", "tested", 6, drop=2), Column("made", "made (UTC)", 16, drop=1),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        r = self.rows[i]
        return {
            "name": Span(beginning(r.name), "title"), "answer": _explains(r),
            "nodes": Span("" if r.n_nodes is None else str(r.n_nodes)),
            "edges": Span("" if r.n_edges is None else str(r.n_edges)),
            "tested": Span("yes" if r.is_tested else "" if r.prompt is None else "no"),
            "made": Span(made_text(r.made), "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        r = self.rows[i]
        return {**r._asdict(), "prompt": None if r.prompt is None else asdict(r.prompt)}


def made_text(created_at_utc: str) -> str:
    """`2026-01-02 03:04`."""
    return beginning(created_at_utc[:16].replace("T", " "))


def no_circuits(opened: OpenedRun, prompt: int) -> str:
    """How to make a circuit."""
    return f"no circuits yet; make one with: {trace_command(opened.run.path, opened.run.prompts[prompt].probe_id)}"


def choose_circuit(refs: Sequence[CircuitRef], name: str) -> CircuitRef:
    """The circuit of this name. Raises `UsageError` if the run has none."""
    found = next((r for r in refs if r.name == name), None)
    if found is None:
        there = ", ".join(r.name for r in refs[:20]) or "none"
        raise UsageError(f"no circuit {name[:80]!r} (there are: {there})")
    return found


def list_printed(opened: OpenedRun, prompt: int, name: str | None, query: str, columns: int) -> Printed:
    """The circuit `name`, or the only one; else the list of all."""
    refs = circuit_refs(opened.run.path)
    if name is None and len(refs) != 1:
        record = {"run": str(opened.run.path), "model": opened.run.manifest.model_name}
        return Printed([], CircuitTable(refs, no_circuits(opened, prompt)), record)
    chosen = choose_circuit(refs, name) if name is not None else refs[0]
    if chosen.is_common:
        from neuron_signatures.tui.circuit.common_page import common_printed  # imports the browser

        return common_printed(opened, read_common(opened.run.path, chosen.name), columns)
    found = open_circuit(opened.run.path, chosen.name, opened.run.manifest)
    return circuit_printed(opened, found, [r.name for r in refs if r.prompt is not None], query, columns)


def circuit_printed(
    opened: OpenedRun, found: OpenedCircuit, names: Sequence[str], query: str, columns: int,
    rows: Sequence[TreeRow] | None = None,
) -> Printed:  # fmt: skip
    """A circuit as heading, grid and tree; with `query`, the nodes that match. `rows`: of the tree as it is shown."""
    graph = found.stored.graph
    grid = grid_of(graph)
    head = circuit_head(found, names, columns, whole=True)
    wide = size_of(grid).wide <= columns
    wanted = columns if wide else min(columns, size_of(grid).narrow)
    head += [(), *grid_lines(grid, graph, Marks(), wanted, 1 << 20, plain=True)]
    table: TreeTable | NodeTable
    if query:
        table = NodeTable(matching(found, query), found)
    else:
        shown = tree_rows(found.index, to_depth(found.index, _DEPTH, MOST), most=MOST) if rows is None else rows
        table = TreeTable(shown, found, room=columns)
    cells = [{**place._asdict(), **cell._asdict()} for place, cell in sorted(grid.cells.items())]
    checks = found.checks
    record = {
        "run": str(opened.run.path), "model": opened.run.manifest.model_name, "screen": "circuit",
        "list": found.stored.name, "prompt_id": graph.prompt.prompt_id, "prompt": asdict(graph.prompt),
        "n_layers": graph.n_layers, "n_nodes": len(graph.nodes), "n_edges": len(graph.edges),
        "settings": found.stored.record.settings, "facts": _facts(found),
        "warnings": list(found.stored.record.warnings), "problems": list(found.problems), "query": query,
        "groups": [g.model_dump() for g in found.groups.groups], "pinned": list(found.groups.pinned),
        "curves": None if checks is None else [asdict(c) for c in checks.curves],
        "swaps": None if checks is None else [asdict(s) for s in checks.swaps], "grid": cells,
    }  # fmt: skip
    return Printed([clip(x, columns) for x in head], table, record)


def _facts(found: OpenedCircuit) -> dict[str, Any]:
    return {k: v for k, v in found.stored.record.facts.items() if k != "prompt"}


def _explains(r: CircuitRef) -> Line:
    if r.problem:
        return line(Span(f"broken: {beginning(r.problem)}", "warn"))
    if r.is_common or r.prompt is None:
        return line(Span("what the circuits of several prompts share", "dim"))
    return line(*answer_spans(r.prompt), Span(f"  {beginning(r.prompt.text)}", "dim"))
