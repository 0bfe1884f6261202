"""What a simulator predicted, checked against the texts it was for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64


class Invalid(StrEnum):
    """Why the prediction of one window is not used."""

    WRONG_NUMBER = "wrong_number"
    """Another number of values than tokens."""
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"


class Undefined(StrEnum):
    """Why a score has no value."""

    NOT_SIMULATED = "not_simulated"
    """The simulator cannot predict from this explanation."""
    NO_WINDOWS = "no_windows"
    """There are none, or no prediction is valid."""
    CONSTANT_TRUTH = "constant_truth"
    CONSTANT_PREDICTION = "constant_prediction"


@dataclass(frozen=True, eq=False)
class Predicted:
    """Truth and prediction at all counted positions of the windows with a valid prediction, one after the other."""

    truth: Float64[np.ndarray, " pos"]
    prediction: Float64[np.ndarray, " pos"]
    documents: Int64[np.ndarray, " pos"]
    n_windows: int
    invalid: Mapping[Invalid, int]
    """Windows whose prediction is not used, by reason. A window is counted once, for the first reason."""
    undefined: Undefined | None = None
    """Why there is no prediction at all."""


def predict(simulator: Simulator, said: Said, texts: Sequence[Text]) -> Predicted:
    """Simulate the texts and check the result: strictly, window by window. Nothing is filled in, cut or clipped."""
    values = simulator.simulate(said, texts)
    if values is None:
        return _join([], [], {}, Undefined.NOT_SIMULATED)
    assert len(values) == len(texts), f"{simulator.name} answered {len(values)} of {len(texts)} texts"
    low, high = simulator.lowest, simulator.highest
    reasons = [check(found, text, lowest=low, highest=high) for found, text in zip(values, texts, strict=True)]
    valid = [i for i, reason in enumerate(reasons) if reason is None]
    invalid = Counter(reason for reason in reasons if reason is not None)
    return _join([texts[i] for i in valid], [values[i] for i in valid], invalid, None)


def check(values: np.ndarray, text: Text, *, lowest: float | None, highest: float | None) -> Invalid | None:
    """What is wrong with the prediction of a window; None if nothing is. The limits are those of its simulator."""
    if values.shape != (len(text.tokens),):
        return Invalid.WRONG_NUMBER
    if not np.isfinite(values).all():
        return Invalid.NOT_FINITE
    low = -np.inf if lowest is None else lowest
    high = np.inf if highest is None else highest
    return Invalid.OUT_OF_RANGE if ((values < low) | (values > high)).any() else None


def _join(
    texts: Sequence[Text], values: Sequence[np.ndarray], invalid: Mapping[Invalid, int], undefined: Undefined | None
) -> Predicted:
    nothing = np.empty(0, np.float64)
    truth = np.concatenate([nothing, *(text.acts[text.counts] for text in texts)])
    prediction = np.concatenate([nothing, *(v[text.counts] for v, text in zip(values, texts, strict=True))])
    documents = np.concatenate(
        [np.empty(0, np.int64), *(np.full(int(text.counts.sum()), text.document) for text in texts)]
    )
    if undefined is None and not len(truth):
        undefined = Undefined.NO_WINDOWS
    return Predicted(truth, prediction, documents, len(texts), dict(invalid), undefined)
