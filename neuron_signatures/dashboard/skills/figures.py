"""Figures of skills: similarities, separation by layer, firing frequencies, probes, steering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, LINES, ORANGE, plot_text, styled
from neuron_signatures.views.skills.groups import SquareTable

if TYPE_CHECKING:
    import pandas as pd

_SHEER = "rgba(148,163,184,.25)"
_SCALE = [[0.0, "rgba(52,211,153,0.03)"], [1.0, "rgba(52,211,153,1)"]]
_MOST_NAMES = 40


def similarity_map(found: SquareTable, frame: pd.DataFrame) -> go.Figure:
    """Similarity of every two classes or skills; the diagonal, where it is of random halves, is marked with ½."""
    names = [plot_text(name or "(none)", 24) for name in found.names]
    hover = [[_cell(found, frame, i, j) for j in range(len(names))] for i in range(len(names))]
    values = found.values
    shown = [
        ["" if not np.isfinite(v) else f"{v:.2f}{' ½' if i == j and found.same[i] else ''}" for j, v in enumerate(row)]
        for i, row in enumerate(values)
    ]
    figure = go.Figure()
    figure.add_heatmap(
        z=[[None if not np.isfinite(v) else float(v) for v in row] for row in values], x=names, y=names,
        text=shown if len(names) <= 16 else None, texttemplate="%{text}" if len(names) <= 16 else None,
        customdata=hover, hovertemplate="%{customdata}<extra></extra>", colorscale=_SCALE,
        zmin=min(0.0, float(np.nanmin(values))) if np.isfinite(values).any() else 0.0, showscale=len(names) > 16,
        xgap=2, ygap=2,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, side="bottom")
    return styled(figure, height=min(160 + 44 * len(names), 900))


def _cell(found: SquareTable, frame: pd.DataFrame, i: int, j: int) -> str:
    """What the hover text of a cell says."""
    a, b = (plot_text(found.names[k] or "(none)", 30) for k in (i, j))
    row = found.rows[i, j]
    if row < 0:
        half = f"random halves of {a}: {found.values[i, j]:.3f}" if i == j and found.same[i] else "not compared"
        return half
    r = frame.iloc[int(row)]
    value = "undefined" if r["value"] != r["value"] else f"{r['value']:.3f}"
    lines = [f"{a} and {b}: {value}"]
    if r["low"] == r["low"]:
        lines.append(f"95 % interval {r['low']:.3f} to {r['high']:.3f}")
    if r["null_mean"] == r["null_mean"]:
        lines.append(
            f"labels permuted: {r['null_mean']:.3f} ± {r['null_sd']:.3f}, p {r['p']:.3g}, {r['n_null']:,.0f} draws"
        )
    if r["halves_mean"] == r["halves_mean"]:
        lines.append(f"random halves of one group: {r['halves_mean']:.3f}")
    lines.append(f"{r['n_a']:,.0f} and {r['n_b']:,.0f} texts, {r['n_units']:,.0f} units")
    return "<br>".join(lines)


def separation_lines(groups: Sequence[tuple[str, pd.DataFrame]]) -> go.Figure:
    """How much more alike halves of a class are than different classes, by layer: a line per source and site, with its
    95 % interval and the permuted labels below."""
    figure = go.Figure()
    for number, (name, rows) in enumerate(groups):
        some = rows.sort_values("layer")
        colour = LINES[number % len(LINES)]
        figure.add_scatter(
            x=some["layer"], y=some["null_mean"], mode="lines", line={"color": colour, "width": 1, "dash": "dot"},
            legendgroup=name, showlegend=False, hovertemplate="permuted labels %{y:.3f}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=some["layer"], y=some["difference"], mode="lines+markers", name=plot_text(name, 30),
            legendgroup=name, line={"color": colour, "width": 2}, marker={"size": 7},
            error_y={"type": "data", "symmetric": False, "color": colour, "thickness": 1, "width": 3,
                     "array": (some["high"] - some["difference"]).fillna(0.0),
                     "arrayminus": (some["difference"] - some["low"]).fillna(0.0)},
            customdata=some[["within", "between", "p"]],
            hovertemplate="layer %{x}: %{y:.3f}<br>within %{customdata[0]:.3f}, between %{customdata[1]:.3f}, "
                          "p %{customdata[2]:.3g}<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(title="layer", dtick=1 if all(len(r) <= 40 for _, r in groups) else None, zeroline=False)
    figure.update_yaxes(title="within less between", zeroline=False)
    return styled(figure, height=320, legend=True)


def frequency_lines(rows: pd.DataFrame) -> go.Figure:
    """How many units fire in which share of the texts of each class."""
    figure = go.Figure()
    for number, (name, some) in enumerate(rows.groupby("class", sort=True)):
        by_bin = some.groupby(["low", "high"], as_index=False)["n_units"].sum()
        total = max(int(by_bin["n_units"].sum()), 1)
        figure.add_scatter(
            x=(by_bin["low"] + by_bin["high"]) / 2, y=by_bin["n_units"] / total, mode="lines+markers",
            name=plot_text(str(name), 30), line={"color": LINES[number % len(LINES)], "shape": "hvh"},
            marker={"size": 4}, customdata=by_bin[["low", "high", "n_units"]],
            hovertemplate="%{customdata[0]:.0%} to %{customdata[1]:.0%} of the texts: %{customdata[2]:,} units"
                          "<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="share of the texts of the class in which a unit fires", tickformat=".0%", zeroline=False)
    figure.update_yaxes(
        title="share of units", tickformat=".1%", type="log", tickvals=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]
    )
    return styled(figure, height=300, legend=True)


def probe_lines(rows: pd.DataFrame) -> go.Figure:
    """Held-out accuracy of sparse probes by the number of units, with the control task and the best single unit."""
    figure = go.Figure()
    for number, (name, some) in enumerate(rows.groupby("class", sort=True)):
        path = some.sort_values("n_units")
        colour = LINES[number % len(LINES)]
        figure.add_scatter(
            x=path["n_units"], y=path["accuracy"], mode="lines+markers", name=plot_text(str(name), 30),
            legendgroup=str(number), line={"color": colour}, marker={"size": 6},
            customdata=path[["control_accuracy", "best_unit", "best_unit_accuracy"]].assign(
                best_unit=path["best_unit"].fillna("").map(lambda t: plot_text(str(t), 30))
            ),
            hovertemplate="%{x} units: %{y:.3f}<br>control task %{customdata[0]:.3f}<br>best single unit "
                          "%{customdata[1]} %{customdata[2]:.3f}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=path["n_units"], y=path["control_accuracy"], mode="lines", legendgroup=str(number), showlegend=False,
            line={"color": colour, "width": 1, "dash": "dot"}, hoverinfo="skip",
        )  # fmt: skip
    figure.update_xaxes(title="units of the probe", zeroline=False, type="log" if len(rows) else None)
    figure.update_yaxes(title="held-out accuracy", zeroline=False)
    return styled(figure, height=320, legend=True)


def dose_response(rows: pd.DataFrame) -> go.Figure:
    """Effect of a unit by dose, with its 95 % interval, on the middle 90 % of each kind of control."""
    figure = go.Figure()
    for role, colour in (("random", _SHEER), ("matched", "rgba(59,130,246,.18)")):
        some = rows[rows["role"] == role].sort_values("dose")
        if len(some):
            figure.add_scatter(
                x=[*some["dose"], *some["dose"][::-1]], y=[*some["control_high"], *some["control_low"][::-1]],
                fill="toself", fillcolor=colour, line={"width": 0}, name=f"{role} units, 5 to 95 %", hoverinfo="skip",
            )  # fmt: skip
    own = rows.drop_duplicates("dose").sort_values("dose")
    figure.add_scatter(
        x=own["dose"], y=own["effect"], mode="lines+markers", name="the unit", line={"color": EMERALD, "width": 2},
        marker={"size": 7},
        error_y={"type": "data", "symmetric": False, "color": EMERALD, "thickness": 1, "width": 3,
                 "array": (own["high"] - own["effect"]).fillna(0.0),
                 "arrayminus": (own["effect"] - own["low"]).fillna(0.0)},
        customdata=own[["kl", "perplexity_ratio"]],
        hovertemplate="dose %{x}: %{y:+.3f} nats per token<br>KL on neutral text %{customdata[0]:.3f}, "
                      "perplexity times %{customdata[1]:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": ORANGE, "width": 1, "dash": "dot"})
    figure.update_xaxes(title="dose", zeroline=False)
    figure.update_yaxes(title="change of log probability per token", zeroline=False)
    return styled(figure, height=320, legend=True)


def too_many(names: Sequence[str]) -> bool:
    """Whether a map of so many names cannot be read."""
    return len(names) > _MOST_NAMES
