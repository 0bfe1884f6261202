"""Figures of drift: CKA by checkpoint, the cloud of neurons as an animation, the course of one neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, LINES, ORANGE, plot_text, styled
from neuron_signatures.runs.comparisons.folder import ALL_LAYERS
from neuron_signatures.stats.chance import shown_p
from neuron_signatures.views.comparisons.cloud import Cloud
from neuron_signatures.views.comparisons.course import Checkpoint, CkaPoint, NeuronPoint
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd

MOST_LAYERS = 8
"""Layers that get a line of their own; of more, evenly spaced ones."""
_SHEER = "rgba(148,163,184,.25)"


def cka_lines(
    points: Sequence[CkaPoint], checkpoints: Sequence[Checkpoint], *, selected: int | None = None
) -> go.Figure:
    """Debiased linear CKA with the reference: a line per layer, all layers together in bold with the 95 % interval; the
    area is the null of all layers, mean ± 2 sd of permuted tokens."""
    figure = go.Figure()
    order = {c.number: i for i, c in enumerate(checkpoints)}
    names = _names(checkpoints)
    by_layer: dict[int, list[CkaPoint]] = {}
    for p in points:
        if p.checkpoint in order and p.debiased is not None:
            by_layer.setdefault(p.layer, []).append(p)
    for layer in by_layer:
        by_layer[layer].sort(key=lambda p: order[p.checkpoint])
    shown = [n for n in sorted(by_layer) if n != ALL_LAYERS]
    whole = by_layer.get(ALL_LAYERS, [])
    _null_area(figure, whole or next(iter(by_layer.values()), []), order)
    for number, layer in enumerate(_spaced(shown)):
        own = by_layer[layer]
        figure.add_scatter(
            x=[order[p.checkpoint] for p in own], y=[p.debiased for p in own], mode="lines+markers",
            name=f"layer {layer}", line={"color": LINES[number % len(LINES)], "width": 1.3}, marker={"size": 4},
            customdata=[_said(p) for p in own], hovertemplate="layer " + str(layer) + ", %{customdata}<extra></extra>",
        )  # fmt: skip
    if whole:
        figure.add_scatter(
            x=[order[p.checkpoint] for p in whole], y=[p.debiased for p in whole], mode="lines+markers",
            name="all layers", line={"color": GREY, "width": 3}, marker={"size": 8},
            customdata=[_said(p) for p in whole], hovertemplate="all layers, %{customdata}<extra></extra>",
            error_y=_interval([p.debiased for p in whole], [p.low for p in whole], [p.high for p in whole], GREY),
        )  # fmt: skip
    if selected in order:
        figure.add_vline(x=order[selected], line={"color": ORANGE, "width": 1, "dash": "dot"})
    ends = [-0.3, len(checkpoints) - 0.7]
    figure.update_xaxes(tickvals=list(range(len(checkpoints))), ticktext=names, zeroline=False, range=ends)
    figure.update_yaxes(title="debiased CKA with the reference", zeroline=False)
    return styled(figure, height=340, legend=True)


def _null_area(figure: go.Figure, points: Sequence[CkaPoint], order: dict[int, int]) -> None:
    known = [(float(order[p.checkpoint]), p.null_mean, p.null_sd) for p in points
             if p.null_mean is not None and p.null_sd is not None]  # fmt: skip
    if not known:
        return
    if len(known) == 1:  # an area needs two points
        known = [(known[0][0] - 0.2, *known[0][1:]), (known[0][0] + 0.2, *known[0][1:])]
    x = [k[0] for k in known]
    figure.add_scatter(
        x=[*x, *x[::-1]], y=[*(m + 2 * s for _, m, s in known), *(m - 2 * s for _, m, s in known[::-1])], fill="toself",
        fillcolor=_SHEER, line={"width": 0}, name="permuted tokens, ± 2 sd", hoverinfo="skip", mode="lines",
    )  # fmt: skip


def _said(p: CkaPoint) -> str:
    interval = "" if p.low is None or p.high is None else f" [{p.low:.3f}, {p.high:.3f}]"
    null = "" if p.null_mean is None or p.null_sd is None else f"<br>null {p.null_mean:.3f} ± {p.null_sd:.3f}"
    biased = "" if p.cka is None else f"<br>CKA {p.cka:.3f}"
    return f"debiased {p.debiased:.3f}{interval}{biased}{null}" + (
        "" if p.p is None else f", p {shown_p(p.p, p.n_null)}"
    )


def cloud(found: Cloud, selected: NeuronAt) -> go.Figure:
    """One frame per checkpoint with a slider and buttons to play; a ring around the selected neuron. `customdata` of a
    point is layer and neuron."""
    traces = [_cloud_traces(rows, selected) for _, rows in found.frames]
    names = [f"{i} {c.number}" for i, (c, _) in enumerate(found.frames)]
    figure = go.Figure(
        data=traces[0] if traces else [],
        frames=[go.Frame(data=t, name=n) for n, t in zip(names, traces, strict=True)],
    )
    labels = [plot_text(c.name, 16) for c, _ in found.frames]
    styled(figure, height=470)
    figure.update_layout(
        sliders=[{
            "active": 0, "pad": {"t": 46, "b": 4}, "currentvalue": {"prefix": "checkpoint ", "font": {"size": 13}},
            "steps": [{"label": label, "method": "animate", "args": [[n], _step(0)]}
                      for n, label in zip(names, labels, strict=True)],
        }],
        updatemenus=[{
            "type": "buttons", "direction": "left", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom",
            "pad": {"t": 0, "b": 6}, "showactive": False,
            "buttons": [
                {"label": "Play", "method": "animate", "args": [None, _step(900)]},
                {"label": "Pause", "method": "animate", "args": [[None], {**_step(0), "mode": "immediate"}]},
            ],
        }],
    )  # fmt: skip
    figure.update_xaxes(title="Pearson of activations with the reference", zeroline=False, range=[-1.05, 1.05])
    low, high = _ends(found)
    figure.update_yaxes(title=found.y_title, zeroline=False, range=[low, high])
    return figure


def _cloud_traces(rows: pd.DataFrame, selected: NeuronAt) -> list[go.Scattergl]:
    few = len(set(rows["layer"])) <= 12
    own = rows[(rows["layer"] == selected.layer) & (rows["neuron"] == selected.neuron)]
    return [
        go.Scattergl(
            x=rows["pearson"], y=rows["y"], mode="markers",
            marker={"size": 5, "opacity": 0.6, "color": rows["layer"], "colorscale": "Viridis",
                    "showscale": True,
                    "colorbar": {"title": "layer", "thickness": 10, "tickformat": "d", "dtick": 1 if few else None}},
            customdata=_data(rows), hovertemplate=_HOVER, showlegend=False,
        ),
        go.Scattergl(
            x=own["pearson"], y=own["y"], mode="markers", customdata=_data(own), hovertemplate=_HOVER, showlegend=False,
            marker={"size": 14, "symbol": "circle-open", "color": LINES[8], "line": {"width": 2}},
        ),
    ]  # fmt: skip


_HOVER = "<b>L%{customdata[0]}N%{customdata[1]}</b><br>Pearson %{x:.3f}<br>%{y:.3f}<extra></extra>"


def _step(milliseconds: int) -> dict[str, Any]:
    return {"frame": {"duration": milliseconds, "redraw": True}, "transition": {"duration": 0}, "fromcurrent": True,
            "mode": "immediate"}  # fmt: skip


def _ends(found: Cloud) -> tuple[float, float]:
    values = [v for _, rows in found.frames for v in (rows["y"].min(), rows["y"].max()) if v == v]
    low, high = (min(values), max(values)) if values else (-1.0, 1.0)
    pad = 0.06 * ((high - low) or 1.0)
    return low - pad, high + pad


def neuron_lines(points: Sequence[NeuronPoint], checkpoints: Sequence[Checkpoint]) -> go.Figure:
    """Mean and standard deviation, firing rate, and the similarities with the reference of one neuron."""
    order = {c.number: i for i, c in enumerate(checkpoints)}
    x = [order[p.checkpoint] for p in points]
    panels = (
        ("mean ± std", (("mean", [p.mean for p in points], EMERALD),)),
        ("firing rate", (("rate", [p.rate for p in points], EMERALD),)),
        ("with the reference", (
            ("Pearson", [p.pearson for p in points], LINES[0]), ("Jaccard", [p.jaccard for p in points], LINES[1]),
            ("cos in", [p.cos_in for p in points], LINES[2]), ("cos gate", [p.cos_gate for p in points], LINES[5]),
            ("cos out", [p.cos_out for p in points], LINES[3]),
        )),
    )  # fmt: skip
    figure = make_subplots(rows=1, cols=3, subplot_titles=[title for title, _ in panels], horizontal_spacing=0.06)
    for column, (title, lines) in enumerate(panels, 1):
        for name, values, colour in lines:
            if all(v is None for v in values):
                continue
            spread = [p.std for p in points] if name == "mean" else None
            error = {"type": "data", "array": [s or 0.0 for s in spread], "color": _SHEER, "thickness": 6, "width": 0} \
                if spread else None  # fmt: skip
            figure.add_scatter(
                x=x, y=values, mode="lines+markers", name=name, line={"color": colour, "width": 2}, row=1, col=column,
                showlegend=title == "with the reference", error_y=error, connectgaps=False,
                customdata=[plot_text(checkpoints[i].name, 30) for i in x],
                hovertemplate="%{customdata}: %{y:.3g}<extra>" + name + "</extra>",
            )  # fmt: skip
    figure.update_xaxes(tickvals=list(range(len(checkpoints))), ticktext=_names(checkpoints), zeroline=False,
                        range=[-0.3, len(checkpoints) - 0.7])  # fmt: skip
    figure.update_yaxes(zeroline=False)
    styled(figure, height=300, legend=True)
    figure.update_layout(margin={"t": 90}, legend={"x": 1.0, "xanchor": "right", "y": 1.12})
    return figure


def _interval(
    values: Sequence[float | None], low: Sequence[float | None], high: Sequence[float | None], colour: str
) -> dict[str, Any]:
    up = [0.0 if v is None or h is None else max(h - v, 0.0) for v, h in zip(values, high, strict=True)]
    down = [0.0 if v is None or b is None else max(v - b, 0.0) for v, b in zip(values, low, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def _names(checkpoints: Sequence[Checkpoint]) -> list[str]:
    return [plot_text(c.name, 16) + (" (ref.)" if c.is_reference else "") for c in checkpoints]


def _spaced(layers: Sequence[int]) -> list[int]:
    if len(layers) <= MOST_LAYERS:
        return list(layers)
    step = (len(layers) - 1) / (MOST_LAYERS - 1)
    return sorted({layers[round(i * step)] for i in range(MOST_LAYERS)})


def _data(rows: pd.DataFrame) -> list[list[int]]:
    return [[int(a), int(b)] for a, b in zip(rows["layer"], rows["neuron"], strict=True)]
