"""Figures of activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import (
    GREY,
    SIGNED_SCALE,
    plot_text,
    signed_colours,
    styled,
    token_ticks,
)
from neuron_signatures.views.scale import Limit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int

_MOST_TICKS = 64
_MOST_LAYER_TICKS = 48
_BINS = 60


class Curve(NamedTuple):
    """One neuron on one prompt."""

    name: str
    """Raw."""
    tokens: Sequence[str]
    """Raw."""
    values: Float32[np.ndarray, " pos"]
    counts: Bool[np.ndarray, " pos"]


def layers_by_tokens(
    peaks: Float[np.ndarray, "layer pos"], neurons: Int[np.ndarray, "layer pos"], layers: Sequence[int],
    tokens: Sequence[str], counts: Bool[np.ndarray, " pos"], limit: Limit,
) -> go.Figure:  # fmt: skip
    """Heatmap of the signed act of largest |act| per layer and token; excluded positions are blank.

    `limit` is the full scale; cells beyond it are outlined. Each cell has a bar without colour, with layer, neuron and
    position as `customdata`.
    """
    shown = np.where(counts[None, :], peaks, np.nan)
    top = limit.value or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=list(range(len(tokens))),
            y=list(range(len(layers))),
            colorscale=SIGNED_SCALE,
            zmin=-top,
            zmax=top,
            xgap=1,
            ygap=1,
            hoverinfo="skip",
            colorbar={"title": "act", "thickness": 12},
        )
    )
    rows, columns = np.nonzero(np.isfinite(shown))
    cells = columns.tolist()
    outlines = np.where(np.abs(shown[rows, columns]) > top, 2.0, 0.0)
    figure.add_bar(  # plotly cannot select cells of a heatmap, so a bar without colour covers each cell
        x=columns, y=np.ones(len(rows)), base=rows - 0.5, width=1,
        marker={"color": "rgba(0,0,0,0)", "line": {"width": outlines, "color": GREY}},
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}}, textposition="none",
        customdata=np.stack(
            [np.asarray(layers, dtype=np.int64)[rows], neurons[rows, columns], columns], axis=1
        ) if len(rows) else [],
        text=[plot_text(tokens[c]) for c in cells], meta=None,
        hovertemplate="L%{customdata[0]}N%{customdata[1]}<br>%{text} (position %{customdata[2]})<br>act %{hovertext}"
                      "<extra></extra>",
        hovertext=[f"{shown[r, c]:+.4g}" for r, c in zip(rows, columns, strict=True)],
    )  # fmt: skip
    _token_axis(figure, tokens)
    _layer_axis(figure, layers)
    return styled(figure, height=118 + 24 * min(max(len(layers), 3), 24))


def over_tokens(curves: Sequence[Curve]) -> go.Figure:
    """Activation against position: bars for a single prompt, whose tokens are on the axis; markers for several.

    Tokens of different prompts at the same position are unrelated, so no line connects them.
    """
    figure = go.Figure()
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    for curve in curves:
        positions = np.arange(len(curve.values))
        y = np.where(curve.counts & np.isfinite(curve.values), curve.values, np.nan)
        shape = {
            "x": positions,
            "y": y,
            "name": plot_text(curve.name, 40),
            "text": [plot_text(t) for t in curve.tokens],
        }
        hover = "%{text} (position %{x})<br>act %{y:+.4g}<extra>%{fullData.name}</extra>"
        if len(curves) == 1:
            figure.add_bar(**shape, marker={"color": signed_colours(y)}, textposition="none", hovertemplate=hover)
        else:
            figure.add_scatter(**shape, mode="markers", marker={"size": 8}, hovertemplate=hover)
    if len(curves) == 1:
        _token_axis(figure, curves[0].tokens)
    else:
        figure.update_xaxes(title="position")
    figure.update_yaxes(title="act", zeroline=False)
    return styled(figure, height=340, legend=len(curves) > 1)


def histogram(values: Float32[np.ndarray, " token"]) -> go.Figure:
    """Number of tokens per interval of activation, on a logarithmic axis; intervals without a token have no bar.

    The ends of the intervals are multiples of their width, so each bar has one sign.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    figure = go.Figure()
    most = 1
    if finite.size:
        edges = _edges(finite)
        counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), bins=edges)  # edges are rounded
        centres, filled = (edges[:-1] + edges[1:]) / 2, counts > 0
        most = int(counts.max())
        figure.add_bar(
            x=centres[filled], y=counts[filled], width=np.diff(edges)[filled],
            marker={"color": signed_colours(centres[filled]), "line": {"width": 0}},
            customdata=np.stack([edges[:-1][filled], edges[1:][filled]], axis=1),
            hovertemplate="act %{customdata[0]:.4g} to %{customdata[1]:.4g}<br>tokens %{y:,}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="act", zeroline=True)
    figure.update_yaxes(title="tokens (log scale)", type="log", dtick=1, range=[np.log10(0.6), np.log10(1.5 * most)])
    return styled(figure, height=340)


def _edges(finite: Float64[np.ndarray, " token"]) -> Float64[np.ndarray, " edge"]:
    """Ends of about 2 sqrt(n) intervals, from 5 to 60, at multiples of their width."""
    low, high = float(finite.min()), float(finite.max())
    width = (high - low) / int(min(_BINS, max(5, round(2 * finite.size**0.5)))) or abs(high) or 1.0
    first, last = int(np.floor(low / width)), int(np.ceil(high / width))
    return np.arange(first, max(last, first + 1) + 1) * width


def _layer_axis(figure: go.Figure, layers: Sequence[int]) -> None:
    """The first layer on top; ticks are row indices, because a run may store only some layers."""
    step = -(-len(layers) // _MOST_LAYER_TICKS)
    rows = list(range(0, len(layers), step))
    figure.update_yaxes(
        tickmode="array", tickvals=rows, ticktext=[f"L{layers[i]}" for i in rows],
        showgrid=False, zeroline=False, range=[len(layers) - 0.5, -0.5],
    )  # fmt: skip


def _token_axis(figure: go.Figure, tokens: Sequence[str]) -> None:
    step = max(1, -(-len(tokens) // _MOST_TICKS))
    positions = list(range(0, len(tokens), step))
    labels = token_ticks(tokens)
    figure.update_xaxes(
        tickmode="array", tickvals=positions, ticktext=[labels[i] for i in positions],
        showgrid=False, range=[-0.5, len(tokens) - 0.5],
        tickangle=-40 if len(tokens) > 8 else 0,
    )  # fmt: skip
