"""Chooses the best of several explanations of a neuron, by a score on the part `select`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuron_signatures.scoring.scores import ScoreValue, correlation_uniform
from neuron_signatures.scoring.simulators.base import Said, Simulator
from neuron_signatures.scoring.texts import Text


@dataclass(frozen=True)
class Choice:
    """The best explanation by its id, and what each one scored."""

    best: str
    scores: Mapping[str, ScoreValue]
    is_decided: bool
    """False if no score is defined: then the best is the first one, unscored."""

    @property
    def values(self) -> dict[str, float | None]:
        """By id; None where undefined."""
        return {id_: score.value for id_, score in self.scores.items()}


def choose_best(candidates: Mapping[str, Said], simulator: Simulator, texts: Sequence[Text]) -> Choice:
    """The explanation with the highest `correlation/uniform` on `texts`, which are the uniform sample of `select`.

    Of equal ones the first. An undefined score is worse than any defined one; if all are undefined, the first is taken
    and the choice says so.
    """
    assert candidates, "nothing to choose from"
    scores = {id_: correlation_uniform(simulator, said, texts) for id_, said in candidates.items()}
    defined = {id_: score.value for id_, score in scores.items() if score.value is not None}
    best = max(defined, key=lambda id_: defined[id_]) if defined else next(iter(candidates))
    return Choice(best, scores, bool(defined))
