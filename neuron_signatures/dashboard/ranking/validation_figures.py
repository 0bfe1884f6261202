"""Figures of a validation: agreement with single ablations, CMD, curves, and score against effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, LINES, plot_text, styled
from neuron_signatures.runs.result_records import MetricValidation
from neuron_signatures.views.lists.effects import SampledEffects

MOST_POINTS = 5_000
_LARGEST = 20.0  # diameter of a point


def agreement(metrics: Sequence[MetricValidation]) -> go.Figure:
    """Pearson and Spearman of each metric, with their 95 % intervals where there are any; the first metric on top."""
    figure = go.Figure()
    names = [plot_text(m.metric, 24) for m in metrics]
    for what, colour, shift in (("spearman", EMERALD, -0.13), ("pearson", LINES[2], 0.13)):
        values, lows, highs = ([getattr(m, what + end) for m in metrics] for end in ("", "_low", "_high"))
        figure.add_scatter(
            x=values, y=[i + shift for i in range(len(metrics))], mode="markers", name=what,
            marker={"color": colour, "size": 8}, error_x=_bars(values, lows, highs, colour),
            text=[f"{n}: {what} {v:.3f}{_interval(a, b)}" if v is not None else "" for n, v, a, b in
                  zip(names, values, lows, highs, strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="correlation with the effects")
    return _by_metric(figure, names)


def cmd_by_metric(metrics: Sequence[MetricValidation]) -> go.Figure | None:
    """CMD of each metric, and with every reference from resampled prompts; None if no metric has a CMD."""
    scored = [m for m in metrics if m.cmd is not None]
    if not scored:
        return None
    names = [plot_text(m.metric, 24) for m in scored]
    figure = go.Figure()
    draws = [(i, x) for i, m in enumerate(scored) for x in m.cmd_draws if x is not None]
    if draws:
        figure.add_scatter(
            x=[x for _, x in draws], y=[i for i, _ in draws], mode="markers", name="references from resampled prompts",
            marker={"color": GREY, "symbol": "line-ns", "size": 14, "line": {"color": GREY, "width": 1.5}},
            hovertemplate="CMD %{x:.4f} with a reference from resampled prompts<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[m.cmd for m in scored], y=list(range(len(scored))), mode="markers", name="CMD",
        marker={"color": EMERALD, "size": 9},
        text=[f"{n}: CMD {m.cmd:.4f}" + ("" if m.cmd_spread is None else f", spread {m.cmd_spread:.4f}")
              for n, m in zip(names, scored, strict=True)],
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="CMD (0 is best)", rangemode="tozero")
    return _by_metric(figure, names)


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


def score_against_effect(effects: SampledEffects, metric: str) -> go.Figure:
    """The sampled pairs, at most `MOST_POINTS` with the largest |effect|; a larger point stands for more pairs."""
    order = np.argsort(-np.abs(effects.effect), kind="stable")[:MOST_POINTS]
    weight = np.maximum(effects.weight[order], 1.0)
    figure = go.Figure()
    for name, rows, colour in (
        ("stands for itself", weight == 1.0, EMERALD),
        ("stands for several", weight > 1.0, LINES[2]),
    ):
        some, size = order[rows], np.clip(5.0 + 6.0 * np.log10(weight[rows]), 5.0, _LARGEST)
        figure.add_scattergl(
            x=effects.effect[some], y=effects.scores[metric][some], mode="markers", name=name,
            marker={"size": size, "color": colour, "opacity": 0.6, "line": {"width": 0}},
            customdata=np.stack([effects.layer[some], effects.neuron[some]], axis=1),
            text=[f"position {p}<br>{_stands(w)}" for p, w in zip(effects.pos[some], weight[rows], strict=True)],
            hovertemplate="L%{customdata[0]}N%{customdata[1]} at %{text}<br>score %{y:.4g}, effect %{x:.4g}"
                          "<extra></extra>",
        )  # fmt: skip
    ends = [float(np.min(effects.effect, initial=0.0)), float(np.max(effects.effect, initial=0.0))]
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, name="score = effect", hoverinfo="skip")
    figure.update_xaxes(title="effect of the ablation")
    figure.update_yaxes(title=f"score by {plot_text(metric, 24)}")
    return styled(figure, height=400, legend=True)


def _stands(weight: float) -> str:
    return "measured with certainty" if weight == 1.0 else f"stands for {weight:.3g} pairs"


def _by_metric(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5], zeroline=False
    )
    return styled(figure, height=110 + 34 * max(len(names), 2), legend=True)


def _bars(
    values: Sequence[float | None], lows: Sequence[float | None], highs: Sequence[float | None], colour: str
) -> dict[str, object] | None:
    """Error bars from `low` to `high`; None if there are none."""
    if all(x is None for x in (*lows, *highs)):
        return None
    ends = list(zip(values, lows, highs, strict=True))
    return {
        "type": "data", "symmetric": False, "color": colour, "thickness": 2, "width": 5,
        "array": [0.0 if v is None or high is None else high - v for v, _, high in ends],
        "arrayminus": [0.0 if v is None or low is None else v - low for v, low, _ in ends],
    }  # fmt: skip


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f", 95 % interval {low:.3f} to {high:.3f}"
