"""Two tests of scores on planted neurons, after NeuronEval (Oikarinen, Yan and Weng 2025, arXiv 2506.05774).

The prediction is the concept itself: 1 where the rule of the neuron says that it is active, else 0. Then half of the
labels are removed (*missing*), or as many are added at random (*extra*). Either way the labels describe the neuron
worse, so a score that can be trusted falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuron_signatures.runs.records.names import Part
from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.measures.flat import Flat, flat_positions
from neuron_signatures.scoring.measures.measured import Scoring, top_and_random_scores, uniform_scores
from neuron_signatures.scoring.measures.names import STANDARD
from neuron_signatures.scoring.planted.neurons import Planted
from neuron_signatures.scoring.planted.passages import Passages
from neuron_signatures.scoring.sampling import ACTIVE_PERCENTILE, groups_of
from neuron_signatures.scoring.texts import Text

LEAST_SHARE, LEAST_FALL = 0.95, 0.1
"""A score passes if it falls on at least this share of the neurons, and in the mean by this part of what it is above
chance."""
_NONE: Scoring = Scoring(min_positives=1)


@dataclass(frozen=True)
class LabelTest:
    """How a score changes. `fall` is the mean of (whole - changed) / (whole - chance), where the chance is the score of
    a constant prediction, or 0 where that is undefined: 1 if all is lost that was better than chance."""

    falls: float
    """Share of the neurons."""
    fall: float
    n: int
    """Neurons for which the score of the whole labels is defined. Of changed labels an undefined score is chance."""

    @property
    def passes(self) -> bool:
        return self.falls >= LEAST_SHARE and self.fall >= LEAST_FALL


@dataclass(frozen=True)
class LabelTests:
    missing: LabelTest
    extra: LabelTest

    @property
    def passes(self) -> bool:
        return self.missing.passes and self.extra.passes


def label_tests(passages: Passages, neurons: Sequence[Planted], design: Design, *, seed: int) -> dict[str, LabelTests]:
    """Both tests of every score of simulators, on the windows that the design takes."""
    found: dict[str, list[dict[str, float | None]]] = {}
    for i, neuron in enumerate(neurons):
        random = np.random.default_rng([seed, i])
        whole = neuron.labels(passages)
        of_neuron = {
            "whole": _scores(passages, neuron, whole, design),
            "missing": _scores(passages, neuron, _changed(whole, random, missing=True), design),
            "extra": _scores(passages, neuron, _changed(whole, random, missing=False), design),
            "chance": _scores(passages, neuron, [np.ones_like(row) for row in whole], design),
        }
        for name, scores in of_neuron.items():
            found.setdefault(name, []).append(scores)
    return {
        score: LabelTests(
            *(_test(found["whole"], found[kind], found["chance"], score) for kind in ("missing", "extra"))
        )
        for score in STANDARD
    }


def _test(
    whole: Sequence[dict[str, float | None]], changed: Sequence[dict[str, float | None]],
    chance: Sequence[dict[str, float | None]], score: str,
) -> LabelTest:  # fmt: skip
    falls, parts = [], []
    for before, after, by_chance in zip(whole, changed, chance, strict=True):
        value, least = before[score], by_chance[score] or 0.0
        if value is None:
            continue
        new = after[score]
        new = least if new is None else new
        falls.append(new < value)
        if value > least:
            parts.append((value - new) / (value - least))
    return LabelTest(float(np.mean(falls)), float(np.mean(parts)), len(falls))


def _changed(labels: Sequence[np.ndarray], random: np.random.Generator, *, missing: bool) -> list[np.ndarray]:
    """Half of the labels removed, or as many added as there are."""
    flat = np.concatenate(labels)
    here, elsewhere = (random.permutation(np.flatnonzero(flat == label)) for label in (1, 0))
    flat[here[: len(here) // 2] if missing else elsewhere[: len(here)]] = 0 if missing else 1
    return np.split(flat, np.cumsum([len(row) for row in labels])[:-1])


def _scores(
    passages: Passages, neuron: Planted, labels: Sequence[np.ndarray], design: Design
) -> dict[str, float | None]:
    explain = np.concatenate([t.acts for t in neuron.texts(passages, "explain")])
    threshold = float(np.percentile(explain.astype(np.float64), ACTIVE_PERCENTILE))
    parts = {part: _flats(neuron.texts(passages, part), labels, threshold, design) for part in _parts(design)}
    (uniform, mixed), (fitted, fitted_mixed) = parts[design.split], parts[design.fit_part]
    found = uniform_scores(uniform, fitted, _NONE) | top_and_random_scores(mixed, fitted_mixed, _NONE)
    return {name: m.value for name, m in found.items()}


def _parts(design: Design) -> tuple[Part, Part]:
    return design.split, design.fit_part


def _flats(texts: Sequence[Text], labels: Sequence[np.ndarray], threshold: float, design: Design) -> tuple[Flat, Flat]:
    """Of the uniform sample, and of the strongest windows and random ones together."""
    top = sorted(texts, key=lambda t: -t.peak)[: design.n_top]
    groups = groups_of(texts, top, design, seed=(design.seed,))
    members = groups["uniform"], (*groups["top"], *groups["random"])
    uniform, mixed = (flat_positions(some, [labels[t.window] for t in some], threshold) for some in members)
    return uniform, mixed
