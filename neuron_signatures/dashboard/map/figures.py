"""Figures of the Map view: points, their colours, and the comparison of cluster numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.data.sample import Sample
from neuron_signatures.dashboard.map.clusters import NOISE, Swept
from neuron_signatures.dashboard.map.projection import Reduced
from neuron_signatures.dashboard.widgets.figure_style import GREY, LINES, SIGNED_SCALE, plot_text, styled
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.scale import MAP_PERCENTILE, limit_of

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
_NAMED = len(LINES) - 1
"""Number of categories that get their own colour."""
_WEBGL_FROM = 1_500
"""From this many points on, WebGL; fewer are drawn as SVG, which needs no graphics driver."""
_MOST_TICKS = 12
_SMALL_FROM = 300
"""From this many points on, markers are small."""


@dataclass(frozen=True)
class Colours:
    """The quantity shown as colour: a category or a number per neuron."""

    title: str
    categories: tuple[str, ...] | None = None
    """One per neuron, escaped for plotly; empty ones are drawn in grey."""
    grey: str = ""
    """Legend entry of the grey points."""
    values: Float64[np.ndarray, " neuron"] | None = None
    """NaN is drawn in grey."""
    signed: bool = False
    whole: bool = False
    """Values are whole numbers, such as layers."""


def by_cluster(labels: Int64[np.ndarray, " neuron"]) -> Colours:
    return Colours("cluster", tuple("" if c == NOISE else f"cluster {c}" for c in labels), "noise")


def by_number(
    title: str, values: Float64[np.ndarray, " neuron"], *, signed: bool = False, whole: bool = False
) -> Colours:
    return Colours(title, values=np.asarray(values, np.float64), signed=signed, whole=whole)


def by_word(title: str, words: Sequence[str | None]) -> Colours:
    """Colours of the most frequent words (raw); the others and None are grey."""
    common = [w for w, _ in Counter(w for w in words if w is not None).most_common(_NAMED)]
    names = {w: plot_text(w, 24) or "(empty)" for w in common}
    return Colours(title, tuple(names.get(w, "") if w is not None else "" for w in words), "other")


def pca_titles(reduced: Reduced) -> tuple[str, str]:
    """Axis titles with the variance explained by each axis."""
    shares = [f"{share:.1%} of the variance" if np.isfinite(share) else "no variance" for share in reduced.explained]
    return f"PC 1 ({shares[0]})", f"PC 2 ({shares[1]})"


def hover_texts(sample: Sample, tokens: Sequence[str], labels: Int64[np.ndarray, " neuron"] | None) -> list[str]:
    """One per neuron: name, peak, token at the sampled peak, cluster."""
    names = {token: plot_text(token) for token in set(tokens)}
    out = []
    for i, at in enumerate(sample.at):
        group = "" if labels is None else "<br>noise" if labels[i] == NOISE else f"<br>cluster {labels[i]}"
        out.append(f"<b>{at.label}</b><br>peak |act| {sample.peak[i]:.3g}<br>at {names[tokens[i]]}{group}")
    return out


def scatter(
    points: Float32[np.ndarray, "neuron 2"], sample: Sample, colours: Colours, hover: Sequence[str],
    titles: tuple[str, str], *, selected: NeuronAt | None = None, units: bool = True,
) -> go.Figure:  # fmt: skip
    """The scatter plot of neurons, with a ring around the selected one. Without `units` (t-SNE) axes have no numbers.

    `customdata` of a point is layer and neuron.
    """
    figure = go.Figure()
    kind = go.Scattergl if len(points) >= _WEBGL_FROM else go.Scatter
    size = 5 if len(points) > _SMALL_FROM else 8
    data = [list(at) for at in sample.at]  # lists: arrays come back from the browser in another form
    for name, rows, marker in _traces(colours):
        figure.add_trace(
            kind(
                x=points[rows, 0], y=points[rows, 1], mode="markers", name=name, marker={"size": size, **marker},
                customdata=[data[i] for i in rows], hovertext=[hover[i] for i in rows],
                hovertemplate="%{hovertext}<extra></extra>",
                showlegend=colours.categories is not None,
            )
        )  # fmt: skip
    if selected in sample.at:
        i = sample.at.index(selected)
        figure.add_trace(
            kind(
                x=points[i : i + 1, 0], y=points[i : i + 1, 1], mode="markers", name=selected.label,
                marker={"size": 14, "symbol": "circle-open", "color": LINES[8], "line": {"width": 2}},
                customdata=[data[i]], hovertext=[hover[i]], hovertemplate="%{hovertext}<extra></extra>",
                showlegend=True,
            )
        )  # fmt: skip
    styled(figure, height=560)
    # The legend is beside the plot, where many entries do not reach plotly's buttons.
    names = {"orientation": "v", "yanchor": "top", "y": 1.0, "x": 1.01 if colours.values is None else 1.12}
    figure.update_layout(showlegend=True, legend={"itemsizing": "constant", **names})
    figure.update_xaxes(title=titles[0], zeroline=False)
    figure.update_yaxes(title=titles[1], zeroline=False)
    if not units:
        figure.update_xaxes(showticklabels=False, showgrid=False)
        figure.update_yaxes(showticklabels=False, showgrid=False, scaleanchor="x", scaleratio=1)
    return figure


def sweep_figure(swept: Sequence[Swept]) -> go.Figure:
    """Silhouette against the number of clusters, for the data and the shuffled data; undefined values are gaps."""
    figure = go.Figure()
    for name, values, colour, dash in (
        ("activations", [s.data for s in swept], LINES[0], "solid"),
        ("shuffled over tokens", [s.shuffled for s in swept], GREY, "dot"),
    ):
        line = {"color": colour, "dash": dash}
        figure.add_scatter(x=[s.k for s in swept], y=values, mode="lines+markers", name=name, line=line)
    figure.update_xaxes(title="clusters (k-means)")
    figure.update_yaxes(title="silhouette", rangemode="tozero")
    return styled(figure, height=280, legend=True)


def _traces(colours: Colours) -> list[tuple[str, list[int], dict[str, object]]]:
    """Name, rows and marker of each trace; grey comes first, to lie below the others."""
    if colours.values is not None:
        return _number_traces(colours, colours.values)
    rows: dict[str, list[int]] = {}
    for i, category in enumerate(colours.categories or ()):
        rows.setdefault(category, []).append(i)
    grey = rows.pop("", [])
    out: list[tuple[str, list[int], dict[str, object]]] = []
    if grey:
        out.append((colours.grey, grey, {"color": GREY, "opacity": 0.45}))
    ordered = sorted(rows, key=lambda c: (-len(rows[c]), rows[c][0]))
    for n, category in enumerate(ordered):
        marker = {"color": LINES[n % len(LINES)], "symbol": _SYMBOLS[n // len(LINES) % len(_SYMBOLS)]}
        out.append((category, rows[category], {**marker, "opacity": 0.85}))
    return out


def _number_traces(
    colours: Colours, values: Float64[np.ndarray, " neuron"]
) -> list[tuple[str, list[int], dict[str, object]]]:
    known = np.isfinite(values)
    out: list[tuple[str, list[int], dict[str, object]]] = []
    if not known.all():
        out.append(("not in the list", np.flatnonzero(~known).tolist(), {"color": GREY, "opacity": 0.3}))
    if known.any():
        shown = values[known]
        scale: dict[str, object] = {"colorscale": "Viridis"}
        if colours.signed:
            limit = limit_of(shown, MAP_PERCENTILE).value or 1.0
            scale = {"colorscale": SIGNED_SCALE, "cmin": -limit, "cmax": limit, "line": {"width": 0.4, "color": GREY}}
        bar: dict[str, object] = {"title": {"text": colours.title, "side": "right"}, "thickness": 12}
        if colours.whole and np.ptp(shown) < _MOST_TICKS:
            bar |= {"tickmode": "linear", "tick0": 0, "dtick": 1}
        out.append((colours.title, np.flatnonzero(known).tolist(), {"color": shown, "colorbar": bar, **scale}))
    return out
