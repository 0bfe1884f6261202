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
    valid = [(text, found.astype(np.float64)) for text, found in zip(texts, values, strict=True)]
    counted = np.concatenate([v[t.counts] for t, v in valid])
    mean, most = float(counted.mean()), float(counted.max())
    largest = max(text.peak for text, _ in valid)
    false_positives, false_negatives = [], []
    for text, predicted in valid:
        silent = text.counts & (text.acts < threshold / 2) & (predicted > mean)
        false_positives += _worst(text, predicted, silent, largest, most, sign=1)
        active = text.counts & (text.acts >= threshold) & (predicted <= mean)
        false_negatives += _worst(text, predicted, active, largest, most, sign=-1)
    return Mistakes(_first(false_positives, n, sign=1), _first(false_negatives, n, sign=-1))


def _worst(
    text: Text, predicted: np.ndarray, where: np.ndarray, largest: float, most: float, *, sign: int
) -> list[Mistake]:
    """The worst position of a text, if there is one."""
    places = np.flatnonzero(where)
    if not len(places):
        return []
    order = np.lexsort((places, sign * text.acts[places], -sign * predicted[places]))
    pos = int(places[order[0]])
    actual = max(0.0, float(text.acts[pos]) / largest) if largest > 0 else 0.0
    return [Mistake(text, pos, max(0.0, float(predicted[pos]) / most) if most > 0 else 0.0, actual)]


def _first(mistakes: list[Mistake], n: int, *, sign: int) -> tuple[Mistake, ...]:
    ordered = sorted(mistakes, key=lambda m: (-sign * m.predicted, sign * m.actual, m.text.window, m.pos))
    return tuple(ordered[:n])
