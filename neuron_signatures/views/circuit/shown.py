"""Which nodes and edges of a circuit are shown, and what is hidden: every edge is counted once, shown or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from neuron_signatures.runs.circuits.graph import NODE_KINDS, Edge, Graph, Node, NodeKind

MOST_NODES: Final = 150
MOST_EDGES: Final = 3000
_EPSILON: Final = 1e-9

Reason = Literal["kind", "node share", "path", "no path to the target", "node limit", "edge share", "edge limit",
                 "in a group"]  # fmt: skip
REASONS: Final[dict[Reason, str]] = {
    "kind": "kinds that are switched off",
    "node share": "beyond the share of influence of nodes",
    "path": "not on a path through the chosen nodes",
    "no path to the target": "no shown edges lead on to the target",
    "node limit": "more nodes than are shown at once",
    "edge share": "beyond the share of influence of edges",
    "edge limit": "more edges than are shown at once",
    "in a group": "between nodes of one collapsed group",
}
"""Why something is not shown, in the order in which they are checked; a hidden edge counts under its end's reason."""


class GroupLike(Protocol):
    """A group of nodes, such as `runs.circuits.groups.Group`."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def nodes(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Thresholds:
    """What is shown. Pinned nodes and the target are shown whatever these say."""

    max_nodes: int = MOST_NODES
    """Items at once, at most `MOST_NODES`; a collapsed group is one item. The most influential ones stay."""
    node_share: float = 1.0
    """Nodes whose cumulative influence (`Node.influence`) is at most this; undefined ones pass."""
    edge_share: float = 1.0
    """The same for edges (`Edge.share`)."""
    kinds: tuple[NodeKind, ...] = NODE_KINDS
    through: tuple[str, ...] = ()
    """Ids of nodes: only what lies on shown paths through all of them. Empty: no such filter."""
    max_edges: int = MOST_EDGES
    """The edges with the largest `ShownEdge.strength` stay."""
    connected: bool = True
    """Hide nodes without a path of shown edges to the target."""


@dataclass(frozen=True)
class Item:
    """A node, or a collapsed group of several."""

    id: str
    """The id of the node; `group:` and the group's id for a group."""
    nodes: tuple[Node, ...]
    label: str
    """The group's label or the node's, not escaped."""
    pinned: bool = False
    group: str = ""
    """The id of the group that it is, or is in; empty for none."""
    is_group: bool = False
    is_chosen: bool = False
    """Whether it is shown whatever the thresholds say, as pinned items are."""

    @property
    def node(self) -> Node:
        """The node; of a group, the most influential one."""
        return self.nodes[0]

    @property
    def kind(self) -> NodeKind:
        return self.node.kind


@dataclass(frozen=True)
class ShownEdge:
    """An edge between two items; with groups, the sum over the edges between their nodes."""

    source: str
    target: str
    weight: float
    strength: float
    """Σ|weight|, each as a share of Σ|E| into its target (`Node.incoming_abs`, else over the graph's edges): comparable
    between targets, whose activations have different sizes."""
    n: int = 1
    edges: tuple[Edge, ...] = ()


class Hidden(NamedTuple):
    """What is not shown for one reason."""

    reason: Reason
    n_nodes: int
    n_edges: int
    abs_weight: float
    """Σ|weight| of these edges."""
    strength: float
    """Σ of their shares of Σ|E| into their targets."""


@dataclass(frozen=True)
class Shown:
    """What is shown of a graph. `n_edges` + Σ `hidden.n_edges` are all edges of the graph, and so for the sums."""

    graph: Graph
    items: tuple[Item, ...]
    """In order of influence, the target first."""
    edges: tuple[ShownEdge, ...]
    """Strongest first."""
    hidden: tuple[Hidden, ...]
    """Only reasons that hide something, in the order of `REASONS`."""
    n_nodes: int
    """Of the graph's nodes, those that are shown, alone or in a group."""
    n_edges: int
    abs_weight: float

    def item_of(self) -> dict[str, Item]:
        """The item that shows each node."""
        return {node.id: item for item in self.items for node in item.nodes}


def show(
    graph: Graph, thresholds: Thresholds = Thresholds(), *, groups: Sequence[GroupLike] = (),
    pinned: Collection[str] = (), collapsed: Collection[str] = (), chosen: Collection[str] = (),
) -> Shown:  # fmt: skip
    """What these thresholds show of a graph. `collapsed` are ids of groups that are drawn as one node, `chosen` ids of
    nodes that are shown in any case, as pinned ones are.

    Ids of groups, pins and paths that are not in the graph are ignored. The result depends on nothing but the values
    given; equal influence is ordered by |score| and id.
    """
    items = _items(graph, groups, frozenset(pinned), frozenset(collapsed), frozenset(chosen))
    item_of = {node.id: item for item in items for node in item.nodes}
    hidden: dict[str, Reason] = {}

    def kept() -> list[Item]:
        return [i for i in items if i.id not in hidden]

    def hide(found: Iterable[Item], reason: Reason) -> None:
        hidden.update({i.id: reason for i in found if not _always(i)})

    hide((i for i in items if not any(n.kind in thresholds.kinds for n in i.nodes)), "kind")
    hide((i for i in kept() if not any(_within(n.influence, thresholds.node_share) for n in i.nodes)), "node share")
    edges = [e for e in graph.edges if _within(e.share, thresholds.edge_share)]
    pairs = [(item_of[e.source].id, item_of[e.target].id) for e in edges]
    through = {item_of[node].id for node in thresholds.through if node in item_of}
    if through:
        on_paths = _on_paths(_alive(pairs, hidden), through)
        hide((i for i in kept() if i.id not in on_paths), "path")
    targets = {i.id for i in items if i.kind == "target"}

    def hide_cut_off() -> None:
        if thresholds.connected:
            reach = _reachable([(b, a) for a, b in _alive(pairs, hidden)], targets)
            hide((i for i in kept() if i.id not in reach), "no path to the target")

    hide_cut_off()  # so that these do not take the places of others
    hide(sorted(kept(), key=_order)[max(1, min(thresholds.max_nodes, MOST_NODES)) :], "node limit")
    hide_cut_off()
    return _result(graph, thresholds, items, hidden)


def edge_strengths(graph: Graph) -> list[float]:
    """|weight| of each edge as a share of Σ|E| into its target; 0 where that is 0."""
    totals: dict[str, float] = defaultdict(float)
    for e in graph.edges:
        totals[e.target] += abs(e.weight)
    for node in graph.nodes:
        if node.incoming_abs is not None:
            totals[node.id] = max(totals[node.id], node.incoming_abs)
    return [abs(e.weight) / totals[e.target] if totals[e.target] else 0.0 for e in graph.edges]


def _items(
    graph: Graph, groups: Sequence[GroupLike], pinned: frozenset[str], collapsed: frozenset[str],
    chosen: frozenset[str],
) -> list[Item]:  # fmt: skip
    group_of = {node: group for group in groups for node in group.nodes}
    members: dict[str, list[Node]] = defaultdict(list)
    out: list[Item] = []
    for node in graph.nodes:
        group = group_of.get(node.id)
        if group is not None and group.id in collapsed and node.kind != "target":
            members[group.id].append(node)
        else:
            out.append(Item(node.id, (node,), node.label, node.id in pinned, "" if group is None else group.id,
                            is_chosen=node.id in chosen))  # fmt: skip
    for group in groups:
        nodes = tuple(sorted(members[group.id], key=_node_order))
        if nodes:
            is_pinned = any(n.id in pinned for n in nodes)
            id = f"group:{group.id}"
            is_chosen = id in chosen or any(n.id in chosen for n in nodes)
            out.append(Item(id, nodes, group.label, is_pinned, group.id, is_group=True, is_chosen=is_chosen))
    return out


def _always(item: Item) -> bool:
    return item.pinned or item.is_chosen or item.kind == "target"


def _within(share: float | None, most: float) -> bool:
    return share is None or share <= most + _EPSILON


def _order(item: Item) -> tuple[bool, bool, float, float, str]:
    """Target and pinned items first, then in order of influence."""
    return (item.kind != "target", not (item.pinned or item.is_chosen), *_node_order(item.node))


def _node_order(node: Node) -> tuple[float, float, str]:
    return (2.0 if node.influence is None else node.influence, -abs(node.score or 0.0), node.id)


def _alive(pairs: Iterable[tuple[str, str]], hidden: Collection[str]) -> list[tuple[str, str]]:
    return [(a, b) for a, b in pairs if a not in hidden and b not in hidden]


def _on_paths(pairs: Sequence[tuple[str, str]], through: Collection[str]) -> set[str]:
    """The items before, at, or after every one of `through`: those on paths through all, if there are such paths."""
    back = [(b, a) for a, b in pairs]
    found = [_reachable(pairs, {one}) | _reachable(back, {one}) for one in through]
    return set.intersection(*found)


def _reachable(pairs: Iterable[tuple[str, str]], start: Collection[str]) -> set[str]:
    """`start` and what follows from it."""
    following: dict[str, set[str]] = defaultdict(set)
    for a, b in pairs:
        following[a].add(b)
    found, left = set(start), list(start)
    while left:
        new = following[left.pop()] - found
        found |= new
        left += new
    return found


def _result(graph: Graph, thresholds: Thresholds, items: Sequence[Item], hidden: dict[str, Reason]) -> Shown:
    strengths = edge_strengths(graph)
    item_of = {node.id: item for item in items for node in item.nodes}
    reasons: list[Reason | None] = []
    sums: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, e in enumerate(graph.edges):
        source, target = item_of[e.source], item_of[e.target]
        reasons.append(_edge_reason(e, (source, target), hidden, thresholds))
        if reasons[-1] is None:
            sums[source.id, target.id].append(i)
    edges = [
        ShownEdge(*pair, sum(graph.edges[i].weight for i in at), sum(strengths[i] for i in at), len(at),
                  tuple(graph.edges[i] for i in at))
        for pair, at in sums.items()
    ]  # fmt: skip
    edges.sort(key=lambda e: (-e.strength, e.source, e.target))
    for dropped in edges[thresholds.max_edges :]:
        for i in sums[dropped.source, dropped.target]:
            reasons[i] = "edge limit"
    kept = tuple(sorted((i for i in items if i.id not in hidden), key=_order))
    left = [e for e, reason in zip(graph.edges, reasons, strict=True) if reason is None]
    out = [_hidden(reason, graph, items, hidden, reasons, strengths) for reason in REASONS]
    return Shown(
        graph, kept, tuple(edges[: thresholds.max_edges]), tuple(h for h in out if h.n_nodes or h.n_edges),
        sum(len(i.nodes) for i in kept), len(left), sum(abs(e.weight) for e in left),
    )  # fmt: skip


def _edge_reason(e: Edge, ends: tuple[Item, Item], hidden: dict[str, Reason], thresholds: Thresholds) -> Reason | None:
    found = [hidden[i.id] for i in ends if i.id in hidden]
    if found:
        return min(found, key=list(REASONS).index)
    if not _within(e.share, thresholds.edge_share):
        return "edge share"
    return "in a group" if ends[0].id == ends[1].id else None


def _hidden(
    reason: Reason, graph: Graph, items: Sequence[Item], hidden: dict[str, Reason], reasons: Sequence[Reason | None],
    strengths: Sequence[float],
) -> Hidden:  # fmt: skip
    at = [i for i, found in enumerate(reasons) if found == reason]
    return Hidden(
        reason, sum(len(i.nodes) for i in items if hidden.get(i.id) == reason), len(at),
        sum(abs(graph.edges[i].weight) for i in at), sum(strengths[i] for i in at),
    )  # fmt: skip
