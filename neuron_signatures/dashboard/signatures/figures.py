"""Figures of signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from neuron_signatures.dashboard.signatures.data import Pole
from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, LINES, plot_text, signed_colours, styled
from neuron_signatures.views.scale import Limit

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_LABEL, _LABEL_SIZE, _PER_LETTER = 12, 11, 6.6
"""Maximum characters of a token at a bar, their font size and their width in pixels."""
_PLOT_HEIGHT = 340
_MOST_LABELLED = 40
_HATCHING = {"fillmode": "overlay", "fgcolor": "rgba(0,0,0,0.4)", "solidity": 0.2}
_GREEN_SCALE = [[0.0, "rgba(52,211,153,0.04)"], [1.0, "rgba(52,211,153,1)"]]


def class_bars(counts: Mapping[str, int], nulls: Mapping[str, Mapping[str, float | None]]) -> go.Figure:
    """Number of poles in each class, in the run and on average under each null, without unclassified ones."""
    shown = [name for name in counts if name != "unclassified"]
    names = [plot_text(name) for name in shown]
    figure = go.Figure(go.Bar(x=names, y=[counts[name] for name in shown], name="this run", marker={"color": EMERALD}))
    for (what, means), color in zip(nulls.items(), (GREY, LINES[2]), strict=False):
        figure.add_bar(x=names, y=[means.get(c) for c in shown], name=what, marker={"color": color})
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="poles of neurons")
    return styled(figure, height=260, legend=True)


def members_by_prompts(
    peaks: Float[np.ndarray, "member prompt"],
    members: Sequence[Pole],
    prompts: Sequence[str],
    tokens: Sequence[Sequence[str]],
    limit: Limit,
) -> go.Figure:
    """Heatmap of each member's peak on each prompt, on its pole; `tokens` (raw) are the peak tokens.

    `limit` is the full scale; a mark is on each cell beyond it.
    """
    y = [m.label for m in members]
    x = list(range(len(prompts)))
    top = limit.value or 1.0
    names = [f"{i} {plot_text(p, 40)}" for i, p in enumerate(prompts)]
    figure = go.Figure(
        go.Heatmap(
            z=np.clip(peaks, 0, None), x=x, y=y, zmin=0, zmax=top, colorscale=_GREEN_SCALE, xgap=1, ygap=1,
            text=[[f"{names[j]}<br>peak on {plot_text(t)}" for j, t in enumerate(row)] for row in tokens],
            hovertemplate="%{y}<br>%{text}<br>%{z:.4g}<extra></extra>", colorbar={"title": "peak", "thickness": 12},
        )
    )  # fmt: skip
    rows, columns = np.nonzero(np.nan_to_num(peaks) > top)
    figure.add_scatter(
        x=columns, y=[y[i] for i in rows], mode="markers", hoverinfo="skip",
        marker={"symbol": "diamond-open", "color": "black", "size": 7},
    )  # fmt: skip
    _prompt_axis(figure, prompts)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return styled(figure, height=170 + 22 * max(len(members), 3))


def probe_bars(
    high: Float[np.ndarray, " prompt"], high_at: Int[np.ndarray, " prompt"], low: Float[np.ndarray, " prompt"],
    low_at: Int[np.ndarray, " prompt"], prompts: Sequence[str], tokens: Sequence[Sequence[str]],
) -> go.Figure:  # fmt: skip
    """One neuron's largest and (hatched) smallest activation on each prompt, with their tokens (raw)."""
    x = list(range(len(prompts)))
    names = [f"{i} {plot_text(p, 40)}" for i, p in enumerate(prompts)]
    words = [[tokens[i][p] if p >= 0 else "" for i, p in enumerate(at)] for at in (high_at, low_at)]
    figure = go.Figure()
    for name, values, at, pattern in (("largest", high, words[0], ""), ("smallest", low, words[1], "/")):
        figure.add_bar(
            x=x, y=values, name=name,
            marker={"color": signed_colours(values), "pattern": {"shape": pattern, **_HATCHING}},
            hovertext=[f"{label}<br>on {plot_text(t)}" for label, t in zip(names, at, strict=True)],
            hovertemplate="%{hovertext}<br>%{fullData.name} act %{y:+.4g}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="overlay")
    _prompt_axis(figure, prompts)
    figure.update_yaxes(title="act")
    if len(prompts) <= _MOST_LABELLED:
        top, bottom = np.maximum(np.nan_to_num(high), 0), np.minimum(np.nan_to_num(low), 0)
        labels = _labels(top, words[0], above=True) + _labels(bottom, words[1], above=False)
        figure.update_layout(annotations=labels)
        figure.update_yaxes(range=_range_with_margin(float(bottom.min(initial=0)), float(top.max(initial=0))))
    return styled(figure, height=_PLOT_HEIGHT + 160)


def _prompt_axis(figure: go.Figure, prompts: Sequence[str]) -> None:
    """Numbers and names of the prompts; of many prompts, every second, third, ... is named."""
    step = max(1, -(-len(prompts) // _MOST_LABELLED))
    at = list(range(0, len(prompts), step))
    figure.update_xaxes(
        tickmode="array", tickvals=at, ticktext=[f"{i} {plot_text(prompts[i], 18)}" for i in at], tickangle=-55,
        tickfont={"size": _LABEL_SIZE}, showgrid=False, zeroline=False, range=[-0.5, len(prompts) - 0.5],
    )  # fmt: skip


def _labels(ends: Float[np.ndarray, " bar"], words: Sequence[str], *, above: bool) -> list[dict]:
    """Vertical annotations; texts of the bars themselves would overlap if both values have the same sign."""
    return [
        {"x": i, "y": float(end), "text": plot_text(word, _LABEL), "textangle": -90, "showarrow": False,
         "yanchor": "bottom" if above else "top", "yshift": 2 if above else -2, "font": {"size": _LABEL_SIZE}}
        for i, (end, word) in enumerate(zip(ends, words, strict=True)) if word
    ]  # fmt: skip


def _range_with_margin(bottom: float, top: float) -> list[float]:
    """An axis range with margins for the longest label above and below."""
    share = _LABEL * _PER_LETTER / _PLOT_HEIGHT
    margin = ((top - bottom) or 1.0) * share / (1 - 2 * share)
    return [bottom - margin, top + margin]
