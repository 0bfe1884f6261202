"""Figures of ranked lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, ORANGE, plot_text, styled

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
    few = len(ranks.layer) and np.ptp(ranks.layer) < 16
    return figure.update_xaxes(title="layer", dtick=1 if few else None, tickformat="d")


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
