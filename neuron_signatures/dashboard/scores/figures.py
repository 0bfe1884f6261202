"""Figures of scores: one explanation's scores beside their nulls, distributions, two sets, and layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, LINES, plot_text, styled
from neuron_signatures.runs.scores.summary import Summary
from neuron_signatures.runs.scores.table import ScoreRow
from neuron_signatures.views.scores.over_neurons import PolePair, PolePoint
from neuron_signatures.views.scores.shown import ShownScore
from neuron_signatures.views.scores.texts import score_sentence

BLUE = LINES[1]
T = TypeVar("T")
MOST_POINTS = 4_000
_BINS = 40
_CONTROLS = {"shuffled": "x-thin", "lookup": "diamond-open", "ceiling": "star-triangle-up-open"}
_CHANCE = {"balanced_accuracy": 0.5, "auroc": 0.5, "choice": 1 / 3}
"""By the part of a score's name before the `/`: what guessing gives."""


def forest(scores: Sequence[ShownScore]) -> go.Figure:
    """Scores with their 95 % intervals, one per row, on their nulls (mean ± standard deviation) and beside controls."""
    shown = [s for s in scores if s.row.value is not None]
    figure = go.Figure()
    nulls = [(i, s.row) for i, s in enumerate(shown) if s.row.null_best is not None]
    if nulls:
        figure.add_scatter(
            x=[r.null_best for _, r in nulls], y=[i for i, _ in nulls], mode="markers", name="null: mean ± sd",
            marker={"color": GREY, "symbol": "line-ns", "size": 16, "line": {"color": GREY, "width": 3}},
            error_x={"type": "data", "array": [r.null_sd or 0.0 for _, r in nulls], "color": "rgba(148,163,184,.45)",
                     "thickness": 11, "width": 0},
            text=[f"null {r.null_best:.3f} ± {r.null_sd or 0:.3f}, {r.null_n:,} draws" for _, r in nulls],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    for name, symbol in _CONTROLS.items():
        found = [(i, v) for i, s in enumerate(shown) if (v := getattr(s.row, name)) is not None]
        if found:
            figure.add_scatter(
                x=[v for _, v in found], y=[i for i, _ in found], mode="markers", name=name,
                marker={"color": GREY, "symbol": symbol, "size": 9, "line": {"color": GREY, "width": 2}},
                hovertemplate=f"{name} %{{x:.3f}}<extra></extra>",
            )  # fmt: skip
    figure.add_scatter(
        x=[s.row.value for s in shown], y=list(range(len(shown))), mode="markers", name="score, 95 % interval",
        marker={"color": EMERALD, "size": 10, "line": {"color": "rgba(0,0,0,.45)", "width": 1}},
        error_x=_bars([s.row for s in shown]), text=[plot_text(score_sentence(s.row), 200) for s in shown],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    names = [f"{plot_text(s.row.score, 30)}<br>{plot_text(s.scorer, 30)}" for s in shown]
    figure.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6],
                        zeroline=False, showgrid=False)  # fmt: skip
    figure.update_xaxes(zeroline=False)
    return styled(figure, height=40 + 44 * max(len(names), 1))


def histograms(values: Sequence[float], null: Sequence[float], chance: float | None = None) -> go.Figure:
    """The share of the explanations and of the draws of the null by score, with both means and what guessing gives."""
    figure = go.Figure()
    both = np.array([*values, *null])
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1e-3, _BINS + 1)
    for name, some, colour in (("draws of the null", null, GREY), ("explanations", values, EMERALD)):
        if len(some):
            share = np.histogram(np.array(some), bins=edges)[0] / len(some)
            figure.add_bar(
                x=(edges[:-1] + edges[1:]) / 2, y=share, width=np.diff(edges), name=f"{len(some):,} {name}",
                marker={"color": colour, "opacity": 0.6, "line": {"width": 0}},
                hovertemplate="%{x:.3f}: %{y:.1%}<extra></extra>",
            )  # fmt: skip
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_yaxes(title="share", tickformat=".0%")
    return _with_means(figure, values, null, chance)


def cumulative(values: Sequence[float], null: Sequence[float], chance: float | None = None) -> go.Figure:
    """The share of the explanations and of the draws of the null that are at most each score."""
    figure = go.Figure()
    for name, some, colour in (("draws of the null", null, GREY), ("explanations", values, EMERALD)):
        if len(some):
            x = np.sort(np.array(some))
            at = np.unique(np.linspace(0, len(x) - 1, min(len(x), 1_000)).astype(int))
            figure.add_scatter(
                x=x[at], y=(at + 1) / len(x), mode="lines", name=f"{len(some):,} {name}",
                line={"color": colour, "shape": "hv"}, hovertemplate="%{y:.1%} at most %{x:.3f}<extra></extra>",
            )  # fmt: skip
    figure.update_yaxes(title="share at most", tickformat=".0%", range=[0, 1.02])
    return _with_means(figure, values, null, chance)


def two_sets(found: Sequence[PolePair], name_a: str, name_b: str) -> go.Figure:
    """One point per pole with its score in both sets; above the diagonal the first is better."""
    some = _some(found)
    figure = go.Figure()
    figure.add_scattergl(
        x=[p.b for p in some], y=[p.a for p in some], mode="markers", name="poles",
        marker={"color": EMERALD, "size": 7, "opacity": 0.7, "line": {"width": 0}},
        customdata=[[p.at.layer, p.at.neuron] for p in some], text=[p.at.label for p in some],
        hovertemplate="%{text}: %{y:.3f} against %{x:.3f}<extra></extra>",
    )  # fmt: skip
    values = [v for p in found for v in (p.a, p.b)]
    ends = [min(values, default=0.0), max(values, default=1.0)]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": GREY, "width": 1, "dash": "dot"},
                       name="equal", hoverinfo="skip")  # fmt: skip
    figure.update_xaxes(title=plot_text(name_b, 44), zeroline=False)
    figure.update_yaxes(title=plot_text(name_a, 44), zeroline=False)
    return styled(figure, height=380)


def layers(found: Sequence[Summary], every: Sequence[PolePoint]) -> go.Figure:
    """The mean of each layer with its 95 % interval, its null, and the explanations as points."""
    figure = go.Figure()
    some = _some(every)
    spread = np.random.default_rng(0).uniform(-0.2, 0.2, len(some))
    figure.add_scattergl(
        x=[p.at.layer + s for p, s in zip(some, spread.tolist(), strict=True)], y=[p.value for p in some],
        mode="markers", name="explanations",
        marker={"color": EMERALD, "size": 6, "opacity": 0.45, "line": {"width": 0}},
        customdata=[[p.at.layer, p.at.neuron] for p in some], text=[p.at.label for p in some],
        hovertemplate="%{text}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    at = [int(s.group["layer"]) for s in found]
    nulls = [(layer, s) for layer, s in zip(at, found, strict=True) if s.null_best is not None]
    figure.add_scatter(
        x=[layer for layer, _ in nulls], y=[s.null_best for _, s in nulls], mode="markers", name="mean of the null",
        marker={"color": GREY, "symbol": "line-ew", "size": 18, "line": {"color": GREY, "width": 3}},
        hovertemplate="layer %{x}: null %{y:.3f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=at, y=[s.mean for s in found], mode="markers", name="mean, 95 % interval",
        marker={"color": BLUE, "size": 9},
        error_y={
            "type": "data", "symmetric": False, "color": BLUE, "thickness": 2,
            "array": [0.0 if s.high is None else s.high - (s.mean or 0.0) for s in found],
            "arrayminus": [0.0 if s.low is None else (s.mean or 0.0) - s.low for s in found],
        },
        text=[f"{s.n:,} poles" for s in found], hovertemplate="layer %{x}: mean %{y:.3f}, %{text}<extra></extra>",
    )  # fmt: skip
    ends = [min(at, default=0) - 0.7, max(at, default=0) + 0.7]
    figure.update_xaxes(title="layer", dtick=1 if len(at) <= 40 else None, zeroline=False, range=ends)
    figure.update_yaxes(title="score")
    return styled(figure, height=360, legend=True)


def chance_of(score: str) -> float | None:
    """What guessing gives; None where it is not known or depends on the neuron."""
    return _CHANCE.get(score.partition("/")[0])


def _with_means(figure: go.Figure, values: Sequence[float], null: Sequence[float], chance: float | None) -> go.Figure:
    for some, colour in ((null, GREY), (values, EMERALD)):
        if len(some):
            figure.add_vline(x=float(np.mean(some)), line={"color": colour, "width": 2, "dash": "dash"})
    if chance is not None:
        figure.add_vline(x=chance, line={"color": GREY, "width": 1, "dash": "dot"}, annotation_text="chance")
    figure.update_xaxes(title="score", zeroline=False)
    return styled(figure, height=300, legend=True)


def _some(found: Sequence[T]) -> Sequence[T]:
    """At most `MOST_POINTS`, at random but always the same."""
    if len(found) <= MOST_POINTS:
        return found
    chosen = np.sort(np.random.default_rng(0).permutation(len(found))[:MOST_POINTS])
    return [found[i] for i in chosen.tolist()]


def _bars(rows: Sequence[ScoreRow]) -> dict[str, object] | None:
    if all(r.ci_low is None or r.ci_high is None for r in rows):
        return None
    return {
        "type": "data", "symmetric": False, "color": EMERALD, "thickness": 2, "width": 5,
        "array": [0.0 if r.ci_high is None or r.value is None else r.ci_high - r.value for r in rows],
        "arrayminus": [0.0 if r.ci_low is None or r.value is None else r.value - r.ci_low for r in rows],
    }  # fmt: skip
