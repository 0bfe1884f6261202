"""Where an explanation predicts worst: material for its revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neuron_signatures.scoring.predictions import check
from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.texts import Text


class Mistake(NamedTuple):
    """A position of a text. `predicted` is a share of the largest prediction, `actual` of the largest activation."""

    text: Text
    pos: int
    predicted: float
    actual: float


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The worst ones first, at most one of each kind per text."""

    false_positives: tuple[Mistake, ...]
    """Not active, and predicted the most."""
    false_negatives: tuple[Mistake, ...]
    """Active, and predicted the least."""


def find_mistakes(simulator: Simulator, said: Said, texts: Sequence[Text], *, threshold: float, n: int) -> Mistakes:
    """`mistakes_in` what the simulator predicts. There are none of either kind if it cannot predict."""
    values = simulator.simulate(said, texts) or []
    low, high = simulator.lowest, simulator.highest
    valid = [
        (text, found)
        for text, found in zip(texts, values, strict=False)
        if check(found, text, lowest=low, highest=high) is None
    ]
    return mistakes_in([text for text, _ in valid], [found for _, found in valid], threshold=threshold, n=n)


def mistakes_in(texts: Sequence[Text], values: Sequence[np.ndarray], *, threshold: float, n: int) -> Mistakes:
    """At most `n` of each kind, in texts with a valid prediction each.

    A position is active from `threshold`, and not active below half of it; between the two it is neither. Predictions
    are compared with each other only, since each simulator has its own scale: a false positive is predicted above the
    mean of all positions, a false negative not above it. Ties go to the more extreme activation, then to the earlier
    text and position.
    """
    if not texts:
        return Mistakes((), ())
    acts, predicted, counts = (
        np.concatenate(parts)
        for parts in ([t.acts for t in texts], [v.astype(np.float64) for v in values], [t.counts for t in texts])
    )
    mean, most = float(predicted[counts].mean()), float(predicted[counts].max())
    largest = float(acts[counts].max())
    starts = np.cumsum([0, *(len(text.acts) for text in texts)])
    silent = counts & (acts < threshold / 2) & (predicted > mean)
    active = counts & (acts >= threshold) & (predicted <= mean)

    def worst(where: np.ndarray, sign: int) -> tuple[Mistake, ...]:
        of_texts = np.flatnonzero(np.logical_or.reduceat(where, starts[:-1])).tolist()
        slices = [(texts[i], slice(starts[i], starts[i + 1])) for i in of_texts]
        found = [_worst(text, predicted[s], where[s], largest, most, sign=sign) for text, s in slices]
        return _first(found, n, sign=sign)

    return Mistakes(worst(silent, 1), worst(active, -1))


def _worst(text: Text, predicted: np.ndarray, where: np.ndarray, largest: float, most: float, *, sign: int) -> Mistake:
    """The worst position of a text, of which there is one."""
    places = np.flatnonzero(where)
    order = np.lexsort((places, sign * text.acts[places], -sign * predicted[places]))
    pos = int(places[order[0]])
    actual = max(0.0, float(text.acts[pos]) / largest) if largest > 0 else 0.0
    return Mistake(text, pos, max(0.0, float(predicted[pos]) / most) if most > 0 else 0.0, actual)


def _first(mistakes: list[Mistake], n: int, *, sign: int) -> tuple[Mistake, ...]:
    ordered = sorted(mistakes, key=lambda m: (-sign * m.predicted, sign * m.actual, m.text.window, m.pos))
    return tuple(ordered[:n])
