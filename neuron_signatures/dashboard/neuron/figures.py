"""Figures of activations."""

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
_BUTTONS = 36  # height in pixels of plotly's buttons, which would otherwise cover cells
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
    """Heatmap of the signed act of largest |act| per layer and token; excluded positions are blank.

    Each cell has an invisible bar with layer, neuron and position as `customdata`.
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
    figure.add_bar(  # plotly cannot select cells of a heatmap, so an invisible bar covers each cell
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
    """Activation against position; the axis shows tokens for a single curve, positions for several."""
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
    """Histogram of the finite values (as a density) and the curve of `density`; `marks` are vertical lines.

    Constant values have no curve.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    figure = go.Figure()
    if finite.size:
        # One outline instead of 60 bars: plotly is slow with many values and with many shapes.
        heights, edges = np.histogram(finite, bins=_n_bins(finite.size), density=True)
        figure.add_scatter(
            x=np.repeat(edges, 2), y=np.concatenate([[0.0], np.repeat(heights, 2), [0.0]]), mode="lines",
            fill="tozeroy", line={"width": 0}, fillcolor="rgba(52,211,153,0.55)",
            hovertemplate="act %{x:.4g}<br>density %{y:.3g}<extra></extra>",
        )  # fmt: skip
        x, y = density(finite)
        if x.size:
            figure.add_scatter(x=x, y=y, mode="lines", line={"color": ORANGE, "width": 2}, hoverinfo="skip")
    for name, value in marks:
        figure.add_vline(x=value, line={"color": GREY, "dash": "dot"}, annotation_text=plot_text(name))
    figure.update_xaxes(title="act")
    figure.update_yaxes(title="density")
    return styled(figure, height=340)


def _n_bins(n: int) -> int:
    """Number of bars for `n` values: about 2 sqrt(n), from 5 to 60."""
    return int(min(_BINS, max(5, round(2 * n**0.5))))


def density(
    values: Float[np.ndarray, " token"], n_points: int = 200
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """A Gaussian kernel density estimate at `n_points` points; empty for fewer than two distinct values.

    The bandwidth follows Silverman's rule (Silverman 1986, section 3.4.2): 0.9 n^(-1/5) min(std, IQR / 1.34), without
    the IQR if that is 0, and at least half a bar of the histogram. Values are first put into at most 2,000 bins, which
    bounds the cost.
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
