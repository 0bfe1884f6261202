"""Predictions that need no simulator: the same everywhere, the neuron itself, and its look-up rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.explanations.entry import Rule
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.simulators.rule import RuleSimulator
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32

LEVELS = 10
"""Values above 0 of the quantised activations, where the simulator has no scale of its own."""


def constant(texts: Sequence[Text]) -> list[Float32[np.ndarray, " pos"]]:
    """1 at every token."""
    return [np.ones(len(text.tokens), np.float32) for text in texts]


def ceiling(texts: Sequence[Text], *, largest: float, levels: int | None) -> list[Float32[np.ndarray, " pos"]]:
    """The activations themselves as a simulator could say them: 0 if negative, else in `levels` equal steps up to
    `largest`, the largest activation on `explain`; higher ones are `levels`."""
    n = LEVELS if levels is None else levels
    scale = n / largest if largest > 0 else 0.0
    return [np.rint(np.clip(text.acts * scale, 0, n)).astype(np.float32) for text in texts]


def by_rule(rule: Rule, texts: Sequence[Text]) -> list[Float32[np.ndarray, " pos"]]:
    """What the rule predicts."""
    found = RuleSimulator().simulate(Said("", rule), texts)
    assert found is not None, "a rule always predicts"
    return found


def peaks(values: Sequence[np.ndarray], texts: Sequence[Text]) -> Float32[np.ndarray, " window"]:
    """The largest prediction at the counted positions of each window."""
    return np.array([v[t.counts].max() for v, t in zip(values, texts, strict=True)], np.float32)
