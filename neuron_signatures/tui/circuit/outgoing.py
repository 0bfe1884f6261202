"""The edges that leave a node of a circuit; Enter shows one in the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.tui.circuit.names import place_spans, short_name, words_line
from neuron_signatures.tui.circuit.tables import OutgoingTable
from neuron_signatures.tui.layout.text import Line, Span, line
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.views.circuit.opened import OpenedCircuit
from neuron_signatures.views.circuit.paths import path_to

if TYPE_CHECKING:
    from neuron_signatures.tui.circuit.page import CircuitPage


class OutgoingPage(BrowserChild):
    """Of one node, over the screen of its circuit."""

    table: OutgoingTable

    def __init__(self, browser: BrowserPage, circuit: CircuitPage, found: OpenedCircuit, node: Node) -> None:
        super().__init__(browser)
        self._circuit, self._found, self._node = circuit, found, node
        lists = found.index.lists(node.id)
        self.table = OutgoingTable(lists.outgoing if lists else (), found)

    def again(self, browser: BrowserPage) -> None:
        """A reload shows the circuit, whose nodes may be others."""

    def head(self) -> Sequence[Line]:
        node = self._node
        name = line(Span(short_name(node), "title"), Span(" "), *place_spans(self._found.prompt, node))
        return [line(Span("outgoing edges of ", "dim"), *name), *words_line(self._found, node)]

    def open_row(self, i: int) -> None:
        above = path_to(self._found.index, self.table.rows[i].other.id)
        if above is None or self._node.id in above:
            self.show_message("no path leads from there to the answer")
            return
        self.app.back()
        self._circuit.reveal((*above, self._node.id))
