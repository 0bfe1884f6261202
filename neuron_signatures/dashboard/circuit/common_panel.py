"""What several circuits of one template have in common: nodes by share of prompts, and which change with the entity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.data import cached_circuits
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import facts, show_error, show_lines, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.circuits.folder import COMMON_EDGES, COMMON_NODES, MEMBERS, circuit_folder
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.circuit.common_checks import common_check_words
from neuron_signatures.views.circuit.opened import CircuitRef
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd

PART = "ui_circuit_part"
PARTS = ("One prediction", "Common to several")
"""The parts of the view, and the session key of the choice."""
_NAME, _SHOW = "ui_circuit_common", "ui_circuit_common_show"
_SHOWS = {"all": "all", "same": "same for every entity", "varies": "change with the entity"}
_MOST, _LINES = 2000, 8
NODE_HELP = {
    "node": "A neuron, or another kind of node. Click a cell of the row to open the neuron.",
    "where": "The position, aligned between prompts: from the start, the entity, or the end.",
    "share": "Of the circuits that have this node.",
    "circuits": "How many have it.",
    "varies": "Whether it is in some of the circuits only, and so can depend on the entity.",
    "relevance": "Mean over the circuits that have it, in logits; ± standard deviation.",
    "act": "Mean activation ± standard deviation.",
}
_EDGE_HELP = {"share": "Of the circuits that have this edge.", "direct": "Mean ± standard deviation."}


def common_panel(ctx: PageContext, refs: Sequence[CircuitRef]) -> None:
    """Draw one common circuit."""
    names = [ref.name for ref in refs]
    if st.session_state.get(_NAME) not in names:
        st.session_state[_NAME] = names[0]
    name = names[0]
    if len(names) > 1:
        name = st.selectbox("Common circuit", names, key=_NAME, format_func=brief)
    try:
        _common(ctx, name)
    except (ProjectError, OSError) as e:
        show_error(e)


def _common(ctx: PageContext, name: str) -> None:
    record = cached_circuits.common_record(ctx, name)
    nodes, edges, members = (cached_circuits.common_table(ctx, name, s) for s in (COMMON_NODES, COMMON_EDGES, MEMBERS))
    late = circuit_folder(name).outdated(ctx.run_dir, record)
    more = [f"and {len(late) - _LINES} more"] if len(late) > _LINES else []
    show_lines("Made before these changed. Run the stage again.", [*late[:_LINES], *more])
    show_lines("The stage warned:", record.warnings)
    varies = int(nodes["varies"].fillna(False).sum())
    held_out = int(members["held_out"].fillna(False).sum())
    out = f", of which {held_out} held out" if held_out else ""
    facts([("circuits", f"{count_of(len(members), 'circuit')}{out}"),
           ("nodes", f"{count_of(len(nodes), 'node')}, of which {varies:,} change with the entity"),
           ("edges", f"{len(edges):,}")])  # fmt: skip
    for words in common_check_words(cached_circuits.common_checks(ctx, name)):
        small(f"{words[:1].upper()}{words[1:]}.")
    st.session_state.setdefault(_SHOW, "all")
    with st.container(horizontal=True, vertical_alignment="center"):
        shown = st.segmented_control("Nodes", list(_SHOWS), key=_SHOW, format_func=_SHOWS.__getitem__, required=True,
                                     label_visibility="collapsed")  # fmt: skip
        export = st.popover("Export")
    rows = chosen_rows(nodes, str(shown))
    frame = common_frame(nodes.loc[rows])
    at = [_neuron(nodes, i) for i in rows]
    table(frame, "circuit_common", help=NODE_HELP, at_most=460, bars={"share": 1.0}, on_row=lambda i: _open(ctx, at[i]))
    if len(rows) == _MOST:
        small(f"The first {_MOST:,} nodes by share of circuits.")
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("#### Common edges")
        table(
            common_edge_frame(nodes, edges), "circuit_common_edges", help=_EDGE_HELP, at_most=330, bars={"share": 1.0}
        )
    with right:
        st.markdown("#### Circuits")
        own = [str(c) for c in members["circuit"]]
        table(member_frame(members), "circuit_members", at_most=330, on_row=lambda i: _open_member(ctx, own[i]))
    with export:
        downloads(nodes, f"{name}_nodes", "circuit_common_nodes_export")
        downloads(edges, f"{name}_edges", "circuit_common_edges_export")


def _open_member(ctx: PageContext, name: str) -> None:
    st.session_state[PART] = PARTS[0]
    ctx.open_circuit(name)


def chosen_rows(nodes: pd.DataFrame, shown: str) -> list[int]:
    """Indices of the nodes to list, those of most circuits first, then by |relevance|."""
    mask = nodes["varies"].fillna(False).astype(bool)
    found = nodes[mask] if shown == "varies" else nodes[~mask] if shown == "same" else nodes
    order = found.assign(strength=found["mean_score"].abs().fillna(-1.0)).sort_values(
        ["share", "strength"], ascending=False, kind="stable"
    )
    return [int(i) for i in order.index[:_MOST]]


def common_frame(nodes: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({
        "node": _names(nodes), "where": [brief(str(r)) for r in nodes["role"]], "share": nodes["share"].tolist(),
        "circuits": nodes["n_circuits"].tolist(),
        "varies": ["yes" if v is True or v == 1 else "no" for v in nodes["varies"]],
        "relevance": _spreads(nodes["mean_score"], nodes["sd_score"]),
        "act": _spreads(nodes["mean_activation"], nodes["sd_activation"]),
        "stands for": [brief(v) if isinstance(v, str) else "" for v in nodes["label"]],
    })  # fmt: skip


def common_edge_frame(nodes: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    first = edges.sort_values(["share", "mean_weight"], ascending=False, kind="stable").head(_MOST)
    names = [f"{name} {brief(str(role))}" for name, role in zip(_names(nodes), nodes["role"], strict=True)]
    return pd.DataFrame({
        "from": [_at(names, i) for i in first["source"]], "to": [_at(names, i) for i in first["target"]],
        "share": first["share"].tolist(), "direct": _spreads(first["mean_weight"], first["sd_weight"]),
    })  # fmt: skip


def member_frame(members: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({
        "circuit": [brief(str(v)) for v in members["circuit"]],
        "entity": [visible(v) if isinstance(v, str) else "" for v in members["entity"]],
        "target": [visible(v) if isinstance(v, str) else "" for v in members["target"]],
        "foil": [visible(v) if isinstance(v, str) else "" for v in members["foil"]],
        "held out": ["yes" if v is True or v == 1 else "" for v in members["held_out"]],
    })  # fmt: skip


def _names(nodes: pd.DataFrame) -> list[str]:
    columns = zip(nodes["kind"], nodes["layer"], nodes["neuron"].fillna(-1), strict=True)
    return [f"L{int(layer)}N{int(n)}" if kind == "neuron" else brief(str(kind)) for kind, layer, n in columns]


def _spreads(means: pd.Series, spreads: pd.Series) -> list[str]:
    return ["" if m != m or m is None else f"{m:+.3g}" if s != s or s is None else f"{m:+.3g} ± {s:.2g}"
            for m, s in zip(means.tolist(), spreads.tolist(), strict=True)]  # fmt: skip


def _at(names: Sequence[str], i: int) -> str:
    return names[int(i)] if 0 <= int(i) < len(names) else "?"


def _neuron(nodes: pd.DataFrame, i: int) -> NeuronAt | None:
    row = nodes.loc[i]
    return NeuronAt(int(row["layer"]), int(row["neuron"])) if row["kind"] == "neuron" else None


def _open(ctx: PageContext, at: NeuronAt | None) -> None:
    if at is not None:
        ctx.open_stored(at)
