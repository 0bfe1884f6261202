"""Two tests of scores on planted neurons, after NeuronEval (Oikarinen, Yan and Weng 2025, arXiv 2506.05774).

The prediction is the concept itself: 1 where the rule of the neuron says that it is active, else 0. Then half of the
labels are removed (*missing*), or as many are added at random (*extra*). Either way the labels describe the neuron
worse, so a score that can be trusted falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neuron_signatures.scoring.design import Design, Group, NeuronTexts
from neuron_signatures.scoring.judges.windows import plain_examples
from neuron_signatures.scoring.measures.flat import Flat, flat_positions
from neuron_signatures.scoring.measures.formulas import balanced_accuracy, count
from neuron_signatures.scoring.measures.measured import Scoring, top_and_random_scores, uniform_scores
from neuron_signatures.scoring.measures.names import STANDARD
from neuron_signatures.scoring.measures.windows import plan_of
from neuron_signatures.scoring.planted.neurons import Planted
from neuron_signatures.scoring.planted.passages import Passages
from neuron_signatures.scoring.planted.texts import planted_texts

LEAST_SHARE, LEAST_FALL = 0.95, 0.1
"""A score passes if it falls on at least this share of the neurons, and in the mean by this part of what it is above
chance."""
DETECTION = "balanced_accuracy/detection"
_HOW = Scoring(min_positives=1)


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
    """Both tests of every score of simulators, on the windows that the design takes, and of `detection`."""
    found: dict[str, list[dict[str, float | None]]] = {}
    for i, neuron in enumerate(neurons):
        random = np.random.default_rng([seed, i])
        texts, whole = planted_texts(passages, neuron, design, number=i), neuron.labels(passages)
        of_neuron = {
            "whole": _scores(texts, whole),
            "missing": _scores(texts, _changed(whole, random, missing=True)),
            "extra": _scores(texts, _changed(whole, random, missing=False)),
            "chance": _scores(texts, [np.ones_like(row) for row in whole]),
        }
        for name, scores in of_neuron.items():
            found.setdefault(name, []).append(scores)
    return {
        score: LabelTests(
            *(_test(found["whole"], found[kind], found["chance"], score) for kind in ("missing", "extra"))
        )
        for score in (*STANDARD, DETECTION)
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


def _scores(texts: NeuronTexts, labels: Sequence[np.ndarray]) -> dict[str, float | None]:
    def flat(part: Literal["scored", "fitted"], *groups: Group) -> Flat:
        members = plan_of(texts).members(part, *groups).texts
        return flat_positions(members, [labels[text.window] for text in members], texts.threshold)

    found = uniform_scores(flat("scored", "uniform"), flat("fitted", "uniform"), _HOW)
    found |= top_and_random_scores(flat("scored", "top", "random"), flat("fitted", "top", "random"), _HOW)
    return {name: m.value for name, m in found.items()} | {DETECTION: _detection(texts, labels)}


def _detection(texts: NeuronTexts, labels: Sequence[np.ndarray]) -> float | None:
    """Of a judge that says that a window is active if it has a label."""
    shown = plain_examples(texts, Design())
    active, predicted = (
        np.array(of_shown, bool)
        for of_shown in ([s.label for s in shown], [labels[s.text.window].any() for s in shown])
    )
    return balanced_accuracy(count(active, predicted))
