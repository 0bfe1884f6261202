"""How an edit compares with control edits: its effect against theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from neuron_signatures.analysis.validation.controls import ENOUGH
from neuron_signatures.interventions.copies import Predictions
from neuron_signatures.runs.intervention_records import Null

_ROUNDING = 1e-5
"""Effects that differ by less, in logits or nats, count as equal."""


@dataclass(frozen=True)
class Outcome:
    """The effect of one control edit on the target function, and whether the target became the most likely token, or
    stopped being it."""

    effect: float
    flipped: bool


def outcomes(passes: Iterable[tuple[Predictions, Predictions]], target: int) -> Iterator[Outcome]:
    """One per edited copy of the passes (`Copies.run`); `target` is the id of the token whose place counts."""
    for clean, edited in passes:
        before = int(clean.top_id[0]) == target
        effects = (edited.value - clean.value).tolist()
        for effect, top in zip(effects, edited.top_id.tolist(), strict=True):
            yield Outcome(effect, (top == target) != before)


def null(what: str, observed: float, found: Iterable[Outcome], *, n: int, two_sided: bool, sequential: bool) -> Null:
    """`observed` against at most `n` control edits.

    `two_sided` compares absolute effects. p is (1 + exceeded) / (1 + n); a `sequential` null stops once 10 control
    edits do as well, with p = 10 / drawn (Besag and Clifford 1991).
    """
    values: list[float] = []
    n_flipped = exceeded = 0
    size = abs(observed) if two_sided else observed
    for outcome in found:
        values.append(outcome.effect)
        n_flipped += outcome.flipped
        exceeded += (abs(outcome.effect) if two_sided else outcome.effect) >= size - _ROUNDING
        if len(values) == n or (sequential and exceeded == ENOUGH):
            break
    drawn = len(values)
    if not drawn:
        return Null(what=what, n=0, mean=None, std=None, low=None, high=None, most=None, exceeded=0, p=None)
    mean, std = float(np.mean(values)), float(np.std(values))
    low, high = np.percentile(values, [5, 95])
    return Null(
        what=what,
        n=drawn,
        mean=mean,
        std=std,
        low=float(low),
        high=float(high),
        most=max(values, key=abs) if two_sided else max(values),
        exceeded=int(exceeded),
        p=ENOUGH / drawn if sequential and exceeded == ENOUGH else (1 + exceeded) / (1 + drawn),
        z=(observed - mean) / std if std > _ROUNDING else None,
        n_flipped=n_flipped,
    )
