"""Which predictions of an own explanation are stored, and where it fails most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.runs.scores.names import SampleName
from neuron_signatures.scoring.design import NeuronTexts
from neuron_signatures.scoring.measures.windows import GROUPS, Place, Predictions, distinct, place
from neuron_signatures.scoring.mistakes import Mistakes, mistakes_in
from neuron_signatures.scoring.scorer import PredictedWindow
from neuron_signatures.scoring.texts import Text

MOST_UNIFORM = 50
"""Windows of the uniform sample up to which all of them are stored."""
N_MISTAKES = 5
"""Of each kind."""


def mistakes_of(texts: NeuronTexts, predictions: Predictions) -> Mistakes:
    """In all scored windows together; of a window that is there more than once, the whole one."""
    every = distinct(text for group in GROUPS for text in texts.scored.get(group, ()))
    whole = [text for text in every if not text.first]
    valid = [(t, v) for t, v in zip(whole, predictions.values(whole), strict=True) if v is not None]
    active_from = float(np.nextafter(np.float32(max(texts.threshold, 0.0)), np.float32(np.inf)))
    return mistakes_in([t for t, _ in valid], [v for _, v in valid], threshold=active_from, n=N_MISTAKES)


def stored_windows(texts: NeuronTexts, predictions: Predictions, mistakes: Mistakes) -> list[PredictedWindow]:
    """The scored windows, each once: those of `top`, `random` and `sixty`, those of `uniform` if they are few, and as
    `mistake` those in which a mistake is and that are not there yet."""
    uniform = texts.scored.get("uniform", ())
    wrong = [m.text for m in (*mistakes.false_positives, *mistakes.false_negatives)]
    groups: list[tuple[SampleName, Sequence[Text]]] = [(g, texts.scored.get(g, ())) for g in GROUPS if g != "uniform"]
    groups += [("uniform", uniform if len(uniform) <= MOST_UNIFORM else ()), ("mistake", wrong)]
    found: dict[Place, PredictedWindow] = {}
    for name, members in groups:
        for text in members:
            values, status, reason = predictions.by_place[place(text)]
            found.setdefault(place(text), PredictedWindow(name, text, values, status, reason))
    return list(found.values())
