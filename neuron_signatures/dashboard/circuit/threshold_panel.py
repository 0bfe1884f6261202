"""What of the circuit is shown: the controls, and sentences about everything that they hide."""

from __future__ import annotations

from typing import Final, cast

import streamlit as st

from neuron_signatures.dashboard.widgets.elements import small
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.circuits.graph import Graph, NodeKind
from neuron_signatures.views.circuit.labels import KIND_WORDS, SecondLine
from neuron_signatures.views.circuit.shown import MOST_NODES, REASONS, Shown, Thresholds
from neuron_signatures.views.interventions.sheets import share_text

_KINDS, _NODES, _NODE_SHARE, _EDGE_SHARE, _THROUGH, _CONNECTED = (
    "ui_circuit_kinds", "ui_circuit_nodes", "ui_circuit_node_share", "ui_circuit_edge_share", "circuit_through",
    "ui_circuit_connected",
)  # fmt: skip
_SHOWN_KINDS: Final = ("neuron", "embedding", "target")
_NODE_HELP = "Nodes in order of influence, up to this share of it. 100 %: all that the trace kept."
_EDGE_HELP = "Edges in order of influence, up to this share of it. 100 %: all that the trace kept."
_CONNECTED_HELP = "Hides nodes from which no shown edge leads on to the target."
_SECOND_KEY: Final = "ui_circuit_second"
_SECOND: Final[dict[SecondLine, str]] = {"label": "label", "promotes": "promoted tokens"}
DEFAULT_EDGE_SHARE: Final = 80


def thresholds_panel(circuit: str, graph: Graph) -> Thresholds:
    """Draw the controls; pinned nodes and the target are shown in any case."""
    kinds = [k for k in KIND_WORDS if k != "target" and any(n.kind == k for n in graph.nodes)]
    st.session_state.setdefault(_KINDS, [k for k in kinds if k in _SHOWN_KINDS])
    st.session_state[_KINDS] = [k for k in st.session_state[_KINDS] if k in kinds]
    st.session_state.setdefault(_NODE_SHARE, 100)
    st.session_state.setdefault(_EDGE_SHARE, DEFAULT_EDGE_SHARE)
    st.session_state.setdefault(_CONNECTED, True)
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_circuit"):
        with st.container(width=120):
            most = whole_number("Most nodes", _NODES, low=1, high=MOST_NODES, default=MOST_NODES,
                                help="The most influential ones stay; a collapsed group is one node.")  # fmt: skip
        nodes = st.slider("Influence of nodes, %", 1, 100, key=_NODE_SHARE, help=_NODE_HELP, width=175)
        edges = st.slider("Influence of edges, %", 1, 100, key=_EDGE_SHARE, help=_EDGE_HELP, width=175)
        chosen = st.pills("Show", kinds, key=_KINDS, selection_mode="multi", format_func=KIND_WORDS.__getitem__)
        st.selectbox("Below names", list(_SECOND), key=_SECOND_KEY, format_func=_SECOND.__getitem__, width=150)
        st.checkbox("Only what leads to the target", key=_CONNECTED, help=_CONNECTED_HELP)
    return Thresholds(
        max_nodes=most, node_share=nodes / 100, edge_share=edges / 100,
        kinds=(*cast(list[NodeKind], chosen), "target"), through=through(circuit),
        connected=bool(st.session_state[_CONNECTED]),
    )  # fmt: skip


def second_line() -> SecondLine:
    """What stands below the names of neurons."""
    return "promotes" if st.session_state.get(_SECOND_KEY) == "promotes" else "label"


def through(circuit: str) -> tuple[str, ...]:
    """The nodes through which all shown paths lead; empty for no such filter."""
    name, ids = st.session_state.get(_THROUGH, ("", ()))
    return tuple(ids) if name == circuit else ()


def set_through(circuit: str, ids: tuple[str, ...]) -> None:
    """Show only paths through these nodes of a circuit. Only for callbacks."""
    st.session_state[_THROUGH] = (circuit, ids)


def hidden_panel(circuit: str, shown: Shown) -> None:
    """Say what is hidden, and why."""
    if through(circuit):
        st.button("Show all paths", key="circuit_all_paths", on_click=set_through, args=(circuit, ()))
    small(shown_sentence(shown))
    lines = hidden_lines(shown)
    if lines:
        small("Hidden: " + "; ".join(lines) + ".")


def shown_sentence(shown: Shown) -> str:
    """How many nodes and edges are shown, and their part of Σ|E|."""
    total = sum(abs(e.weight) for e in shown.graph.edges)
    part = f", {share_text(shown.abs_weight / total)} of the graph's Σ|E|" if total else ""
    nodes, edges = len(shown.graph.nodes), len(shown.graph.edges)
    return (
        f"Shown: {shown.n_nodes:,} of {count_of(nodes, 'node')}, {shown.n_edges:,} of {count_of(edges, 'edge')}{part}."
    )


def hidden_lines(shown: Shown) -> list[str]:
    """One text for each reason: `12 nodes and 40 edges (3.2 % of Σ|E|) of kinds that are switched off`."""
    total = sum(abs(e.weight) for e in shown.graph.edges)
    out = []
    for h in shown.hidden:
        parts = [count_of(n, word) for n, word in ((h.n_nodes, "node"), (h.n_edges, "edge")) if n]
        part = f" ({share_text(h.abs_weight / total)} of Σ|E|)" if total and h.n_edges else ""
        out.append(f"{' and '.join(parts)}{part}: {REASONS[h.reason]}")
    return out
