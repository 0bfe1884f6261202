"""Figures of ranked lists and of their validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, LINES, ORANGE, plot_text, styled
from neuron_signatures.runs.result_records import MetricValidation

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

MOST_BARS = 40


class Ranks(NamedTuple):
    """Some rows of a list, in its order."""

    layer: Int64[np.ndarray, " row"]
    neuron: Int64[np.ndarray, " row"]
    row: Int64[np.ndarray, " row"]
    """Index in the list."""
    score: Float64[np.ndarray, " row"]
    act: Float64[np.ndarray, " row"]
    token: list[str]
    """Raw."""


def by_layer(ranks: Ranks, score_name: str) -> go.Figure:
    """Score by layer; the neurons of a layer are spread out by rank."""
    order = np.zeros(len(ranks.layer))
    for layer in np.unique(ranks.layer):
        mine = ranks.layer == layer
        order[mine] = np.linspace(-0.35, 0.35, int(mine.sum())) if mine.sum() > 1 else 0.0
    figure = _points(ranks, ranks.layer + order, score_name)
    return figure.update_xaxes(title="layer", dtick=1 if len(ranks.layer) and np.ptp(ranks.layer) < 30 else None)


def act_against_score(ranks: Ranks, score_name: str) -> go.Figure:
    return _points(ranks, ranks.act, score_name).update_xaxes(title="activation")


def bars(ranks: Ranks, score_name: str) -> go.Figure:
    """The first rows, the best at the top."""
    n = min(len(ranks.layer), MOST_BARS)
    first = Ranks._make(column[:n] for column in ranks)
    names = [
        f"{r + 1}  L{layer}N{neuron}" for r, layer, neuron in zip(first.row, first.layer, first.neuron, strict=True)
    ]
    figure = go.Figure(
        go.Bar(
            x=first.score, y=names, orientation="h", marker={"color": _colours(first.score)}, customdata=_data(first),
            text=[plot_text(t, 20) for t in first.token], textposition="auto",
            textangle=0,
            hovertemplate="L%{customdata[0]}N%{customdata[1]} at %{text}<br>%{x:.4g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_xaxes(title=plot_text(score_name))
    return styled(figure, height=90 + 22 * max(n, 3))


def curves(metrics: Sequence[MetricValidation], what: Literal["faithfulness", "completeness"]) -> go.Figure:
    """Share of the function against set size, one line per metric; random sets of the same size in grey."""
    figure = go.Figure()
    for level in (0, 1):
        figure.add_hline(y=level, line={"color": GREY, "width": 1, "dash": "dot"})
    for i, m in enumerate(metrics):
        figure.add_scatter(
            x=[p.k for p in m.curve], y=[getattr(p, what) for p in m.curve], mode="lines+markers",
            name=plot_text(m.metric), line={"color": LINES[i % len(LINES)]}, marker={"size": 6},
            hovertemplate="%{x} neurons: %{y:.3f}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    controls = [(m.metric, c) for m in metrics for c in m.controls if c.random_mean is not None]
    if what == "faithfulness" and controls:
        figure.add_scatter(
            x=[c.k for _, c in controls], y=[c.random_mean for _, c in controls], mode="markers", name="random sets",
            marker={"color": GREY, "symbol": "diamond", "size": 7},
            error_y={
                "type": "data", "symmetric": False, "color": GREY,
                "array": [0.0 if c.high is None else c.high - (c.random_mean or 0.0) for _, c in controls],
                "arrayminus": [0.0 if c.low is None else (c.random_mean or 0.0) - c.low for _, c in controls],
            },
            text=[plot_text(f"{c.n_random} random sets matched to the first {c.k} of {name}") for name, c in controls],
            hovertemplate="%{text}<br>mean %{y:.3f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="neurons in the set", type="log", dtick=1)
    figure.update_yaxes(title=what)
    return styled(figure, height=400, legend=True)


def _points(ranks: Ranks, x: np.ndarray, score_name: str) -> go.Figure:
    figure = go.Figure(go.Scattergl(
        x=x, y=ranks.score, mode="markers", marker={"color": _colours(ranks.score), "size": 7, "opacity": 0.85},
        customdata=_data(ranks), text=[plot_text(t) for t in ranks.token],
        hovertext=[_number(v) for v in ranks.act],
        meta=plot_text(score_name),
        hovertemplate="L%{customdata[0]}N%{customdata[1]} at %{text}<br>%{meta} %{y:.4g}<br>act %{hovertext}"
                      "<extra></extra>",
    ))  # fmt: skip
    figure.update_yaxes(title=plot_text(score_name))
    return styled(figure, height=380)


def _data(ranks: Ranks) -> np.ndarray:
    return np.stack([ranks.layer, ranks.neuron, ranks.row], axis=1)


def _colours(score: np.ndarray) -> list[str]:
    return [EMERALD if s >= 0 else ORANGE if s < 0 else GREY for s in score]


def _number(value: float) -> str:
    return f"{value:+.4g}" if np.isfinite(value) else "unknown"
