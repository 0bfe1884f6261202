"""The canvas as a component of the page: a picture of the circuit that can be clicked, in plain SVG.

Names are cut and escaped for display here; the script puts them on the page as text nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import streamlit as st

from neuron_signatures.dashboard.circuit.canvas_script import SCRIPT
from neuron_signatures.dashboard.circuit.canvas_style import STYLE
from neuron_signatures.views.circuit.labels import (
    SecondLine,
    canvas_texts,
    cut,
    item_lines,
    mark_of,
    score_of,
    target_name,
)
from neuron_signatures.views.circuit.layout import Layout
from neuron_signatures.views.circuit.picture import PER_CHARACTER, edge_scales, shade
from neuron_signatures.views.circuit.shown import Shown, ShownEdge
from neuron_signatures.views.interventions.sheets import signed_text

KEY: Final = "circuit_canvas"
_LONGEST_ID, _MOST_IDS = 300, 200

_canvas = st.components.v2.component("neuron_signatures_circuit", css=STYLE, js=SCRIPT)


def canvas(
    circuit: str, shown: Shown, layout: Layout, selected: Collection[str], on_pick: Callable[[list[str]], None],
    group_names: Mapping[str, str], second: SecondLine = "label",
) -> None:  # fmt: skip
    """Draw the circuit; a click calls `on_pick` with the ids of the items that are then selected."""
    data = canvas_data(circuit, shown, layout, selected, group_names, second)
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
    circuit: str,
    shown: Shown,
    layout: Layout,
    selected: Collection[str],
    group_names: Mapping[str, str],
    second: SecondLine = "label",
) -> dict[str, Any]:
    """What the script draws. Edges: source, target, weight, `edge_scales`, total, measured, number."""
    prompt = shown.graph.prompt
    at = {item.id: i for i, item in enumerate(shown.items)}
    boxes = {box.id: box for box in layout.boxes}
    strongest = max((abs(score_of(i) or 0.0) for i in shown.items), default=0.0)
    nodes = []
    for item in shown.items:
        box = boxes[item.id]
        name, said = canvas_texts(item, int((box.width - 8) / PER_CHARACTER), second)
        nodes.append({
            "id": item.id, "x": round(box.x, 1), "y": round(box.y, 1), "w": round(box.width, 1), "h": box.height,
            "name": name, "said": said, "lines": item_lines(item, prompt, group_names), "pinned": item.pinned,
            "kind": "group" if item.is_group else item.kind, "mark": mark_of(item),
            "group": "all" if item.is_group else "in" if item.group else "",
            "shade": round(shade(item, strongest), 3),
        })  # fmt: skip
    return {
        "circuit": circuit, "label": f"Circuit of {target_name(prompt)}: {len(nodes)} nodes, {len(shown.edges)} edges",
        "width": round(layout.width, 1), "height": round(layout.height, 1), "nodes": nodes,
        "rows": [{"y": r.y, "h": r.height, "label": r.label, "empty": r.is_empty} for r in layout.rows],
        "columns": [{"x": c.x, "w": c.width, "label": cut(c.label, int((c.width + 10) / PER_CHARACTER))}
                    for c in layout.columns],
        "edges": [_edge(e, at, s) for e, s in zip(shown.edges, edge_scales(shown.edges), strict=True)],
        "selected": [i for i in selected if i in at],
    }  # fmt: skip


def _edge(e: ShownEdge, at: Mapping[str, int], scale: float) -> list[Any]:
    alone = e.edges[0] if e.n == 1 else None
    numbers = (None, None) if alone is None else (alone.total, alone.measured)
    return [at[e.source], at[e.target], signed_text(e.weight) if e.weight else "0", round(scale, 3),
            *(None if x is None else signed_text(x) for x in numbers), e.n]  # fmt: skip
