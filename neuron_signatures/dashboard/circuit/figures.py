"""Figures of the view Circuit."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, ORANGE, styled
from neuron_signatures.views.circuit.checks import CurveRow


def curves_figure(curves: Sequence[CurveRow]) -> go.Figure:
    """What sets of the k strongest neurons keep, and what is left without them, over k; random sets with ± 1 std."""
    figure = go.Figure()
    k = [c.k for c in curves]
    for name, values, colour, symbol in (
        ("kept", [c.faithfulness for c in curves], EMERALD, "circle"),
        ("left without", [c.complement for c in curves], ORANGE, "x"),
    ):
        figure.add_scatter(x=k, y=values, name=name, mode="lines+markers", line={"color": colour},
                           marker={"symbol": symbol, "size": 8})  # fmt: skip
    for name, means, spreads, dash in (
        ("random, kept", [c.random_mean for c in curves], [c.random_sd for c in curves], "dot"),
        ("random, left", [c.complement_random_mean for c in curves], [c.complement_random_sd for c in curves], "dash"),
    ):
        if any(m is not None for m in means):
            bars = {"type": "data", "array": [s or 0.0 for s in spreads], "thickness": 1}
            figure.add_scatter(x=k, y=means, error_y=bars, name=name, mode="lines+markers",
                               line={"color": GREY, "dash": dash})  # fmt: skip
    figure.update_xaxes(type="log", title="k, neurons at positions", tickvals=k, ticktext=[f"{n:,}" for n in k])
    figure.update_yaxes(title="share of the target")
    return styled(figure, height=300, legend=True)
