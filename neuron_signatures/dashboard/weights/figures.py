"""Scatter plots of weight statistics: one point per neuron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import GREY, LINES, plot_text, styled
from neuron_signatures.runs.weights.folder import CLASSES
from neuron_signatures.views.at_large.texts import class_words
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 6000
"""Neurons that are drawn: all of a class, and a sample of the others."""
_WEBGL_FROM = 1500
_SEED = 0


class Pair(NamedTuple):
    """Two columns that are drawn against each other."""

    title: str
    x: str
    y: str
    x_title: str
    y_title: str
    log_x: bool = False
    log_y: bool = False
    level: float | None = None
    """A value of y at which a line is drawn."""


PAIRS: tuple[Pair, ...] = (
    Pair("skewness and kurtosis", "logit_skewness", "logit_kurtosis", "skewness over the vocabulary",
         "kurtosis over the vocabulary (normal: 3)", log_y=True, level=10.0),
    Pair("norm and variance", "norm_out", "logit_variance", "norm of w_out",
         "variance over the vocabulary", log_x=True, log_y=True),
    Pair("norm and weakest directions", "norm_out", "null_share", "norm of w_out",
         "share in the weakest 2 % of the unembedding", log_x=True),
    Pair("input and output", "layer", "cos_in_out", "layer", "cosine of w_in and w_out"),
)  # fmt: skip


def drawn(rows: pd.DataFrame, pair: Pair, selected: NeuronAt) -> pd.DataFrame:
    """The rows with both numbers defined: all of a class, a seeded sample of the others, and the selected neuron."""
    good = rows[np.isfinite(rows[pair.x].astype(float)) & np.isfinite(rows[pair.y].astype(float))]
    good = good[(good[pair.x] > 0) | (not pair.log_x)]
    good = good[(good[pair.y] > 0) | (not pair.log_y)]
    if len(good) <= MOST_POINTS:
        return good
    own = (good["layer"] == selected.layer) & (good["neuron"] == selected.neuron)
    classed = good["class"].fillna("none") != "none"
    first = good[classed & ~own]
    first = first.sample(min(len(first), MOST_POINTS // 2), random_state=_SEED)
    rest = good[~classed & ~own].sample(MOST_POINTS - len(first), random_state=_SEED, replace=False) \
        if int((~classed & ~own).sum()) > MOST_POINTS - len(first) else good[~classed & ~own]  # fmt: skip
    return good.loc[[*first.index, *rest.index, *good[own].index]]


def scatter(rows: pd.DataFrame, pair: Pair, selected: NeuronAt) -> go.Figure:
    """`rows` are those of `drawn`; one colour per class, a ring around the selected neuron. `customdata` of a point is
    layer and neuron."""
    figure = go.Figure()
    kind = go.Scattergl if len(rows) >= _WEBGL_FROM else go.Scatter
    classes = rows["class"].fillna("none")
    for name in [c for c in ("none", *CLASSES[:-1]) if (classes == c).any()] + sorted(set(classes) - set(CLASSES)):
        some = rows[classes == name]
        figure.add_trace(kind(
            x=_jittered(some, pair.x), y=some[pair.y], mode="markers", name=plot_text(class_words(name), 24),
            marker={"size": 4 if name == "none" else 6, "color": _colour(name),
                    "opacity": 0.35 if name == "none" else 0.85},
            customdata=_data(some), hovertemplate=_hover(pair),
        ))  # fmt: skip
    own = rows[(rows["layer"] == selected.layer) & (rows["neuron"] == selected.neuron)]
    if len(own):
        figure.add_trace(kind(
            x=_jittered(own, pair.x), y=own[pair.y], mode="markers", name=selected.label, customdata=_data(own),
            marker={"size": 14, "symbol": "circle-open", "color": LINES[8], "line": {"width": 2}},
            hovertemplate=_hover(pair),
        ))  # fmt: skip
    if pair.level is not None:
        figure.add_hline(y=pair.level, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(title=pair.x_title, zeroline=False, type="log" if pair.log_x else None)
    figure.update_yaxes(title=pair.y_title, zeroline=False, type="log" if pair.log_y else None)
    for log, axis, column in ((pair.log_x, figure.update_xaxes, pair.x), (pair.log_y, figure.update_yaxes, pair.y)):
        if log:
            axis(tickvals=log_ticks(rows[column].tolist()))
    return styled(figure, height=430, legend=True)


def _colour(name: str) -> str:
    order = [c for c in CLASSES if c != "none"]
    return GREY if name not in order else LINES[order.index(name)]


def _jittered(rows: pd.DataFrame, x: str) -> Sequence[float]:
    """Values of x; layers are spread out by the neuron's number, so that points of a layer do not hide each other."""
    if x != "layer":
        return list(rows[x])
    width = max(1, int(rows["neuron"].max()) if len(rows) else 1)
    return list(rows["layer"] + 0.7 * (rows["neuron"] / width - 0.5))


def _data(rows: pd.DataFrame) -> list[list[int]]:
    return [[int(a), int(b)] for a, b in zip(rows["layer"], rows["neuron"], strict=True)]


def _hover(pair: Pair) -> str:
    x = "" if pair.x == "layer" else f"{pair.x_title}: %{{x:.3g}}<br>"
    return f"<b>L%{{customdata[0]}}N%{{customdata[1]}}</b><br>{x}{pair.y_title}: %{{y:.3g}}<extra></extra>"


def log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2, 5, 10, 20, ... in the range of the values; only powers of ten if they span more than two decades."""
    good = [v for v in values if v > 0]
    if not good:
        return []
    low, high = math.floor(math.log10(min(good))), math.ceil(math.log10(max(good)))
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    return [float(f"{m}e{e}") for e in range(low, high + 1) for m in steps]
