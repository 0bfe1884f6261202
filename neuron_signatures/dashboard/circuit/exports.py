"""Downloads of a circuit: the graph file of public viewers, what is shown of it, tables, and a picture."""

from __future__ import annotations

import functools
import html
from datetime import UTC, datetime

import streamlit as st

from neuron_signatures.dashboard.circuit.opened_page import CircuitPage
from neuron_signatures.dashboard.circuit.threshold_panel import hidden_lines, second_line, shown_sentence
from neuron_signatures.dashboard.data.exports import csv_bytes
from neuron_signatures.runs.circuits.exchange.file_text import graph_text
from neuron_signatures.runs.circuits.exchange.to_json import GraphSettings, graph_json
from neuron_signatures.runs.circuits.folder import EDGES, NODES
from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.runs.circuits.tables import circuit_tables
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.circuit.labels import SecondLine, target_name
from neuron_signatures.views.circuit.layout import Layout
from neuron_signatures.views.circuit.picture import picture
from neuron_signatures.views.circuit.shown import Shown

_PAGE = (
    "body{{margin:2rem auto;max-width:1300px;padding:0 1rem;font-family:system-ui,sans-serif;color-scheme:light dark}}"
    "svg{{max-width:100%;height:auto}}p{{opacity:.8;overflow-wrap:anywhere}}"
)


def exports(page: CircuitPage, layout: Layout) -> None:
    """Draw the buttons; a file is made when its button is pressed."""
    name = page.name
    kept, second = shown_graph(page.shown), second_line()
    for label, make, file, mime in (
        ("Graph (JSON)", functools.partial(graph_bytes, page, page.graph), f"{name}.json", "application/json"),
        ("What is shown (JSON)", functools.partial(graph_bytes, page, kept), f"{name}_shown.json", "application/json"),
        ("Nodes (CSV)", functools.partial(table_bytes, page.graph, NODES), f"{name}_nodes.csv", "text/csv"),
        ("Edges (CSV)", functools.partial(table_bytes, page.graph, EDGES), f"{name}_edges.csv", "text/csv"),
        ("Picture (SVG)", functools.partial(svg_bytes, page.shown, layout, second), f"{name}.svg", "image/svg+xml"),
        ("Page (HTML)", functools.partial(html_bytes, page, layout, second), f"{name}.html", "text/html"),
    ):
        st.download_button(label, make, file, mime, key=f"circuit_export_{label}", on_click="ignore")
    st.caption(
        "The JSON is the attribution-graph format that public viewers read, with pins and groups. SVG and HTML are "
        "without scripts or external resources."
    )


def shown_graph(shown: Shown) -> Graph:
    """The part of a graph that is shown, with groups as their nodes. Sums over edges are those of the whole graph."""
    nodes = {n.id: n for item in shown.items for n in item.nodes}
    edges = tuple(e for summed in shown.edges for e in summed.edges)
    pairs = {(e.source, e.target) for e in edges}
    heads = tuple(h for h in shown.graph.heads if (h.source, h.target) in pairs)
    return Graph(shown.graph.prompt, shown.graph.n_layers, tuple(nodes.values()), edges, heads)


def graph_bytes(page: CircuitPage, graph: Graph) -> bytes:
    record = page.stored.record
    settings = GraphSettings(
        slug=page.name, model_name=page.ctx.run.manifest.model_name,
        create_time_ms=_milliseconds(record.created_at_utc),
        node_share=_number(record.settings.get("node_share")), edge_share=_number(record.settings.get("edge_share")),
        settings=record.settings, facts={k: v for k, v in record.facts.items() if k not in ("prompt", "n_layers")},
    )  # fmt: skip
    return graph_text(graph_json(graph, page.groups.content() if page.groups else None, settings=settings)).encode()


def table_bytes(graph: Graph, stem: str) -> bytes:
    return csv_bytes(circuit_tables(graph)[stem])


def svg_bytes(shown: Shown, layout: Layout, second: SecondLine = "label") -> bytes:
    return picture(shown, layout, second).encode()


def html_bytes(page: CircuitPage, layout: Layout, second: SecondLine = "label") -> bytes:
    """A page with the picture, and what it hides."""
    prompt = page.graph.prompt
    title = _text(f"Circuit of {target_name(prompt)}: {prompt.text}")
    said = [shown_sentence(page.shown), *hidden_lines(page.shown)]
    lines = "".join(f"<p>{_text(line)}</p>" for line in said)
    run = _text(f"{page.ctx.run_dir.name}, {page.name}, {page.ctx.run.manifest.model_name}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_PAGE.format()}</style></head><body><h1>{title}</h1><p>{run}</p>{picture(page.shown, layout, second)}"
        f"{lines}</body></html>"
    ).encode()


def _text(text: str) -> str:
    return html.escape(escape(text[:2000]))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _milliseconds(created_at_utc: str) -> int:
    """0 if the record has no time that can be read."""
    try:
        return int(datetime.fromisoformat(created_at_utc).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return 0
