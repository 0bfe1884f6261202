"""The screen of one circuit: the tree, the grid at its side, and below them the row under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal

from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.runs.names import CIRCUITS
from neuron_signatures.tui.circuit.filtering import matching
from neuron_signatures.tui.circuit.grid_lines import Marks, grid_lines, size_of
from neuron_signatures.tui.circuit.head import circuit_head
from neuron_signatures.tui.circuit.names import row_facts
from neuron_signatures.tui.circuit.outgoing import OutgoingPage
from neuron_signatures.tui.circuit.printed import MOST, circuit_printed
from neuron_signatures.tui.circuit.tables import NodeTable, TreeTable
from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.keys import CIRCUIT, CIRCUIT_FOOTER, ROWS, bindings
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Line, Span, beginning, clip, column_widths, line, table_head, table_row
from neuron_signatures.tui.layout.widgets import Block, Rows
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.page import Send, Stop
from neuron_signatures.views.circuit.grid import Grid, grid_of, place_of
from neuron_signatures.views.circuit.opened import OpenedCircuit, circuit_refs, open_circuit
from neuron_signatures.views.circuit.paths import path_to
from neuron_signatures.views.circuit.tree import Path, TreeRow, targets_of, tree_rows

_FOOT = 3
_LEAST_TREE, _WIDE_TREE = 48, 80
"""Columns that the tree keeps beside a narrow and a wide grid."""
_LEAST_GRID = 21
"""Columns of its legend."""
_GAP = 2


class CircuitPage(BrowserChild):
    """A thread reads the circuit; expanding reads nothing."""

    CSS = """
    CircuitPage Horizontal { height: 1fr; }
    CircuitPage #side { padding: 0 0 0 2; }
    """
    BINDINGS = bindings(CIRCUIT)
    OWN_KEYS = (*CIRCUIT, *(k for k in ROWS if k.action != "choose"))
    FOOTER: ClassVar[list[tuple[str, str]]] = CIRCUIT_FOOTER
    KEY_LINES: ClassVar[int] = 2

    table: TreeTable | NodeTable | None

    def __init__(self, browser: BrowserPage, name: str, query: str = "") -> None:
        super().__init__(browser)
        self.name_ = name
        self.table = None
        self._found: OpenedCircuit | None = None
        self._grid = Grid((), (), {})
        self._names: list[str] = []
        self._open: set[Path] = set()
        self._whole: set[Path] = set()
        self._at: Path = ()
        self._query = query
        self._grid_only = False
        self._fault = ""

    def compose(self) -> ComposeResult:
        yield Block("head")
        with Horizontal():
            yield Rows("rows")
            yield Rows("side")
        yield Block("foot")
        yield Block("status")
        yield Block("keys")

    def on_mount(self) -> None:
        self._read()

    def again(self, browser: BrowserPage) -> CircuitPage:
        page = CircuitPage(browser, self.name_, self._query)
        page._open, page._whole, page._at, page._grid_only = self._open, self._whole, self._at, self._grid_only
        return page

    def files_changed(self, names: list[str]) -> list[str]:
        """Read the circuit again when a file of any circuit changed, such as a person's groups."""
        own = [n for n in names if n.startswith(f"{CIRCUITS}/")]
        if own:
            self.browser.opened.drop_changed_circuits()
            self._read()
        return [n for n in names if n not in own]

    def _read(self) -> None:
        run, name = self.run_, self.name_

        def work(stop: Stop, send: Send) -> None:
            names = [r.name for r in circuit_refs(run.path) if r.prompt is not None]
            send((open_circuit(run.path, name, run.manifest), names))

        self.start("circuit", work)

    def arrived(self, job: str, data: Any) -> None:
        self._found, self._names = data
        self._fault = ""
        self._grid = grid_of(self._found.stored.graph)
        targets = targets_of(self._found.index)
        if not self._open:
            self._open = {(t.id,) for t in targets}
        self._lay_out()

    def failed(self, job: str, text: str) -> None:
        self._fault = text
        self._found = self.table = None
        self.draw()

    def _lay_out(self) -> None:
        """Fill the table for what is open or filtered, with the cursor where it was."""
        assert self._found is not None
        if self._query:
            self.table = NodeTable(matching(self._found, self._query), self._found)
            self.draw(0)
            return
        rows = tree_rows(self._found.index, self._open, self._whole, most=MOST)
        self.table = TreeTable(rows, self._found)
        self.draw(next((i for i, r in enumerate(rows) if r.path == self._at), 0))

    def head(self) -> Sequence[Line]:
        if self._found is None:
            return [line(Span(f"circuit {beginning(self.name_)}", "title"))]
        return circuit_head(self._found, self._names, self.size.width, whole=self.whole_head)

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines([Fact("fault", self._fault, "warn")], columns) if self._fault else [line("reading ...")]

    def draw(self, row: int | None = None) -> None:
        columns, height = self.size
        tree, side = self._columns(columns)
        self.rows.display, self.query_one("#side", Rows).display = tree > 0, side > 0
        self.block("head").show([clip(x, columns) for x in self._heading(height)])
        table = self.table
        if table is None or not len(table):
            lines = self.text(columns) if table is None else [(), line(Span(beginning(table.empty), "warn"))]
            self.rows.show(len(lines), lambda i, w: lines[i], cursor=None)
        else:
            if isinstance(table, TreeTable):
                table.room = tree
            widths = column_widths(table.columns(), tree)
            now, rows = self.rows.cursor if row is None else row, self.rows
            rows.show(
                len(table), lambda i, w: table_row(table, i, widths, cursor=i == rows.cursor), cursor=now or 0,
                head=[table_head(table.columns(), widths)] if height >= 8 else [],
            )  # fmt: skip
        self._draw_cursor()

    def _columns(self, columns: int) -> tuple[int, int]:
        """Columns of the tree and of the grid: both where they fit, else the one that was chosen."""
        if self._found is None or not self._grid.cells:
            return columns, 0
        size = size_of(self._grid)
        if self._grid_only:
            return 0, columns
        if columns - size.wide - _GAP >= _WIDE_TREE:
            return columns - size.wide - _GAP, size.wide + _GAP
        side = min(max(size.narrow, _LEAST_GRID) + _GAP, columns - _LEAST_TREE)
        return (columns - side, side) if side >= _LEAST_GRID + _GAP else (columns, 0)

    def _draw_cursor(self) -> None:
        """What depends on the cursor: the marks of the grid, the lines below, and the status."""
        columns, height = self.size
        found, side = self._found, self.query_one("#side", Rows)
        row = self._row()
        n = 0 if found is None or not self.table else _FOOT if height >= 20 else 1 if height >= 12 else 0
        facts: list[Line] = [] if found is None or row is None else row_facts(found, row)[:n]
        self.block("foot").show([clip(x, columns) for x in [*facts, *[()] * (n - len(facts))]])
        self.draw_status()
        if found is None or not side.display:
            return
        wide = self._columns(columns)[1] - _GAP
        below = sum(len(self.block(name).lines) for name in ("head", "foot", "status", "keys"))
        lines = grid_lines(
            self._grid, found.stored.graph, self._marks(row), wide, height - below, plain=self.app.plain
        )  # fmt: skip
        side.styles.width = wide + _GAP
        side.show(len(lines), lambda i, w: lines[i], cursor=None)

    def _row(self) -> TreeRow | None:
        """The row under the cursor; of a filtered list, its node as a row without an edge."""
        i = self.rows.cursor or 0
        if self.table is None or i >= len(self.table):
            return None
        if isinstance(self.table, TreeTable):
            return self.table.rows[i]
        node = self.table.rows[i]
        path = (self._found and path_to(self._found.index, node.id)) or (node.id,)
        return TreeRow(path, None, node, None, is_open=False, can_open=False)

    def _marks(self, row: TreeRow | None) -> Marks:
        assert self._found is not None
        if row is None:
            return Marks()
        nodes = self._found.index.nodes
        on_path = [nodes[i] for i in row.path if i in nodes and nodes[i].pos >= 0]
        return Marks(place_of(on_path[-1]), {place_of(n) for n in on_path}) if on_path else Marks()

    def idle(self) -> Line:
        if "circuit" in self.waiting:
            return line(Span("reading ...", "mark"))
        if self._query and self._found is not None and self.table is not None:
            n = len(self._found.stored.graph.nodes)
            text = f"{len(self.table)} of {n} nodes match {beginning(self._query)}; / changes it, Esc shows the tree"
            return line(Span(text, "mark"))
        return super().idle()

    def ended(self, job: str) -> None:
        self.draw_status()

    def action_row(self, by: int) -> None:
        self.rows.move(by)
        self._remember()
        self._draw_cursor()

    def _remember(self) -> None:
        row = self._row()
        if row is not None and not self._query:
            self._at = row.path

    def open_row(self, i: int) -> None:
        """Open or close the row; of a filtered list, show the node in the tree."""
        row = self._row()
        if row is None or self._found is None:
            return
        if self._query:
            self._query = ""
            self.reveal(row.path)
        elif row.is_open:
            self._open.discard(row.path)
            self._lay_out()
        elif not row.can_open:
            self.show_message("nothing is below this row")
        elif row.line is not None and row.line.kind == "hidden":
            self._whole.add(row.path[:-1])
            self._lay_out_at(i)
        else:
            self._open.add(row.path)
            self._at = row.path
            self._lay_out()

    def _lay_out_at(self, i: int) -> None:
        self._lay_out()
        self.rows.move(i - (self.rows.cursor or 0))
        self._remember()
        self._draw_cursor()

    def reveal(self, path: Path) -> None:
        """Open the tree along a path, with the cursor at its end."""
        assert self._found is not None
        self._query = ""
        for n in range(1, len(path)):
            self._open.add(path[:n])
            strongest = [e.other.id for e in self._found.index.lists(path[n - 1]).incoming[:MOST]]  # type: ignore[union-attr]
            if path[n] not in strongest:
                self._whole.add(path[:n])
        self._at = path
        self._lay_out()

    def action_fold(self, by: int) -> None:
        """Open the row or go to its first line (1), close it or go to the row above it (-1)."""
        row = self._row()
        if row is None or self._query:
            return
        if (by > 0) == row.is_open or (by > 0 and not row.can_open):
            if by > 0:
                self.action_row(1)
            elif row.depth:
                self._at = row.path[:-1]
                self._lay_out()
            return
        self.open_row(self.rows.cursor or 0)

    def action_circuit(self, by: int) -> None:
        """The next or previous circuit of the run."""
        if self.name_ not in self._names or len(self._names) < 2:
            self.show_message("this is the only circuit")
            return
        i = self._names.index(self.name_) + by
        if not 0 <= i < len(self._names):
            self.show_message(f"this is the {'last' if by > 0 else 'first'} of {len(self._names)} circuits")
            return
        self.name_, self._query, self._at = self._names[i], "", ()
        self._open, self._whole = set(), set()
        self._read()

    def action_grid(self) -> None:
        self._grid_only = not self._grid_only
        self.draw()

    def action_outgoing(self) -> None:
        row = self._row()
        if row is None or row.node is None or self._found is None:
            self.show_message("this row is no single node")
        elif row.node.kind == "target":
            self.show_message("the answer has no outgoing edges")
        else:
            self.app.push_screen(OutgoingPage(self.browser, self, self._found, row.node))

    def action_neuron(self) -> None:
        """Open the node in the browser: its neuron at its position of the prompt, or its token."""
        row = self._row()
        if row is None or row.node is None:
            self.show_message("this row is no single node")
        elif row.node.kind == "neuron" and not self.run_.stores(row.node.layer, row.node.neuron or 0):
            self.show_message(f"{row.node.name} is not stored in this run")
        else:
            self.go(self._place(row.node))

    def _place(self, node: Node) -> Cursor:
        """The node on the prompt of the circuit, if the run has it."""
        assert self._found is not None
        now, prompt = self.cursor, self._found.prompt
        if node.kind == "neuron":
            now = now._replace(layer=node.layer, neuron=node.neuron or 0)
        for i, p in enumerate(self.run_.prompts):
            if p.probe_id == prompt.prompt_id and list(p.token_ids) == list(prompt.token_ids):
                return now._replace(prompt=i, pos=max(0, min(node.pos, p.seq_len - 1)))
        return now

    def action_ask(self, what: str) -> None:
        def accept(text: str) -> None:
            if self._found is None:
                return
            matching(self._found, text)  # a mistake is explained in the box
            self._query = text.strip()
            self._lay_out()

        label = "filter nodes: Texas, promotes:·Austin, L3, L3N14-, #4, >0.5; empty shows the tree"
        self.app.push_screen(Ask(label, accept, self._query, allow_empty=True))

    def action_back(self) -> None:
        if self._query:
            self._query = ""
            self._lay_out()
        else:
            super().action_back()

    def exported(self) -> Printed:
        if self._found is None:
            return super().exported()
        rows = self.table.rows if isinstance(self.table, TreeTable) else None
        return circuit_printed(self.browser.opened, self._found, self._names, self._query, EXPORT_COLUMNS, rows)
