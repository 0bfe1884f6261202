"""What is stored of a score."""

from __future__ import annotations

import math
from typing import Any

from neuron_signatures.runs.explanations.entry import MAX_NAME
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.line import ScoreLine, ScoreValue, StoredMistake, StoredWindow
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.scoring.mistakes import Mistake
from neuron_signatures.scoring.scorer import Measured, PredictedWindow, Scored
from neuron_signatures.scoring.stage.plan import Planned
from neuron_signatures.scoring.stage.set_texts import Failed

_DIGITS = 4
"""Significant ones of a stored prediction."""
_REASON = 500


def line_of(planned: Planned, scored: Scored, *, prompt_version: str | None) -> ScoreLine:
    """The line of an item. Windows, mistakes and examples are stored of own explanations only."""
    own = planned.control == "own"
    return ScoreLine(
        explanation=planned.line.id, **_place(planned.at), control=planned.control,
        other="" if planned.other is None else planned.other.label, status=scored.status,
        reason=scored.reason[:_REASON], scores=_values(scored), requests=list(scored.statuses),
        windows=[_window(w) for w in scored.windows] if own else [], mistakes=_mistakes(scored) if own else [],
        examples=[strict(e) for e in scored.examples] if own else [], prompt_version=prompt_version,
        answered_by=None if scored.answered_by is None else scored.answered_by[:MAX_NAME],
        prompt_tokens=scored.prompt_tokens, completion_tokens=scored.completion_tokens, cost=scored.cost,
        seconds=round(scored.seconds, 4), created_at_utc=now_utc(),
    )  # fmt: skip


def failed_line(at: NeuronPole, failed: Failed) -> ScoreLine:
    """Of an explanation that there is none to score of: its request failed."""
    return ScoreLine(
        explanation=failed.id, **_place(at), control="own", status=failed.status, scores={},
        reason=f"no explanation: {failed.reason}"[:_REASON], created_at_utc=now_utc(),
    )  # fmt: skip


def _place(at: NeuronPole) -> dict[str, Any]:
    return {"layer": at.layer, "neuron": at.neuron, "pole": at.pole}


def _values(scored: Scored) -> dict[str, ScoreValue]:
    if scored.status != "ok":
        return {}
    return {name: _value(measured) for name, measured in scored.measures.items()}


def _value(m: Measured) -> ScoreValue:
    assert m.value is None or math.isfinite(m.value), "an undefined score is None"
    return ScoreValue(
        value=m.value, ci_low=m.low, ci_high=m.high, n=m.n, n_positive=m.n_positive, undefined=m.undefined
    )  # fmt: skip


def _window(w: PredictedWindow) -> StoredWindow:
    return StoredWindow(
        window=w.text.window, sample=w.group, status=w.status, reason=w.reason[:_REASON], first=w.text.first,
        values=None if w.values is None else [_rounded(float(v)) for v in w.values],
    )  # fmt: skip


def _mistakes(scored: Scored) -> list[StoredMistake]:
    found = scored.mistakes
    return [] if found is None else [_mistake(m) for m in (*found.false_positives, *found.false_negatives)]


def _mistake(m: Mistake) -> StoredMistake:
    return StoredMistake(
        window=m.text.window, pos=m.pos + m.text.first, predicted=_rounded(m.predicted), actual=_rounded(m.actual)
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
