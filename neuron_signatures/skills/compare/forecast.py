"""How long a comparison takes, before it starts: every step of it is timed with few draws on a few banks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from neuron_signatures.runs.files import human_seconds
from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.skills.compare import probes, similarities, specific
from neuron_signatures.skills.compare.draws import N_SPLITS, separation_pairs
from neuron_signatures.skills.compare.groups import Groups, choose_groups
from neuron_signatures.skills.compare.prepared import Prepared, prepare
from neuron_signatures.skills.compare.probe_data import Task, text_task, token_task
from neuron_signatures.skills.compare.request import CompareRequest, Resampling
from neuron_signatures.skills.compare.specific import Halves
from neuron_signatures.skills.compare.stage import chosen_banks

_FEW, _MORE = 5, 20
"""Draws of the two timed comparisons: their difference is the cost of a draw, the rest that of a bank."""


@dataclass(frozen=True)
class Forecast:
    n_banks: int
    n_units: int
    n_comparisons: int
    n_pairs: int
    """Pairs of groups of texts, over all draws, of each bank."""
    n_fits: int
    similarity_seconds: float
    """With the table of specific units."""
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
    sample = _sample(banks)
    n_units, n_timed = sum(bank.width for bank in banks), sum(bank.width for bank in sample)
    n_pairs = _n_pairs(groups, request.resampling)
    few, more = (Resampling(n, n, 1, request.resampling.seed) for n in (_FEW, _MORE))
    _similarities(skills, request, groups, sample, few)  # reads the files for the first time
    low, high = (_seconds(partial(_similarities, skills, request, groups, sample, r)) for r in (few, more))
    of_pair = max(0.0, high - low) / (_n_pairs(groups, more) - _n_pairs(groups, few))
    of_banks = max(0.0, low - of_pair * _n_pairs(groups, few))
    of_units = _seconds(partial(specific.tables, sample, skills.stats, halves, request.firing, bar=silent("", 1)))
    n_fits, probe_seconds = _probes(skills, request, halves, banks)
    return Forecast(
        len(banks), n_units, len(groups.compared), n_pairs, n_fits,
        (of_pair * n_pairs + of_banks + of_units) * n_units / n_timed, probe_seconds,
    )  # fmt: skip


def _n_pairs(groups: Groups, r: Resampling) -> int:
    of_comparisons = len(groups.compared) * (1 + r.n_draws + r.n_permutations + 2 * r.n_halves)
    return of_comparisons + (1 + r.n_draws + r.n_permutations) * N_SPLITS * len(separation_pairs(len(groups.classes)))


def _sample(banks: Sequence[Bank]) -> list[Bank]:
    """Banks that are compared alone and in groups, as all are: of the source with the most units its largest bank, one
    of the same site and one of another, as far as there are any."""
    widths: dict[str, int] = {}
    for bank in banks:
        widths[bank.source] = widths.get(bank.source, 0) + bank.width
    own = [bank for bank in banks if bank.source == max(widths, key=lambda source: widths[source])]
    first = max(own, key=lambda bank: bank.width)
    same = [bank for bank in own if bank != first and bank.site == first.site]
    return [first, *same[:1], *[bank for bank in own if bank.site != first.site][:1]]


def _similarities(
    skills: Skills, request: CompareRequest, groups: Groups, banks: Sequence[Bank], draws: Resampling
) -> None:
    def load(bank: Bank) -> Prepared:
        return prepare(skills.stats(bank), groups.texts, request.firing)

    similarities.tables(groups, banks, load, draws, min_share=request.firing.min_share, bar=silent("", 1))


def _probes(skills: Skills, request: CompareRequest, halves: Halves, banks: Sequence[Bank]) -> tuple[int, float]:
    """How many paths are fitted, and the seconds: the paths of one class in one bank are timed, of texts and tokens."""
    settings, seed = request.probes, request.resampling.seed
    if not settings.enabled:
        return 0, 0.0
    by_token = token_task(skills, halves, settings, seed)
    scopes = probes.scopes_of(banks)
    n_fits = probes.n_fits(scopes, len(halves.in_find), settings, tokens=by_token is not None)
    n_texts = probes.n_fits(scopes, len(halves.in_find), settings, tokens=False)
    largest = max(banks, key=lambda bank: bank.width)
    seconds = 0.0
    for task, n in ((text_task(skills, halves, settings, seed), n_texts), (by_token, n_fits - n_texts)):
        if task is not None:
            fit = partial(probes.task_rows, _one_class(task), {("", None): [largest]}, settings, seed, silent("", 1))
            seconds += _seconds(fit) / (1 + settings.n_controls) * n
    return n_fits, seconds


def _one_class(task: Task) -> Task:
    name = next(iter(task.labels))
    return replace(task, labels={name: task.labels[name]})


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
