"""What the circuits of several prompts share: neurons by the share of circuits that have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuron_signatures.runs.names import CIRCUITS
from neuron_signatures.tui.circuit.head import wrapped
from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.text import Column, Line, RowTable, Span, beginning, line, number, sign_style
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.views.circuit.common import CommonCircuit, CommonNode, read_common
from neuron_signatures.views.circuit.common_checks import common_check_words


@dataclass
class CommonTable(RowTable[CommonNode]):
    """Nodes of at least one circuit, those of most circuits first."""

    empty: str = "the circuits share no node"
    _full: float = 0.0

    def __post_init__(self) -> None:
        self._full = max((abs(n.mean_score) for n in self.rows if n.mean_score is not None), default=0.0)

    def columns(self) -> Sequence[Column]:
        return (
            Column("node", "node", 10), Column("role", "position", 10), Column("share", "circuits", 8, right=True),
            Column("score", "mean score", 10, right=True), Column("bar", "", 9, drop=3),
            Column("sd", "± sd", 8, right=True, drop=2), Column("entity", "entity", 7, right=True, drop=1),
            Column("label", "stands for", 0, min_width=12),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        n = self.rows[i]
        bar = "" if n.mean_score is None else signed_bar(n.mean_score, self._full, widths.get("bar", 0))
        varies = "*" if n.varies else ""
        entity = "" if n.entity_share is None else f"{n.entity_share:.2f}"
        style = sign_style(n.mean_score)
        name = "token" if n.kind == "embedding" else n.name
        return {
            "node": Span(name, "title"), "role": Span(beginning(n.role)), "share": Span(f"{n.share:.0%}"),
            "score": Span(number(n.mean_score, 3), style), "bar": Span(bar, style),
            "sd": Span("" if n.sd_score is None else f"{n.sd_score:.2g}"),
            "entity": Span(entity + varies, "mark" if varies else ""),
            "label": Span(beginning(n.label or "")),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return asdict(self.rows[i])


class CommonPage(BrowserChild):
    """A thread reads; Enter opens the neuron of a row in the browser."""

    table: CommonTable | None

    def __init__(self, browser: BrowserPage, name: str, row: int = 0) -> None:
        super().__init__(browser)
        self.name_ = name
        self.table = None
        self._row = row
        self._found: CommonCircuit | None = None
        self._fault = ""

    def on_mount(self) -> None:
        self._read()

    def again(self, browser: BrowserPage) -> CommonPage:
        return CommonPage(browser, self.name_, self.rows.cursor or 0)

    def files_changed(self, names: list[str]) -> list[str]:
        own = [n for n in names if n.startswith(f"{CIRCUITS}/")]
        if own:
            self.browser.opened.drop_changed_circuits()
            self._row = self.rows.cursor or 0
            self._read()
        return [n for n in names if n not in own]

    def _read(self) -> None:
        self.start("common", lambda stop, send: send(read_common(self.run_.path, self.name_)))

    def arrived(self, job: str, data: Any) -> None:
        self._found, self._fault = data, ""
        self.table = CommonTable(data.nodes)
        self.draw(self._row)

    def failed(self, job: str, text: str) -> None:
        self._fault, self.table = text, None
        self.draw()

    def head(self) -> Sequence[Line]:
        if self._found is None:
            return [line(Span(f"common circuit {beginning(self.name_)}", "title"))]
        lines = common_head(self._found)
        return wrapped(lines, self.size.width) if self.whole_head else lines

    def text(self, columns: int) -> Sequence[Line]:
        return fact_lines([Fact("fault", self._fault, "warn")], columns) if self._fault else [line("reading ...")]

    def open_row(self, i: int) -> None:
        assert self.table is not None
        node = self.table.rows[i]
        if node.kind != "neuron" or node.neuron is None:
            self.show_message("this row is no neuron")
        elif not self.run_.stores(node.layer, node.neuron):
            self.show_message(f"{node.name} is not stored in this run")
        else:
            self.go(self.cursor._replace(layer=node.layer, neuron=node.neuron))

    def exported(self) -> Printed:
        return (
            super().exported()
            if self._found is None
            else common_printed(self.browser.opened, self._found, EXPORT_COLUMNS)
        )


def common_head(found: CommonCircuit) -> list[Line]:
    """What it is made of, how to read it, and what to doubt."""
    outdated = ["a circuit was traced again since this was made"] if found.outdated else []
    return [
        line(Span(f"common circuit {beginning(found.name)}", "title"), Span(f"  {found.words}")),
        *(line(words) for words in common_check_words(found.checks)),
        line(Span("positions count from the start, the entity and the end; * changes with the entity", "dim")),
        *(line(Span(beginning(text), "warn")) for text in (*outdated, *found.record.warnings)),
    ]  # fmt: skip


def common_printed(opened: OpenedRun, found: CommonCircuit, columns: int) -> Printed:
    record = {
        "run": str(opened.run.path), "model": opened.run.manifest.model_name, "screen": "circuit", "list": found.name,
        "settings": found.record.settings, "facts": found.record.facts, "warnings": list(found.record.warnings),
        "members": [asdict(m) for m in found.members],
        "edges": [{"from": a.name, "from_role": a.role, "into": b.name, "into_role": b.role, **asdict(e)}
                  for a, b, e in found.strongest_edges],
    }  # fmt: skip
    return Printed(wrapped(common_head(found), columns), CommonTable(found.nodes), record)
