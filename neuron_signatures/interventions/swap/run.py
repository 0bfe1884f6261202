"""Runs `--mode swap`: every pair with cells of its own, its controls, and one list for all pairs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.choice.prompts import Prompt
from neuron_signatures.interventions.controls.measure import ControlledSet, Settings, measure_controls
from neuron_signatures.interventions.controls.random_sets import Norms, write_norms
from neuron_signatures.interventions.forecast import Forecast, forecast
from neuron_signatures.interventions.kept import Kept
from neuron_signatures.interventions.setup import Setup, set_up
from neuron_signatures.interventions.side_effects.measure import SideEffectSettings, side_effects
from neuron_signatures.interventions.swap.collect import Collected, collect_pairs
from neuron_signatures.interventions.swap.pairs import Pair, Prompts
from neuron_signatures.interventions.swap.records import BAND_DRAWS, measure_band, pair_record
from neuron_signatures.interventions.swap.request import SwapRequest
from neuron_signatures.interventions.swap.select import greedy
from neuron_signatures.interventions.swap.shared import choose_shared, held_out_flips, shared_record
from neuron_signatures.interventions.swap.summary import pair_verdict, summary_of, swap_verdict
from neuron_signatures.interventions.swap.writing import swap_settings, swap_stem, write_swap
from neuron_signatures.interventions.swap.wrong_source import find_wrong, measure_wrong
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.intervention_records import (
    BandRow,
    SharedList,
    SideEffects,
    SwapPair,
    SwapSummary,
    WrongSource,
)
from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.results import INTERVENTIONS, open_results
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

MOST_DRAWS_OF_MANY = 100
"""Scrambled and permuted sets per pair of many. These have no band of random sets over k, and the side effects are
those of the one list for all pairs."""


@dataclass(frozen=True)
class SwapOutcome:
    """The results; `stem` is that of the files. `summary` is None for one pair."""

    setup: Setup
    request: SwapRequest
    collected: Collected
    stem: str
    pairs: tuple[SwapPair, ...]
    summary: SwapSummary | None
    shared: SharedList | None
    verdict: str


def run_swap(run: Run, request: SwapRequest, *, progress: ProgressOf) -> SwapOutcome | Forecast:
    """Measure and write the result; with `dry_run` only the forecast. Raises the project's errors."""
    request.check()
    setup = set_up(run, request.prompt or 0, request.overrides)
    prompts = Prompts(setup.session)
    collected = collect_pairs(setup, prompts, request)
    for warning in collected.warnings:
        log.warning("%s", warning)
    expected = _forecast(collected, request)
    if request.dry_run:
        return expected
    log.info("%s", expected.line())
    with open_results(run, INTERVENTIONS) as writer:
        stem = swap_stem(setup, request, collected)
        kept = Kept(writer, stem, swap_settings(setup, request, collected))
        with kept.save_on_error(), progress("edited copies", expected.most) as bar:
            outcome = _Swaps(setup, request, prompts, collected, kept, bar).measure(stem)
            write_swap(writer, outcome)
        kept.remove()
    return outcome


def _forecast(collected: Collected, request: SwapRequest) -> Forecast:
    """At most: the curve of each pair and of its wrong source, its controls and its band, and the shared list."""
    most_k = request.limits.max_k
    n = len(collected.own)
    one = 2 * most_k + request.n_random + 2 * _n_others(collected, request)
    one += BAND_DRAWS * most_k.bit_length() if n == 1 else 0
    shared = most_k * (len(collected.selection) + len(collected.held_out)) if collected.held_out else 0
    fewest = n * request.n_random
    return forecast(
        collected.own[0].problem, fewest=fewest, most=n * one + shared, batch=request.limits.batch,
        besides="gradients after each block of cells",
    )  # fmt: skip


def _n_others(collected: Collected, request: SwapRequest) -> int:
    """Most scrambled, and most permuted sets of a pair."""
    return request.n_random if len(collected.own) == 1 else min(request.n_random, MOST_DRAWS_OF_MANY)


@dataclass
class _Swaps:
    setup: Setup
    request: SwapRequest
    prompts: Prompts
    collected: Collected
    kept: Kept
    bar: Bar
    norms: Norms = field(init=False)

    def __post_init__(self) -> None:
        self.norms = write_norms(self.setup.session.model.hf, self.setup.prompt.token_ids)

    def measure(self, stem: str) -> SwapOutcome:
        pairs = self.collected.own
        done = [self._kept_pair(i, pair) for i, pair in enumerate(pairs)]
        shared = self._kept_shared() if self.collected.held_out else None
        summary = None
        if len(pairs) > 1:
            summary = summary_of(done, [p.entities for p in pairs], self.request.seed)
        verdict = swap_verdict(done, summary, shared)
        return SwapOutcome(self.setup, self.request, self.collected, stem, tuple(done), summary, shared, verdict[:1000])

    def _kept_pair(self, i: int, pair: Pair) -> SwapPair:
        name = f"pair {i}"
        if (stored := self.kept.get(name)) is not None:
            return SwapPair.model_validate_json(stored)
        found = self._pair(name, pair)
        self.kept.drop(f"{name} ")
        self.kept.put(name, found.model_dump_json())
        if len(self.collected.own) > 1:
            log.info("%s: %s", pair.id, f"{found.smallest_k} cells" if found.smallest_k else "does not flip")
        return found

    def _pair(self, name: str, pair: Pair) -> SwapPair:
        request, limits = self.request, self.request.limits
        path = greedy(pair, limits, self.bar)
        k = path.smallest(pair.source_answer) or len(path)
        one = ControlledSet(name, pair.patch(path.cells[:k]), pair.destination.acts, self.norms)
        many = len(self.collected.own) > 1
        settings = Settings(
            request.n_random, _n_others(self.collected, request), request.seed, limits.batch, two_sided=False
        )
        copies = pair.copies(limits.batch)
        everywhere = range(1, pair.problem.target.pos + 1)
        controls = measure_controls(one, copies, everywhere, settings, self.kept, self.bar)
        wrong = self._wrong(pair, k)
        left_out = controls.left_out if wrong else [*controls.left_out, "wrong source: no other entity is known"]
        controls = controls.model_copy(update={"wrong_source": wrong, "left_out": left_out})
        band: list[BandRow] = []
        if not many:
            whole = ControlledSet(name, pair.patch(path.cells), pair.destination.acts, self.norms)
            band = measure_band(whole, copies, len(path), seed=request.seed, kept=self.kept, bar=self.bar)
        effects = None if many else self._side_effects(one.changes)
        answer = token_strings(self.setup.session.model.tokenizer, [pair.source_answer])[0]
        verdict = pair_verdict(path.smallest(pair.source_answer), len(path), answer, controls)
        return pair_record(
            self.setup.session, pair, path, self.norms, controls=controls, band=band, side_effects=effects,
            verdict=verdict[:1000],
        )  # fmt: skip

    def _side_effects(self, changes: Changes) -> SideEffects:
        settings = SideEffectSettings(
            self.setup.run.manifest.prepend_bos, seed=self.request.seed, batch=self.request.limits.batch
        )
        return side_effects(self.setup.session.model, changes, self.request.neutral, settings, norms=self.norms).record

    def _wrong(self, pair: Pair, k: int) -> WrongSource | None:
        wrong = self._wrong_prompt(pair)
        if wrong is None:
            return None
        return measure_wrong(self.prompts, pair, wrong, self.request.limits, k, self.bar)

    def _wrong_prompt(self, pair: Pair) -> Prompt | None:
        """Another entity's prompt: as given, of another pair of the same form, or found in the run."""
        if self.collected.wrong is not None:
            return self.collected.wrong
        taken = {pair.source_answer, pair.destination_answer}
        others = [
            other.source
            for other in self.collected.own
            if other.destination is pair.destination and other.source_answer not in taken
        ]
        if others:
            at = np.random.default_rng([self.request.seed, 7, pair.source_answer]).integers(len(others))
            return others[int(at)].prompt
        return find_wrong(self.prompts, pair, self.setup.run)

    def _kept_shared(self) -> SharedList:
        if (stored := self.kept.get("shared")) is not None:
            return SharedList.model_validate_json(stored)
        limits = self.request.limits
        growing, flips = choose_shared(self.collected.selection, limits, self.bar)
        held_out = held_out_flips(growing.cells, self.collected.held_out, limits, self.bar)
        found = shared_record(growing, flips, held_out, self.norms, limits, self.request.seed, self.bar)
        example = self.collected.held_out[0].patch(growing.cells[: found.chosen_k])
        found = found.model_copy(update={"side_effects": self._side_effects(example)})
        self.kept.put("shared", found.model_dump_json())
        return found
