"""Which predictions of an own explanation are stored, and where it fails most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.runs.scores.names import SampleName
from neuron_signatures.scoring.design import NeuronTexts
from neuron_signatures.scoring.measures.windows import GROUPS, plan_of
from neuron_signatures.scoring.mistakes import Mistakes, mistakes_in
from neuron_signatures.scoring.scorer import PredictedWindow
from neuron_signatures.scoring.simulators.base import Simulated
from neuron_signatures.scoring.texts import Text

MOST_UNIFORM = 50
"""Windows of the uniform sample up to which all of them are stored."""
N_MISTAKES = 5
"""Of each kind."""


def mistakes_of(texts: NeuronTexts, found: Sequence[Simulated]) -> Mistakes:
    """In all scored windows that are shown whole. `found` is what was predicted in the windows of the plan."""
    every = plan_of(texts).members("scored", *GROUPS)
    valid = [(t, v) for t, i in zip(*every, strict=True) if (v := found[i].values) is not None and not t.first]
    active_from = float(np.nextafter(np.float32(max(texts.threshold, 0.0)), np.float32(np.inf)))
    return mistakes_in([t for t, _ in valid], [v for _, v in valid], threshold=active_from, n=N_MISTAKES)


def stored_windows(texts: NeuronTexts, found: Sequence[Simulated], mistakes: Mistakes) -> list[PredictedWindow]:
    """The scored windows, each once: those of `top`, `random` and `sixty`, those of `uniform` if they are few, and as
    `mistake` those in which a mistake is and that are not there yet."""
    uniform = texts.scored.get("uniform", ())
    wrong = [m.text for m in (*mistakes.false_positives, *mistakes.false_negatives)]
    groups: list[tuple[SampleName, Sequence[Text]]] = [(g, texts.scored.get(g, ())) for g in GROUPS if g != "uniform"]
    groups += [("uniform", uniform if len(uniform) <= MOST_UNIFORM else ()), ("mistake", wrong)]
    plan, stored = plan_of(texts), dict[int, PredictedWindow]()
    for name, members in groups:
        for text in members:
            place = plan.place(text)
            if place not in stored:
                stored[place] = PredictedWindow(name, text, *found[place])
    return list(stored.values())
