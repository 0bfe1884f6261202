"""What the parts of the page share: the circuit, its groups, what is shown, and what is selected."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.circuits.groups import Group, Groups
from neuron_signatures.runs.circuits.reader import StoredCircuit
from neuron_signatures.views.circuit.lists import CircuitIndex
from neuron_signatures.views.circuit.shown import Item, Shown


@dataclass(frozen=True)
class CircuitPage:
    """One script run of the view, for one circuit."""

    ctx: PageContext
    stored: StoredCircuit
    index: CircuitIndex
    groups: Groups | None
    """None if their file cannot be read; then they cannot be changed."""
    shown: Shown
    selected: tuple[Item, ...]
    """The selected items among those that are shown, in the order of selection."""

    @property
    def name(self) -> str:
        return self.stored.name

    @property
    def graph(self) -> Graph:
        return self.stored.graph

    @property
    def selected_nodes(self) -> tuple[Node, ...]:
        """The nodes that are selected, alone or by their group."""
        return tuple(node for item in self.selected for node in item.nodes)

    def group(self, group_id: str) -> Group | None:
        return next((g for g in self.groups.groups if g.id == group_id), None) if self.groups else None


def selected_items(shown: Shown, ids: tuple[str, ...]) -> tuple[Item, ...]:
    """The items with these ids; a node that is in a collapsed group stands for it."""
    items, item_of = {i.id: i for i in shown.items}, shown.item_of()
    found = [items.get(i) or item_of.get(i) for i in ids]
    return tuple(dict.fromkeys(i for i in found if i is not None))
