"""Tests any scorer: does it rank true explanations above false ones, and what does it cost?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from neuron_signatures.runs.scores.names import Control
from neuron_signatures.scoring.design import NeuronTexts
from neuron_signatures.scoring.planted.ranking import Ranking, ranking_of
from neuron_signatures.scoring.scorer import Item, ItemScorer, Scored
from neuron_signatures.scoring.simulators.base import Said

_ID = "0" * 16


@dataclass(frozen=True, eq=False)
class Trial:
    """A neuron whose true explanation is known, and explanations that are false."""

    truth: Said
    false: tuple[Said, ...]
    texts: NeuronTexts


@dataclass(frozen=True)
class Tried:
    """`values` and `false_values` are the scores, None where undefined, in the order of the trials. The costs are the
    means of one true explanation of a neuron, and `coverage` the share of all requests with a valid answer."""

    values: tuple[float | None, ...]
    false_values: tuple[tuple[float | None, ...], ...]
    seconds: float
    tokens: float
    coverage: float | None

    @property
    def ranking(self) -> Ranking:
        return ranking_of(self.values, self.false_values)


def try_scorer(scorer: ItemScorer, score: str, trials: Sequence[Trial]) -> Tried:
    """One score of all explanations of the trials, of which each has a false one."""
    return asyncio.run(_tried(scorer, score, trials))


async def _tried(scorer: ItemScorer, score: str, trials: Sequence[Trial]) -> Tried:
    true, false = [], []
    for trial in trials:
        true.append(await scorer.score(_item(trial, trial.truth, "own"), trial.texts))
        false.append([await scorer.score(_item(trial, said, "other"), trial.texts) for said in trial.false])
    statuses = [s for found in (*true, *(f for some in false for f in some)) for s in found.statuses]
    return Tried(
        tuple(_value(found, score) for found in true),
        tuple(tuple(_value(found, score) for found in some) for some in false),
        sum(found.seconds for found in true) / len(true),
        sum(found.prompt_tokens + found.completion_tokens for found in true) / len(true),
        statuses.count("ok") / len(statuses) if statuses else None,
    )


def _item(trial: Trial, said: Said, control: Control) -> Item:
    return Item(trial.texts.at, _ID, control, said)


def _value(found: Scored, score: str) -> float | None:
    measured = found.measures.get(score)
    return None if measured is None else measured.value
