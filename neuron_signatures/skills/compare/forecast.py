"""How long a comparison takes, before it starts: a few draws of one comparison in one bank are timed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from neuron_signatures.runs.files import human_seconds
from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.skills.compare import probes, similarities, specific
from neuron_signatures.skills.compare.draws import N_SPLITS, SMALLEST, separation_pairs
from neuron_signatures.skills.compare.groups import Groups, choose_groups
from neuron_signatures.skills.compare.prepared import Prepared, prepare
from neuron_signatures.skills.compare.request import CompareRequest, Resampling
from neuron_signatures.skills.compare.stage import chosen_banks

_TIMED: Final = 50
_SECONDS_OF_PROBE: Final = 0.25
"""Of one path of penalties with 256 units on 400 texts, on one core of 2023."""


@dataclass(frozen=True)
class Forecast:
    n_banks: int
    n_units: int
    n_comparisons: int
    n_pairs: int
    """Pairs of groups of texts, over all draws, of each bank."""
    n_fits: int
    similarity_seconds: float
    probe_seconds: float

    def line(self) -> str:
        return (
            f"forecast: {self.n_comparisons} comparisons and the separation, {self.n_pairs:,} draws in each of "
            f"{self.n_banks} banks with {self.n_units:,} units: about {human_seconds(self.similarity_seconds)}; "
            f"{self.n_fits:,} paths of probes: about {human_seconds(self.probe_seconds)}"
        )


def forecast(skills: Skills, request: CompareRequest) -> Forecast:
    """Nothing is written."""
    banks, groups = chosen_banks(skills, request), choose_groups(skills.texts, request.classes)
    halves = specific.halves_of(skills.texts, list(groups.classes))
    r = request.resampling
    of_comparisons = len(groups.compared) * (1 + r.n_draws + r.n_permutations + 2 * r.n_halves)
    of_separation = (1 + r.n_draws + r.n_permutations) * N_SPLITS * len(separation_pairs(len(groups.classes)))
    n_pairs, n_units = of_comparisons + of_separation, sum(bank.width for bank in banks)
    largest = max(banks, key=lambda bank: bank.width)
    loaded = prepare(skills.stats(largest), groups.texts, request.firing)
    seconds = _seconds(loaded, _first(groups), request) / largest.width * n_units * n_pairs
    n_fits = 0
    if request.probes.enabled:
        scopes = probes.scopes_of(banks)
        n_fits = probes.n_fits(scopes, len(groups.classes), request.probes, tokens=True)
        assert len(halves.find) >= SMALLEST
    size = len(halves.find) * request.probes.max_units / (400 * 256)
    return Forecast(
        len(banks), n_units, len(groups.compared), n_pairs, n_fits, seconds, n_fits * _SECONDS_OF_PROBE * size
    )


def _first(groups: Groups) -> Groups:
    return replace(groups, compared=groups.compared[:1])


def _seconds(loaded: Prepared, groups: Groups, request: CompareRequest) -> float:
    """Per pair of groups in this bank and in a group of banks."""
    few = Resampling(_TIMED, _TIMED, 1, request.resampling.seed)
    started = time.perf_counter()
    similarities.tables(
        groups, [loaded.bank], lambda bank: loaded, few, min_share=request.firing.min_share, bar=silent("", 1)
    )
    n = (1 + 2 * _TIMED + 2) + (1 + 2 * _TIMED) * N_SPLITS * len(separation_pairs(len(groups.classes)))
    return 1.4 * (time.perf_counter() - started) / n  # the ranks in a group of banks need a second pass
