"""The scores of one explanation: a table with the null beside each value, and windows with what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.reporting.heat import strip
from neuron_signatures.reporting.html import NOTHING, Html, el, join
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import Column, fold, p, problem, table
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
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Pick, Window, text_window
from neuron_signatures.runs.scores.line import ScoreLine, StoredWindow
from neuron_signatures.runs.scores.names import SIMULATORS
from neuron_signatures.runs.scores.reader import ScoreRow, Scores
from neuron_signatures.views.interventions.sheets import cell_text, share_text

_BESIDE = ("shuffled", "empty", "text", "constant", "ceiling", "lookup")
_AROUND = 16
"""Tokens before and after the place that a predicted window is about."""


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
        fold("all scores and controls", score_table(run, rest), _controls(rows)) if rest else None,
        _predicted(run, scores, rows, explanation),
    ])  # fmt: skip


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
    return table(columns, shown) if shown else NOTHING


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
    return join([el("h4", "Controls"), table(columns, shown), p(said, class_="small")])


def _predicted(run: ReportRun, scores: Scores, rows: Sequence[ScoreRow], explanation: str) -> Html | None:
    """Windows with the true and the predicted activations, by the first simulator that stored some."""
    records = run.records.value
    if records is None or not run.detail.predicted:
        return None
    simulated = [r for r in rows if r.scorer in SIMULATORS]
    for r in simulated:
        name = next((s.name for s in scores.sets if (s.set, s.scorer, s.scorer_model, s.split) ==
                     (r.set, r.scorer, r.scorer_model, r.split)), None)  # fmt: skip
        read = attempt(lambda n=name: scores.own_line(n, explanation) if n else None)
        if read.problem:
            return problem(read.problem)
        line = read.value
        if line is not None and any(w.values for w in line.windows):
            return _windows(run, records, line, scorer_name(r.scorer, r.scorer_model))
    return None


def _windows(run: ReportRun, records: Records, line: ScoreLine, simulator: str) -> Html | None:
    read = attempt(lambda: _true_windows(records, line))
    if read.value is None:
        return problem(read.problem)
    sign = 1.0 if line.pole == "+" else -1.0
    pairs = [(s, w) for s in line.windows if s.values and (w := read.value.get(s.window)) is not None]
    chosen = _chosen(pairs, sign)[: run.detail.predicted]
    if not chosen:
        return None
    largest = max((float(np.max(sign * w.acts)) for _, w in pairs if w.acts is not None), default=0.0)
    top = max((max((v for v in s.values or [] if v is not None), default=0.0) for s, _ in pairs), default=0.0)
    shown = [_pair(s, w, sign, largest, top, why) for s, w, why in chosen]
    return join(
        [el("h4", f"True and simulated activations, by {simulator}; each coloured by its own largest value"), *shown]
    )


def _true_windows(records: Records, line: ScoreLine) -> dict[int, Window]:
    """The windows whose activations are stored, by number."""
    at = (line.layer, line.neuron)
    found = {w.window: w for w in records.strongest(*at, line.pole, parts=("report", "select"))
             if w.acts is not None}  # fmt: skip
    if records.sampled(*at):
        sample = records.sample(*at)
        place = {int(w): i for i, w in enumerate(sample.windows)}
        for s in line.windows:
            if s.window in place and s.window not in found:
                pick = Pick(s.window, acts=sample.acts_of(place[s.window]))
                found[s.window] = text_window(records.corpus, pick)
    return found


def _chosen(pairs: Sequence[tuple[StoredWindow, Window]], sign: float) -> list[tuple[StoredWindow, Window, str]]:
    """The window with the largest activation, and the one where the prediction is farthest off."""
    if not pairs:
        return []

    def true(pair: tuple[StoredWindow, Window]) -> float:
        return float(np.max(sign * _acts(pair[1])))

    best = max(pairs, key=true)
    largest = true(best) or 1.0
    top = max((max((v for v in s.values or [] if v is not None), default=0.0) for s, _ in pairs), default=0.0) or 1.0
    rest = [pair for pair in pairs if pair[0].window != best[0].window]
    worst = max(rest, key=lambda pair: _off(*pair, sign, largest, top), default=None)
    found = [(*best, "its largest activation among the scored windows")]
    return found if worst is None else [*found, (*worst, "where the prediction is farthest off")]


def _acts(window: Window) -> np.ndarray:
    return np.zeros(1) if window.acts is None else np.nan_to_num(window.acts.astype(np.float64))


def _predictions(stored: StoredWindow, window: Window) -> list[float | None]:
    """One value per token of the window; None where nothing was predicted."""
    values: list[float | None] = [None] * len(window.tokens)
    for i, v in enumerate(stored.values or [], start=stored.first):
        if i < len(values):
            values[i] = v
    return values


def _off(stored: StoredWindow, window: Window, sign: float, largest: float, top: float) -> float:
    acts, predicted = _acts(window), _predictions(stored, window)
    return max((abs((v or 0.0) / top - max(sign * float(a), 0.0) / largest)
                for a, v in zip(acts, predicted, strict=True) if v is not None), default=0.0)  # fmt: skip


def _pair(stored: StoredWindow, window: Window, sign: float, largest: float, top: float, why: str) -> Html:
    """The true heat over the simulated one, around the place that tells most."""
    acts, predicted = sign * _acts(window), _predictions(stored, window)
    gaps = [abs((v or 0.0) / (top or 1.0) - max(float(a), 0.0) / (largest or 1.0)) if v is not None else 0.0
            for a, v in zip(acts, predicted, strict=True)]  # fmt: skip
    centre = int(np.argmax(acts)) if why.startswith("its") else int(np.argmax(gaps))
    start, stop = max(centre - _AROUND, 0), centre + _AROUND + 1
    tokens = window.tokens[start:stop]
    shown = [float(sign * a) for a in acts[start:stop]]
    said = [None if v is None else sign * v for v in predicted[start:stop]]
    rows = [("true", strip(tokens, shown, largest)), ("simulated", strip(tokens, said, top))]
    body = join(join([el("div", label, class_="small"), heat]) for label, heat in rows)
    return el(
        "div",
        p(f"{why[:1].upper()}{why[1:]} (a window of the part {window.part})", class_="small"),
        el("div", body, class_="pair"),
    )


def number(value: float | None) -> str:
    """With two or three digits."""
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.3f}"


def signed(value: float | None) -> str:
    return "" if value is None else ("+" if value >= 0 else "") + number(value)


def interval(low: float | None, high: float | None) -> Html:
    return NOTHING if low is None or high is None else el("span", f"{number(low)} to {number(high)}", class_="nb")
