"""The four measures of FADE, from activations and ratings. No model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.measures.bootstrap import NO_INTERVAL, Interval
from neuron_signatures.scoring.outputs.intervals import auroc_interval, random_of, statistic_interval
from neuron_signatures.scoring.outputs.rating import EXPRESSED, NOT_EXPRESSED
from neuron_signatures.scoring.scorer import TOO_FEW, Measured
from neuron_signatures.scoring.scores import auroc, average_precision
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float64

ALWAYS: Final = "always_expressed"
"""Every unsteered continuation expresses the concept, so steering cannot add any."""


class RatedWindow(NamedTuple):
    """`act` is the largest activation over the counted positions."""

    window: int
    document: int
    act: float
    rating: int


class Outcomes(NamedTuple):
    """Whether each continuation, one per prompt, expresses the concept; None where its rating failed."""

    clean: Sequence[bool | None]
    steered: Mapping[float, Sequence[bool | None]]
    """By dose."""


def clarity(
    sentences: Sequence[float], windows: Sequence[tuple[int, float]], at: NeuronPole, design: Design, *, interval: bool
) -> Measured:
    """2·AUROC - 1 of the activations of concept sentences against those of natural windows (document, activation)."""
    documents, natural = [d for d, _ in windows], [act for _, act in windows]
    groups = range(len(sentences)), documents
    return _doubled(sentences, natural, groups, at, design, interval=interval, name=20)


def responsiveness(windows: Sequence[RatedWindow], at: NeuronPole, design: Design, *, interval: bool) -> Measured:
    """2·AUROC - 1 of the activations of windows that express the concept against those of windows that do not."""
    yes, no = ([w for w in windows if w.rating == rating] for rating in (EXPRESSED, NOT_EXPRESSED))
    groups = [w.document for w in yes], [w.document for w in no]
    return _doubled([w.act for w in yes], [w.act for w in no], groups, at, design, interval=interval, name=21)


def purity(windows: Sequence[RatedWindow], at: NeuronPole, design: Design, *, interval: bool) -> Measured:
    """The average precision of the same: is the concept what the strongest activations are on?"""
    used = [w for w in windows if w.rating in (EXPRESSED, NOT_EXPRESSED)]
    truth = np.array([w.rating == EXPRESSED for w in used], bool)
    acts = np.array([w.act for w in used], np.float64)
    n_yes = int(truth.sum())
    if min(n_yes, len(used) - n_yes) < max(1, design.min_positives):
        return Measured(None, None, None, len(used), n_yes, TOO_FEW)
    found = NO_INTERVAL
    if interval:
        found = statistic_interval(
            lambda rows: average_precision(truth[rows], acts[rows]), [w.document for w in used], design,
            random_of(at, design, 22),
        )  # fmt: skip
    return Measured(average_precision(truth, acts), *found, len(used), n_yes)


def faithfulness(outcomes: Outcomes, at: NeuronPole, design: Design, *, interval: bool) -> Measured:
    """(P - P₀) / (1 - P₀), where P and P₀ are the shares of steered and of clean continuations with the concept.

    The dose of each half of the prompts (the even and the odd ones) is the best one on the other half, so that the best
    of several doses is not rewarded for chance. Prompts whose ratings failed do not count. Negative where steering
    removes the concept.
    """
    doses = best_doses(outcomes)
    pairs = []
    for i, clean in enumerate(outcomes.clean):
        dose = doses[i % 2]
        steered = None if dose is None else outcomes.steered[dose][i]
        if clean is not None and steered is not None:
            pairs.append((float(clean), float(steered)))
    if len(pairs) < max(1, design.min_positives):
        return Measured(None, None, None, len(pairs), None, TOO_FEW)
    values = np.array(pairs, np.float64)
    value = _gain(values)
    if value is None:
        return Measured(None, None, None, len(pairs), None, ALWAYS)
    found = NO_INTERVAL
    if interval:
        found = statistic_interval(
            lambda rows: _gain(values[rows]), range(len(pairs)), design, random_of(at, design, 23)
        )  # fmt: skip
    return Measured(value, *found, len(pairs), None)


def best_doses(outcomes: Outcomes) -> tuple[float | None, float | None]:
    """The dose for the even prompts and that for the odd ones: the smallest of the best ones on the other half. None
    without a valid rating there."""
    found: list[float | None] = []
    for half in (0, 1):
        shares = {}
        for dose, expressed in outcomes.steered.items():
            valid = [x for i, x in enumerate(expressed) if x is not None and i % 2 != half]
            if valid:
                shares[dose] = sum(valid) / len(valid)
        found.append(min(shares, key=lambda dose: (-shares[dose], dose)) if shares else None)
    return found[0], found[1]


def stretch_peaks(texts: Sequence[Text], n: int, random: np.random.Generator) -> list[tuple[int, float]]:
    """The document of each window, and its largest activation over `n` counted positions in a row, at a random place.

    A window has more positions than a sentence, and so a larger maximum by chance.
    """
    found = []
    for text in texts:
        acts = text.acts[text.counts]
        start = int(random.integers(max(1, len(acts) - n + 1)))
        found.append((text.document, float(acts[start : start + n].max())))
    return found


def _doubled(
    yes: Sequence[float], no: Sequence[float], groups: tuple[Sequence[int], Sequence[int]], at: NeuronPole,
    design: Design, *, interval: bool, name: int,
) -> Measured:  # fmt: skip
    n, n_yes = len(yes) + len(no), len(yes)
    if min(n_yes, len(no)) < max(1, design.min_positives):
        return Measured(None, None, None, n, n_yes, TOO_FEW)
    area = auroc(np.array([True] * n_yes + [False] * len(no)), np.array([*yes, *no], np.float64))
    assert area is not None
    found = NO_INTERVAL
    if interval:
        of_area = auroc_interval(yes, no, groups=groups, design=design, random=random_of(at, design, name))
        found = Interval(*(None if end is None else 2 * end - 1 for end in of_area))
    return Measured(2 * area - 1, *found, n, n_yes)


def _gain(pairs: Float64[np.ndarray, "prompt 2"]) -> float | None:
    before, after = pairs.mean(0).tolist()
    return None if before == 1 else (after - before) / (1 - before)
