"""The scores of one explanation: a table with the null beside each value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, fold, p, problem, table
from neuron_signatures.reporting.predicted import predicted_windows
from neuron_signatures.reporting.score_words import (
    headline,
    in_order,
    meaning,
    plot_scale,
    score_name,
    scorer_name,
    undefined_words,
)
from neuron_signatures.reporting.svg import Null, interval_row
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.reader import ScoreRow
from neuron_signatures.views.interventions.sheets import cell_text, share_text

_BESIDE = ("shuffled", "empty", "text", "constant", "ceiling", "lookup")


def scores_of(run: ReportRun, at: NeuronPole, explanation: str) -> Html:
    """All scores of an explanation; the headline of each scorer is at once visible."""
    scores = run.scores.value
    if scores is None:
        return NOTHING
    read = attempt(lambda: (scores.of(*at), scores.sets))
    if read.value is None:
        return problem(read.problem)
    found, sets = read.value
    own = [r for r in found if r.explanation_id == explanation and r.split == "report"]
    if not own:
        return NOTHING
    heads = [headline(s) for s in sets]
    rows = in_order(own, heads)
    first = [r for r in rows if r.score in heads or not r.score]
    rest = [r for r in rows if r not in first]
    return join([
        score_table(run, first or rows), _failed(first),
        fold("all scores and controls", score_table(run, rest), _controls(rows), printed=False) if rest else None,
        predicted_windows(run, scores, rows, explanation),
    ])  # fmt: skip


def headline_of(run: ReportRun, at: NeuronPole, explanation: str) -> ScoreRow | None:
    """The first headline score of an explanation that is defined; None without one, or if scores are damaged."""
    scores = run.scores.value
    if scores is None:
        return None
    read = attempt(lambda: (scores.of(*at), [headline(s) for s in scores.sets]))
    found, heads = read.value or ([], [])
    own = [r for r in found if r.explanation_id == explanation and r.split == "report" and r.score in heads]
    return next((r for r in in_order(own, heads) if r.value is not None), None)


def score_table(run: ReportRun, rows: Sequence[ScoreRow]) -> Html:
    """Value, interval and null of each score."""
    columns = [
        Column("scorer", False), Column("score", False), Column("value"),
        Column("95 % interval", False, "Bootstrap over the documents of the part report."),
        Column("beside its null", False, "Grey: 5th to 95th percentile of the null; line: its mean."),
        Column("null mean", help="Mean score of explanations of other neurons of the layer, applied to this one."),
        Column("lift", help="Value minus the mean of the null."), Column("p"),
        Column("n", help="Positions or windows; in brackets those at which the neuron is active."),
    ]  # fmt: skip
    asked = any(r.coverage is not None for r in rows)
    columns += [Column("coverage", help="Share of the requests with a usable answer.")] if asked else []
    shown = [_row(run, r)[: len(columns)] for r in rows if r.score]
    return table(columns, shown, stacks=True) if shown else NOTHING


def _row(run: ReportRun, r: ScoreRow) -> list[str | Html]:
    value = number(r.value) if r.value is not None else undefined_words(r.undefined)
    draws = run.null_of(r)
    low, high = (float(q) for q in np.percentile(draws, [5, 95])) if draws else (None, None)
    null = Null(r.null_best, low, high)
    plot = interval_row(plot_scale(r.score), r.value, r.ci_low, r.ci_high, null,
                        label=f"{score_name(r.score)} {value}, null mean {number(r.null_best)}")  # fmt: skip
    n = f"{r.n:,}" + ("" if r.n_positive is None else f" ({r.n_positive:,})")
    return [
        scorer_name(r.scorer, r.scorer_model), el("span", score_name(r.score), title=meaning(r.score) or None),
        el("b", value) if r.value is not None else el("span", value, class_="small"), interval(r.ci_low, r.ci_high),
        plot, number(r.null_best), signed(r.lift), cell_text(r.null_p, "p"), n,
        "" if r.coverage is None else share_text(r.coverage),
    ]  # fmt: skip


def _failed(rows: Sequence[ScoreRow]) -> Html | None:
    """The scorers that gave no score, by status."""
    lines = [f"{scorer_name(r.scorer, r.scorer_model)}: {r.status.replace('_', ' ')}" for r in rows if not r.score]
    return p(f"Not scored: {'; '.join(lines)}.", class_="small") if lines else None


def _controls(rows: Sequence[ScoreRow]) -> Html | None:
    """The controls that have a column of their own."""
    names = [c for c in _BESIDE if any(getattr(r, c) is not None for r in rows)]
    if not names:
        return None
    columns = [Column("score", False), Column("value"), *(Column(c) for c in names)]
    shown = [
        [f"{scorer_name(r.scorer, None)}: {score_name(r.score)}", number(r.value),
         *(number(getattr(r, c)) for c in names)]
        for r in rows if r.score
    ]  # fmt: skip
    said = (
        "shuffled: the words in random order; empty: no words; text: the word “text”; constant: the same prediction "
        "everywhere; ceiling: the neuron's own activations, rounded as the simulator rounds; lookup: its look-up rule."
    )
    return join([el("h4", "Controls"), table(columns, shown, stacks=True), p(said, class_="small")])


def number(value: float | None) -> str:
    """With two or three digits."""
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.3f}"


def signed(value: float | None) -> str:
    return "" if value is None else ("+" if value >= 0 else "") + number(value)


def interval(low: float | None, high: float | None) -> Html:
    return NOTHING if low is None or high is None else el("span", f"{number(low)} to {number(high)}", class_="nb")
