"""The histogram of a neuron's activations over a corpus."""

from __future__ import annotations

from typing import Literal

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import GREY, signed_colours, styled
from neuron_signatures.views.records.distribution import Bin, Distribution

Measure = Literal["tokens", "density", "share beyond"]
MEASURES: tuple[Measure, ...] = ("tokens", "density", "share beyond")
MEASURE_HELP = (
    "tokens: tokens in each interval. density: their share per unit of activation. share beyond: share of the tokens "
    "in this interval or farther from zero on its side."
)
_TITLES: dict[Measure, str] = {
    "tokens": "tokens (log scale)",
    "density": "share per unit (log scale)",
    "share beyond": "share of tokens (log scale)",
}
_MOST_TICKS = 11


def corpus_histogram(found: Distribution, measure: Measure) -> go.Figure:
    """Bars of equal width, one for each interval: the intervals are narrow around zero and wide far from it.

    Both axes are not linear; the ends of the intervals are on the axis and in the hover text.
    """
    bins = found.bins
    values = np.array([_height(b, measure) for b in bins], float)
    places, filled = np.arange(len(bins)), np.array([b.n > 0 for b in bins], bool) & (values > 0)
    ends = [[b.low, b.high, b.n, _number(b.density), f"{b.beyond:.3%}"] for b in bins]
    figure = go.Figure()
    figure.add_bar(
        x=places[filled], y=values[filled], width=1,
        marker={"color": signed_colours(np.array([b.low + b.high for b in bins], float)[filled]), "line": {"width": 0}},
        customdata=[e for e, f in zip(ends, filled, strict=True) if f],
        hovertemplate="act %{customdata[0]:.4g} to %{customdata[1]:.4g}<br>tokens %{customdata[2]:,}"
                      "<br>density %{customdata[3]}<br>this far or farther: %{customdata[4]}<extra></extra>",
    )  # fmt: skip
    if (zero := _zero(bins)) is not None:
        figure.add_vline(x=zero, line={"color": GREY, "width": 1})
    at, labels = _ticks(bins)
    figure.update_xaxes(title="act", tickmode="array", tickvals=at, ticktext=labels, showgrid=False, zeroline=False,
                        range=[-0.7, len(bins) - 0.3], tickangle=0)  # fmt: skip
    low, high = (float(values[filled].min()), float(values[filled].max())) if filled.any() else (1.0, 1.0)
    figure.update_yaxes(
        title=_TITLES[measure], type="log", dtick=1 if high / low > 10 else None, nticks=5, exponentformat="power",
        range=[np.log10(0.5 * low), np.log10(2 * high)],
    )  # fmt: skip
    return styled(figure, height=300)


def _height(b: Bin, measure: Measure) -> float:
    return {"tokens": float(b.n), "density": b.density or 0.0, "share beyond": b.beyond}[measure]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _zero(bins: tuple[Bin, ...]) -> float | None:
    """Where zero is on the axis; None if it is not between the first and the last interval."""
    return next((i - 0.5 for i, b in enumerate(bins) if b.low >= 0 and i), None) if bins and bins[0].low < 0 else None


def _ticks(bins: tuple[Bin, ...]) -> tuple[list[float], list[str]]:
    """About ten of the ends of the intervals, with zero among them."""
    if not bins:
        return [], []
    ends = [b.low for b in bins] + [bins[-1].high]
    step = -(-len(ends) // _MOST_TICKS)
    zero = next((i for i, e in enumerate(ends) if e == 0), 0)
    chosen = [i for i in range(len(ends)) if (i - zero) % step == 0]
    return [i - 0.5 for i in chosen], [f"{ends[i]:.2g}" for i in chosen]
