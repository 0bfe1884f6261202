"""Effects of clusters beside those of random neurons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, plot_text, styled

if TYPE_CHECKING:
    import pandas as pd

MOST = 40
_SHEER = "rgba(148,163,184,.45)"


def effects(rows: pd.DataFrame) -> go.Figure:
    """The effect of each cluster with its 95 % interval, over mean ± 2 sd of random neurons; the largest at the top.

    `customdata` of a point is the number of the cluster.
    """
    some = rows[rows["effect"].notna()].sort_values("effect", ascending=False).head(MOST)
    names = [
        f"{c} {plot_text(str(n or ''), 24)}" for c, n in zip(some["cluster"], some["name"].fillna(""), strict=True)
    ]
    figure = go.Figure()
    figure.add_scatter(
        x=some["null_mean"], y=names, mode="markers", name="random neurons, ± 2 sd",
        marker={"symbol": "line-ns", "size": 12, "line": {"width": 2, "color": "rgb(148,163,184)"}},
        error_x={"type": "data", "symmetric": False, "color": _SHEER, "thickness": 7, "width": 0,
                 "array": (2 * some["null_sd"]).fillna(0.0),
                 "arrayminus": (2 * some["null_sd"]).clip(upper=some["null_mean"]).fillna(0.0)},
        hovertemplate="random neurons: %{x:.3g}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=some["effect"], y=names, mode="markers", name="the cluster, 95 % interval",
        marker={"size": 8, "color": EMERALD}, customdata=[[int(c), 0] for c in some["cluster"]],
        error_x={"type": "data", "symmetric": False, "color": EMERALD, "thickness": 1.5, "width": 3,
                 "array": (some["effect_high"] - some["effect"]).fillna(0.0),
                 "arrayminus": (some["effect"] - some["effect_low"]).fillna(0.0)},
        hovertemplate="%{y}: %{x:.3g} nats<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_xaxes(title="KL in nats, members set to their means", zeroline=False, rangemode="tozero")
    styled(figure, height=90 + 24 * max(2, len(some)), legend=True)
    return figure.update_xaxes(automargin=True)
