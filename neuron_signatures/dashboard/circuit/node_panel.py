"""The selected nodes: numbers, signed incoming and outgoing edges, what completes the activation, and exemplars."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from neuron_signatures.dashboard.circuit import frames
from neuron_signatures.dashboard.circuit.opened_page import CircuitPage
from neuron_signatures.dashboard.circuit.threshold_panel import set_through, through
from neuron_signatures.dashboard.corpus.passage_html import passages_html
from neuron_signatures.dashboard.data import cached_reads, cached_records
from neuron_signatures.dashboard.data.cached_explanations import explained_in_words
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions
from neuron_signatures.dashboard.neuron.heatmap_panel import chosen_corpus_colouring, default_settings
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import facts, lead, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.circuits.graph import Node
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import PARTS, NeuronPole, Pole
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.circuit.labels import canvas_name, node_name
from neuron_signatures.views.circuit.lists import ListedEdge, NodeLists
from neuron_signatures.views.circuit.shown import Item
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions.sheets import share_text, signed_text, size_text
from neuron_signatures.views.neurons.descriptions import shown_tokens
from neuron_signatures.views.records.commands import has_records, records_command

_PASSAGES, _MOST_THROUGH = 5, 20
_ROUNDING = 1e-4
"""Share of Σ|E| below which what is missing is rounding."""
_TALLEST = 330
_FORMATS = {"direct": frames.SIGNED, "total": frames.SIGNED, "measured": frames.SIGNED, "share": "percent"}
_NODE_FORMATS = dict.fromkeys(("act", "reference", "relevance", "total effect", "measured"), frames.SIGNED)
_WIDTHS = {"node": 165}


def selection_panel(page: CircuitPage) -> None:
    """Draw the panel of one node, or the table of several."""
    if not page.selected:
        small("Click a node to see its edges; with Shift, several to compare, group, ablate or scale. With the "
              "keyboard: Tab to the canvas, arrow keys, Enter.")  # fmt: skip
        return
    nodes = page.selected_nodes
    if len(nodes) == 1:
        _one(page, nodes[0])
    else:
        _several(page, nodes)


def item_title(page: CircuitPage, item: Item) -> str:
    if item.is_group:
        return f"{brief(item.label) or 'group'} ({canvas_name(item)})"
    return node_name(item.node, page.graph.prompt)


def _one(page: CircuitPage, node: Node) -> None:
    lists = page.index.lists(node.id)
    assert lists is not None
    with st.container(horizontal=True, vertical_alignment="center"):
        lead(node_name(node, page.graph.prompt))
        if node.kind == "neuron" and node.neuron is not None:
            at = NeuronAt(node.layer, node.neuron)
            st.button(
                "Open in the Neuron view",
                key="circuit_open",
                on_click=_open_neuron,
                args=(page.ctx, at, page.graph.prompt.prompt_id),
                disabled=not page.ctx.run.stores(*at),
            )
        _through_button(page)
    facts(node_facts(page, lists))
    left, right = st.columns(2, gap="medium")
    with left:
        _side(page, f"Incoming: {count_of(len(lists.incoming), 'edge')}", lists.incoming, "circuit_in")
        for text in missing_lines(lists):
            small(text)
    with right:
        _side(page, f"Outgoing: {count_of(len(lists.outgoing), 'edge')}", lists.outgoing, "circuit_out")


def _open_neuron(ctx: PageContext, at: NeuronAt, prompt_id: str) -> None:
    """Show the neuron, on the prompt of the circuit if the run has it."""
    ctx.choose(prompt=next((i for i, p in enumerate(ctx.run.prompts) if p.probe_id == prompt_id), None))
    ctx.open_stored(at)


def _through_button(page: CircuitPage) -> None:
    ids = tuple(n.id for n in page.selected_nodes if n.kind != "target")
    if ids and ids != through(page.name) and len(ids) <= _MOST_THROUGH:
        st.button("Only paths through this" if len(ids) == 1 else "Only paths through all of these",
                  key="circuit_paths", on_click=set_through, args=(page.name, ids))  # fmt: skip


def node_facts(page: CircuitPage, lists: NodeLists) -> list[tuple[str, str]]:
    """What is known of one node, without empty lines."""
    n = lists.node
    group = next((item.group for item in page.shown.items if n in item.nodes), "")
    found = page.group(group) if group else None
    reference = "" if n.reference is None else f"; reference {signed_text(n.reference)}"
    effects = [f"{word} {signed_text(value)}" for word, value in
               (("relevance", n.score), ("total effect", n.effect), ("measured", n.measured))
               if value is not None]  # fmt: skip
    pairs = [
        ("stands for", brief(n.label)),
        ("promotes", shown_tokens(n.promotes, n=8) if n.promotes else ""),
        ("value" if n.kind == "target" else "activation", "" if n.activation is None else
         f"{signed_text(n.activation)}{reference}"),
        ("on the target", f"{', '.join(effects)} logits" if effects else ""),
        ("influence", "" if n.influence is None or n.kind == "target" else
         f"this node and all before it have {share_text(n.influence)}"),
        ("cancellation", "" if lists.cancellation is None else
         f"Σ|E| / |{'value' if n.kind == 'target' else 'a'}| = {size_text(lists.cancellation)}"),
        ("group", brief(found.label or found.id) if found else ""),
    ]  # fmt: skip
    return [(k, v) for k, v in pairs if v]


def missing_lines(lists: NodeLists) -> list[str]:
    """What the incoming list leaves out: edges that pruning removed, and the part of rest nodes."""
    n, out = lists.node, []
    if lists.missing is not None and abs(lists.missing) <= _ROUNDING * (n.incoming_abs or 0.0):
        out.append(f"The list sums to {signed_text(lists.incoming_sum)}, the whole "
                   f"{'value' if n.kind == 'target' else 'activation'}.")  # fmt: skip
    elif lists.missing is not None:
        out.append(f"The list sums to {signed_text(lists.incoming_sum)}; edges that were pruned complete the value "
                   f"with {signed_text(lists.missing)}.")  # fmt: skip
    if n.incoming_abs and lists.missing_abs is not None:
        rest = "" if n.rest_abs is None else f"; rest nodes and constant {share_text(n.rest_abs / n.incoming_abs)}"
        out.append(f"Of Σ|E| {size_text(n.incoming_abs)}, nodes of the circuit have "
                   f"{share_text((n.shown_abs or 0.0) / n.incoming_abs)}{rest}.")  # fmt: skip
    return out


def _side(page: CircuitPage, title: str, edges: Sequence[ListedEdge], key: str) -> None:
    st.markdown(f"#### {title}")
    if not edges:
        st.caption("None.")
        return
    frame = frames.edge_frame(edges, page.graph.prompt)
    ids = [e.other.id for e in edges]  # the callback lives as long as the session
    ctx, name = page.ctx, page.name
    table(frame, key, help=frames.EDGE_HELP, formats=_FORMATS, at_most=_TALLEST, widths=_WIDTHS,
          on_row=lambda i: ctx.open_circuit(name, [ids[i]]))  # fmt: skip


def _several(page: CircuitPage, nodes: Sequence[Node]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        lead(", ".join(item_title(page, i) for i in page.selected[:3]) +
                     (f" and {len(page.selected) - 3} more" if len(page.selected) > 3 else ""))  # fmt: skip
        _through_button(page)
    frame = frames.node_frame(nodes, page.graph.prompt)
    ids, ctx, name = [n.id for n in nodes], page.ctx, page.name
    table(frame, "circuit_selected", help=frames.NODE_HELP, formats=_NODE_FORMATS, at_most=_TALLEST,
          on_row=lambda i: ctx.open_circuit(name, [ids[i]]))  # fmt: skip
    known = [n.effect for n in nodes if n.effect is not None]
    if known:
        small(f"Σ total effects on the target: {signed_text(sum(known))} logits over {count_of(len(known), 'node')}. "
              "Paths through two of them count twice.")  # fmt: skip


def evidence_panel(page: CircuitPage) -> None:
    """What the run knows of the one neuron that is selected; nothing for other selections."""
    nodes = page.selected_nodes
    if len(nodes) == 1 and nodes[0].kind == "neuron" and nodes[0].neuron is not None:
        node = nodes[0]
        _evidence(page.ctx, NeuronAt(node.layer, nodes[0].neuron), "-" if (node.activation or 0.0) < 0 else "+")


def _evidence(ctx: PageContext, at: NeuronAt, pole: Pole) -> None:
    """What the run knows of the neuron at this sign of its activation: explanation, tokens, strongest windows."""
    st.markdown(f"#### {at.label}{pole} elsewhere")
    facts(_said(ctx, at, pole) or [("known", "nothing; the Neuron view says what to run")])
    if not has_records(ctx.run_dir):
        small("Without records of a corpus there are no exemplars. This command makes them:")
        st.code(records_command(ctx.run_dir), language="bash", wrap_lines=True)
        return
    try:
        found = cached_records.evidence_at(ctx.run_dir, ctx.results_key, at, PARTS)
    except ProjectError as e:
        small(e.line())
        return
    if found is None:
        small("The records do not hold this neuron.")
        return
    default_settings()
    options = HeatmapOptions(normalise="records", scale=st.session_state["ui_scale"])
    own = found.pole(pole)
    st.html(passages_html(own.strongest[:_PASSAGES], chosen_corpus_colouring(found), options))
    small(f"the strongest of {count_of(len(own.strongest), 'window')} at {pole}")


def _said(ctx: PageContext, at: NeuronAt, pole: Pole) -> list[tuple[str, str]]:
    explained = explained_in_words(ctx, [NeuronPole(*at, pole)])[0]
    try:
        found = cached_reads.descriptions(ctx.run_dir, ctx.results_key).of(at, negative=pole == "-")
    except ProjectError:  # the views of these results report it
        return [("explanation", explained)] if explained else []
    pairs = [("explanation", explained), ("promotes", shown_tokens(found.promotes, n=8)),
             ("suppresses", shown_tokens(found.suppresses, n=8)), ("fires on", found.fires)]  # fmt: skip
    return [(k, v) for k, v in pairs if v]
