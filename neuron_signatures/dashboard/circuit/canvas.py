"""The canvas as a component of the page: a picture of the circuit that can be clicked, in plain SVG.

Names are cut and escaped for display here; the script puts them on the page as text nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import streamlit as st

from neuron_signatures.dashboard.circuit.canvas_script import SCRIPT
from neuron_signatures.dashboard.circuit.canvas_style import STYLE
from neuron_signatures.runs.circuits.graph import Prompt
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.circuit.labels import canvas_name, cut, node_name, said_of, target_name
from neuron_signatures.views.circuit.layout import NARROW, Layout
from neuron_signatures.views.circuit.shown import Item, Shown, ShownEdge
from neuron_signatures.views.interventions.sheets import share_text, signed_text

KEY: Final = "circuit_canvas"
_PER_CHARACTER: Final = 6.7
"""Pixels of a character on the canvas."""
_LONGEST_ID, _MOST_IDS = 300, 200

_canvas = st.components.v2.component("neuron_signatures_circuit", css=STYLE, js=SCRIPT)


def canvas(
    circuit: str, shown: Shown, layout: Layout, selected: Collection[str], on_pick: Callable[[list[str]], None],
    group_names: Mapping[str, str],
) -> None:  # fmt: skip
    """Draw the circuit; a click calls `on_pick` with the ids of the items that are then selected."""
    data = canvas_data(circuit, shown, layout, selected, group_names)
    known = {i.id for i in shown.items}

    def picked() -> None:
        ids = picked_ids(st.session_state.get(KEY), circuit, known)
        if ids is not None:
            on_pick(ids)

    _canvas(key=KEY, data=data, on_picked_change=picked)


def picked_ids(state: Any, circuit: str, known: Collection[str]) -> list[str] | None:
    """The known ids in what the browser sent; None if it sent none for this circuit."""
    value = state.get("picked") if isinstance(state, Mapping) else None
    ids = value.get("ids") if isinstance(value, Mapping) and value.get("circuit") == circuit else None
    if not isinstance(ids, Sequence) or isinstance(ids, str):
        return None
    found = [i for i in ids[:_MOST_IDS] if isinstance(i, str) and len(i) <= _LONGEST_ID and i in known]
    return list(dict.fromkeys(found))


def canvas_data(
    circuit: str, shown: Shown, layout: Layout, selected: Collection[str], group_names: Mapping[str, str]
) -> dict[str, Any]:
    """What the script draws. Edges: source, target, weight, strength, total, measured, number."""
    prompt = shown.graph.prompt
    at = {item.id: i for i, item in enumerate(shown.items)}
    boxes = {box.id: box for box in layout.boxes}
    strongest = max((abs(i.node.score or 0.0) for i in shown.items), default=0.0)
    nodes = []
    for item in shown.items:
        box = boxes[item.id]
        nodes.append({
            "id": item.id, "x": round(box.x, 1), "y": round(box.y, 1), "w": round(box.width, 1), "h": box.height,
            **_texts(item, box.width), "lines": item_lines(item, prompt, group_names), "pinned": item.pinned,
            "kind": "group" if item.is_group else item.kind, "mark": mark_of(item),
            "group": "all" if item.is_group else "in" if item.group else "",
            "shade": round(0.06 + 0.5 * abs(_score(item) or 0.0) / strongest, 3) if strongest else 0.06,
        })  # fmt: skip
    return {
        "circuit": circuit, "label": f"Circuit of {target_name(prompt)}: {len(nodes)} nodes, {len(shown.edges)} edges",
        "width": round(layout.width, 1), "height": round(layout.height, 1), "nodes": nodes,
        "rows": [{"y": r.y, "h": r.height, "label": r.label, "empty": r.is_empty} for r in layout.rows],
        "columns": [{"x": c.x, "w": c.width, "label": cut(c.label, int((c.width + 10) / _PER_CHARACTER))}
                    for c in layout.columns],
        "edges": [_edge(e, at) for e in shown.edges],
        "selected": [i for i in selected if i in at],
    }  # fmt: skip


def mark_of(item: Item) -> str:
    """`▲` for what supports the target, `▼` for what opposes it, by the sign of the score; else nothing."""
    score = _score(item)
    return "" if not score or item.kind == "target" else "▲" if score > 0 else "▼"


def item_lines(item: Item, prompt: Prompt, group_names: Mapping[str, str]) -> list[str]:
    """What the canvas says of an item on hover, and to a screen reader."""
    if item.is_group:
        names = [node_name(n, prompt) for n in item.nodes[:8]]
        more = [f"and {len(item.nodes) - 8} more"] if len(item.nodes) > 8 else []
        return [f"group {brief(item.label) or 'without a name'}", f"{len(item.nodes)} nodes", *names, *more]
    node = item.node
    lines = [node_name(node, prompt)]
    if node.kind == "target":
        lines[0] = f"target {lines[0]}"
    if said_of(item):
        lines.append(("" if item.label else "promotes ") + cut(said_of(item), 160))
    if node.activation is not None:
        reference = "" if node.reference is None else f", reference {signed_text(node.reference)}"
        lines.append(f"{'value' if node.kind == 'target' else 'act'} {signed_text(node.activation)}{reference}")
    if node.score is not None:
        lines.append(f"relevance {signed_text(node.score)} logits")
    if node.effect is not None:
        lines.append(f"total effect {signed_text(node.effect)} logits" + (
            "" if node.measured is None else f", measured {signed_text(node.measured)}"))  # fmt: skip
    if node.influence is not None and node.kind != "target":
        lines.append(f"within {share_text(node.influence)} of the influence")
    lines += [f"in group {brief(group_names[item.group])}"] if item.group in group_names else []
    return [*lines, *(["pinned"] if item.pinned else [])]


def _texts(item: Item, width: float) -> dict[str, str]:
    fits = int((width - 8) / _PER_CHARACTER)
    said = "" if item.kind in ("embedding", "rest", "constant") and not item.is_group else said_of(item)
    if item.kind == "target" and not item.is_group:
        said = "target"
    if item.is_group:
        return {"name": cut(brief(item.label) or "group", fits), "said": canvas_name(item)}
    return {"name": cut(canvas_name(item), fits if width <= NARROW else fits + 1), "said": cut(said, fits)}


def _score(item: Item) -> float | None:
    scores = [n.score for n in item.nodes if n.score is not None]
    return sum(scores) if scores else None


def _edge(e: ShownEdge, at: Mapping[str, int]) -> list[Any]:
    alone = e.edges[0] if e.n == 1 else None
    numbers = (None, None) if alone is None else (alone.total, alone.measured)
    return [at[e.source], at[e.target], signed_text(e.weight) if e.weight else "0", round(min(e.strength, 1.0), 4),
            *(None if x is None else signed_text(x) for x in numbers), e.n]  # fmt: skip
