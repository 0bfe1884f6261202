"""Figures of interventions: the curve of a swap, shares of pairs, and dose and response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import plotly.graph_objects as go

from neuron_signatures.dashboard.widgets.figure_style import EMERALD, GREY, LINES, plot_text, styled
from neuron_signatures.runs.intervention_records import Dose, ShareRow, SteerRecord, SwapPair
from neuron_signatures.views.interventions.doses import dose_name, is_broken, unsteered
from neuron_signatures.views.interventions.labels import difference_name
from neuron_signatures.views.interventions.swaps import curve_points

Response = Literal["difference", "log probability", "probability"]
RESPONSES: tuple[Response, ...] = ("difference", "log probability", "probability")
_HEIGHT = 340
_LIGHT = {EMERALD: "rgba(52,211,153,0.18)", GREY: "rgba(148,163,184,0.25)"}
_DOTTED = {"color": GREY, "width": 1, "dash": "dot"}


class _Point(NamedTuple):
    x: float
    y: float
    low: float
    high: float


def swap_curve(pair: SwapPair) -> go.Figure:
    """The logit difference against the number of cells, with the prediction and the band of random cells."""
    points, start = curve_points(pair), pair.difference_before
    figure = go.Figure()
    figure.add_hline(y=0, line=_DOTTED)
    ks = [p.k for p in points]
    figure.add_scatter(
        x=ks, y=[p.difference for p in points], mode="lines+markers", name="actual", line={"color": EMERALD},
        marker={"size": 6}, text=[f"rank {p.source_rank} and {p.destination_rank}" for p in points],
        hovertemplate="%{x} cells: %{y:.3f}<br>source's and destination's answer: %{text}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=ks, y=[start + p.predicted for p in points], mode="lines", name="predicted",
        line={"color": LINES[2], "dash": "dash"}, hovertemplate="predicted %{y:.3f}<extra></extra>",
    )  # fmt: skip
    band = [_Point(b.k, start + b.mean, start + b.low, start + b.high) for b in pair.band]
    if band:
        band = band if band[0].x == 0 else [_Point(0, start, start, start), *band]
        _add_band(figure, band, GREY, "random cells, 5 to 95 %", dash="dot")
    figure.update_yaxes(title="logit difference, source - destination")
    return _over_k(figure, pair.smallest_k)


def answer_curve(pair: SwapPair) -> go.Figure:
    """The probabilities of both answers against the number of cells."""
    points = curve_points(pair)
    figure = go.Figure()
    for whose, answer, colour in (
        ("source", pair.source.answer, EMERALD),
        ("destination", pair.destination.answer, LINES[1]),
    ):
        figure.add_scatter(
            x=[p.k for p in points], y=[getattr(p, f"{whose}_probability") for p in points], mode="lines+markers",
            name=f"{plot_text(answer or '?', 24)} ({whose})", line={"color": colour}, marker={"size": 6},
            text=[f"rank {getattr(p, f'{whose}_rank')}" for p in points],
            hovertemplate="%{x} cells: %{y:.2%}, %{text}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    figure.update_yaxes(title="probability", rangemode="tozero", tickformat=".0%")
    return _over_k(figure, pair.smallest_k)


def share_curve(lists: Sequence[tuple[str, Sequence[ShareRow]]]) -> go.Figure:
    """Share of pairs flipped by the first k cells; the first list has its 95 % interval as a band."""
    figure = go.Figure()
    colours = (EMERALD, LINES[1], GREY)
    for i, (name, rows) in enumerate(lists):
        points = [_Point(r.k, r.share, r.low, r.high) for r in rows]
        if i == 0:
            _add_band(figure, points, EMERALD, name)
            continue
        figure.add_scatter(
            x=[p.x for p in points], y=[p.y for p in points], mode="lines+markers", name=name, marker={"size": 6},
            line={"color": colours[i % len(colours)], "dash": "dot"},
            hovertemplate="%{x} cells: %{y:.1%}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    figure.update_yaxes(title="pairs flipped", range=[-0.03, 1.03], tickformat=".0%")
    return _over_k(figure, None)


def dose_response(record: SteerRecord, what: Response) -> go.Figure:
    """The response against the amount; random edits of the same norm as bars, for the difference only."""
    figure = go.Figure()
    start = unsteered(record)
    if start is not None:
        figure.add_hline(y=_response(start, what), line=_DOTTED)
    if what == "difference" and start is not None:
        _add_nulls(figure, record.doses, start.prediction.difference)
    figure.add_scatter(
        x=[d.alpha for d in record.doses], y=[_response(d, what) for d in record.doses], mode="lines+markers",
        name="steered", line={"color": EMERALD},
        marker={"size": 8, "symbol": ["x" if is_broken(record, d) else "circle" for d in record.doses]},
        text=[_dose_text(record, d) for d in record.doses],
        hovertemplate="%{text}<br>%{y:.4g}<extra></extra>",
    )  # fmt: skip
    for alpha, words in _marks(record):
        figure.add_vline(x=alpha, line=_DOTTED, annotation={"text": words, "font": {"size": 11}})
    figure.update_xaxes(title="alpha")
    name = f"{difference_name(record.target)}" if what == "difference" else f"{what} of the target"
    figure.update_yaxes(title=name, tickformat=".0%" if what == "probability" else None)
    return styled(figure, height=_HEIGHT, legend=True)


def _add_nulls(figure: go.Figure, doses: Sequence[Dose], start: float) -> None:
    found = [(d.alpha, d.null) for d in doses if d.null is not None and d.null.mean is not None]
    if not found:
        return
    mean = [start + (n.mean or 0.0) for _, n in found]
    figure.add_scatter(
        x=[alpha for alpha, _ in found], y=mean, mode="markers", name="random edits of the same norm, 5 to 95 %",
        marker={"color": GREY, "symbol": "diamond", "size": 7},
        error_y={
            "type": "data", "symmetric": False, "color": GREY,
            "array": [0.0 if n.high is None else n.high + start - m for (_, n), m in zip(found, mean, strict=True)],
            "arrayminus": [0.0 if n.low is None else m - n.low - start for (_, n), m in zip(found, mean, strict=True)],
        },
        text=[f"{n.n:,} {plot_text(n.what)}" for _, n in found],
        hovertemplate="%{text}<br>mean %{y:.3f}<extra></extra>",
    )  # fmt: skip


def _add_band(figure: go.Figure, points: Sequence[_Point], colour: str, name: str, *, dash: str = "solid") -> None:
    """A line with the area between `low` and `high`."""
    x = [p.x for p in points]
    figure.add_scatter(
        x=[*x, *reversed(x)], y=[*(p.high for p in points), *(p.low for p in reversed(points))], fill="toself",
        fillcolor=_LIGHT[colour], line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=[p.y for p in points], mode="lines+markers", marker={"size": 4}, name=name,
        line={"color": colour, "dash": dash},
        customdata=[[p.low, p.high] for p in points],
        hovertemplate="%{x}: %{y:.3g} [%{customdata[0]:.3g}, %{customdata[1]:.3g}]<extra></extra>",
    )  # fmt: skip


def _over_k(figure: go.Figure, smallest_k: int | None) -> go.Figure:
    if smallest_k is not None:
        figure.add_vline(x=smallest_k, line=_DOTTED, annotation={"text": f"flips at {smallest_k}"})
    figure.update_xaxes(title="cells set", rangemode="tozero")
    return styled(figure, height=_HEIGHT, legend=True)


def _response(dose: Dose, what: Response) -> float:
    p = dose.prediction
    return {"difference": p.difference, "log probability": p.logprob, "probability": p.probability}[what]


def _dose_text(record: SteerRecord, dose: Dose) -> str:
    words = f"alpha {dose_name(dose.alpha)}, rank {dose.prediction.rank}"
    return f"{words}<br>the text breaks" if is_broken(record, dose) else words


def _marks(record: SteerRecord) -> list[tuple[float, str]]:
    marks: dict[float, list[str]] = {}
    ends = ((record.turns_at, "turns"), (record.breaks_below, "breaks"), (record.breaks_above, "breaks"))
    for alpha, word in ends:
        if alpha is not None:
            marks.setdefault(alpha, []).append(word)
    return [(alpha, ", ".join(words)) for alpha, words in marks.items()]
