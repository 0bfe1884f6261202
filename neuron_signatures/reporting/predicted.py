"""Windows with the true activations of a neuron over those that a simulator predicted from an explanation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.reporting.heat import strip
from neuron_signatures.reporting.html import Html, el, join
from neuron_signatures.reporting.opened import Part, ReportRun, attempt, is_of
from neuron_signatures.reporting.parts import p, problem
from neuron_signatures.reporting.score_words import scorer_name
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Pick, Window, text_window
from neuron_signatures.runs.scores.line import ScoreLine, StoredWindow
from neuron_signatures.runs.scores.names import SIMULATORS
from neuron_signatures.runs.scores.reader import ScoreRow, Scores

_AROUND = 16
"""Tokens before and after the place that a window is about."""


def predicted_windows(run: ReportRun, scores: Scores, rows: Sequence[ScoreRow], explanation: str) -> Html | None:
    """Windows with the true and the predicted activations, by the first simulator that stored some."""
    records = run.records.value
    if records is None or not run.detail.predicted:
        return None
    simulated = [r for r in rows if r.scorer in SIMULATORS]
    for r in simulated:
        read = _own_line(scores, r, explanation)
        if read.problem:
            return problem(read.problem)
        line = read.value
        if line is not None and any(w.values for w in line.windows):
            return _windows(run, records, line, scorer_name(r.scorer, r.scorer_model))
    return None


def _own_line(scores: Scores, r: ScoreRow, explanation: str) -> Part[ScoreLine | None]:
    names = [s.name for s in scores.sets if is_of(s, r)]
    return attempt(lambda: scores.own_line(names[0], explanation) if names else None)


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
    colours = (
        "Full colour of each line: its largest value in all windows of this neuron that were scored, so the colours "
        "compare where, and not how strongly, the neuron is active."
    )
    title = el("h4", f"True and simulated activations, by {simulator}")
    return join([title, p(colours, class_="small"), *shown])


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
    worst = max(rest, key=lambda pair: _off(pair[0], pair[1], sign, largest, top), default=None)
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
