"""Figures of activations: arrays in, figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import GREY, ORANGE, SIGNED_SCALE, plot_text, styled, token_ticks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int

_MOST_TICKS = 64
_MOST_LAYER_TICKS = 48
_BUTTONS = 36  # pixels that plotly's buttons take; below them they would cover cells
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
    tokens: Sequence[str], counts: Bool[np.ndarray, " pos"],
) -> go.Figure:  # fmt: skip
    """The signed act of largest |act| per layer and token; a cell's bar carries layer, neuron, position.

    Colour runs to the largest |act| of the positions that count; the others are left blank.
    """
    shown = np.where(counts[None, :], peaks, np.nan)
    finite = np.abs(shown[np.isfinite(shown)])
    top = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
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
    figure.add_bar(  # plotly selects bars, not cells of a heatmap: an invisible one fills each cell
        x=columns, y=np.ones(len(rows)), base=rows - 0.5, width=1, marker={"opacity": 0, "line": {"width": 0}},
        selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}}, textposition="none",
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
    styled(figure, height=118 + 24 * min(max(len(layers), 3), 24))
    return figure.update_layout(margin_t=_BUTTONS)


def over_tokens(curves: Sequence[Curve]) -> go.Figure:
    """Activation against position; one curve has its tokens on the axis, several share positions."""
    figure = go.Figure()
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    for curve in curves:
        positions = np.arange(len(curve.values))
        figure.add_scatter(
            x=positions, y=np.where(curve.counts & np.isfinite(curve.values), curve.values, np.nan),
            mode="lines+markers", name=plot_text(curve.name, 40), marker={"size": 6}, connectgaps=False,
            text=[plot_text(t) for t in curve.tokens],
            hovertemplate="%{text} (position %{x})<br>act %{y:+.4g}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    if len(curves) == 1:
        _token_axis(figure, curves[0].tokens)
    else:
        figure.update_xaxes(title="position")
    figure.update_yaxes(title="act", zeroline=False)
    return styled(figure, height=340, legend=len(curves) > 1)


def histogram(values: Float32[np.ndarray, " token"], marks: Sequence[tuple[str, float]] = ()) -> go.Figure:
    """How the finite values are distributed: bars (density) and a smooth curve; `marks` are vertical lines.

    The curve is `density`; constant values have bars only. Few values make fewer bars.
    """
    kept = values[np.isfinite(values)].astype(np.float64)
    figure = go.Figure()
    if kept.size:
        # Counted here, and one outline instead of 60 bars: plotly is slow with many values and with many shapes.
        heights, edges = np.histogram(kept, bins=_n_bins(kept.size), density=True)
        figure.add_scatter(
            x=np.repeat(edges, 2), y=np.concatenate([[0.0], np.repeat(heights, 2), [0.0]]), mode="lines",
            fill="tozeroy", line={"width": 0}, fillcolor="rgba(52,211,153,0.55)",
            hovertemplate="act %{x:.4g}<br>density %{y:.3g}<extra></extra>",
        )  # fmt: skip
        x, y = density(kept)
        if x.size:
            figure.add_scatter(x=x, y=y, mode="lines", line={"color": ORANGE, "width": 2}, hoverinfo="skip")
    for name, value in marks:
        figure.add_vline(x=value, line={"color": GREY, "dash": "dot"}, annotation_text=plot_text(name))
    figure.update_xaxes(title="act")
    figure.update_yaxes(title="density")
    return styled(figure, height=340)


def _n_bins(n: int) -> int:
    """Bars for `n` values: about 2 sqrt(n), so that one value does not make a spike among few, and at most 60."""
    return int(min(_BINS, max(5, round(2 * n**0.5))))


def density(
    values: Float[np.ndarray, " token"], n_points: int = 200
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """A Gaussian kernel estimate of the density at `n_points` places; empty for fewer than two different values.

    Its width is by Silverman's rule, 0.9 n^(-1/5) min(std, IQR / 1.34), without the IQR where that is 0, and at least
    half a bar of the histogram (Silverman 1986, section 3.4.2). Values are put into 2,000 bins first, so that its cost
    does not grow with them.
    """
    spread = float(values.std()) if values.size else 0.0
    if spread == 0 or not np.isfinite(spread):
        return np.empty(0), np.empty(0)
    low, high = np.percentile(values, [25, 75])
    spread = min(spread, (high - low) / 1.34) if high > low else spread
    width = max(0.9 * spread * values.size ** (-1 / 5), float(np.ptp(values)) / _n_bins(values.size) / 2)
    counts, edges = np.histogram(values, bins=min(2000, max(values.size, 10)))
    centres = (edges[:-1] + edges[1:]) / 2
    x = np.linspace(values.min() - 2 * width, values.max() + 2 * width, n_points)
    kernel = np.exp(-0.5 * ((x[:, None] - centres[None, counts > 0]) / width) ** 2)
    return x, kernel @ counts[counts > 0] / (values.size * width * np.sqrt(2 * np.pi))


def _layer_axis(figure: go.Figure, layers: Sequence[int]) -> None:
    """The first layer on top; the places are rows, not layers, of which a run may store some."""
    step = -(-len(layers) // _MOST_LAYER_TICKS)
    places = list(range(0, len(layers), step))
    figure.update_yaxes(
        tickmode="array", tickvals=places, ticktext=[f"L{layers[i]}" for i in places],
        showgrid=False, zeroline=False, range=[len(layers) - 0.5, -0.5],
    )  # fmt: skip


def _token_axis(figure: go.Figure, tokens: Sequence[str]) -> None:
    step = max(1, -(-len(tokens) // _MOST_TICKS))
    places = list(range(0, len(tokens), step))
    labels = token_ticks(tokens)
    figure.update_xaxes(
        tickmode="array", tickvals=places, ticktext=[labels[i] for i in places],
        showgrid=False, range=[-0.5, len(tokens) - 0.5],
        tickangle=-40 if len(tokens) > 8 else 0,
    )  # fmt: skip
