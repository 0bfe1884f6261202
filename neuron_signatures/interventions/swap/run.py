"""Runs `--mode swap`: every pair with cells of its own, its controls, and one list for all pairs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from neuron_signatures.analysis.progress import Bar, ProgressOf
from neuron_signatures.interventions.forecast import Forecast, forecast
from neuron_signatures.interventions.kept import Kept
from neuron_signatures.interventions.measure import ControlledSet, Settings, measure_controls
from neuron_signatures.interventions.neutral import Neutral, load_neutral
from neuron_signatures.interventions.prompts import Prompt
from neuron_signatures.interventions.random_sets import Norms, write_norms
from neuron_signatures.interventions.setup import Setup, set_up
from neuron_signatures.interventions.side_effects import DEFAULT_SETS, SideEffectSettings, side_effects
from neuron_signatures.interventions.swap.collect import Collected, collect_pairs
from neuron_signatures.interventions.swap.pairs import Pair, Prompts
from neuron_signatures.interventions.swap.records import BAND_DRAWS, measure_band, pair_record
from neuron_signatures.interventions.swap.request import SwapRequest
from neuron_signatures.interventions.swap.select import greedy
from neuron_signatures.interventions.swap.shared import choose_shared, shared_record, test_shared
from neuron_signatures.interventions.swap.summary import pair_verdict, summary_of, swap_verdict
from neuron_signatures.interventions.swap.writing import swap_settings, swap_stem, write_swap
from neuron_signatures.interventions.swap.wrong_source import find_wrong, measure_wrong
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.intervention_records import SharedList, SwapPair, SwapSummary, WrongSource
from neuron_signatures.runs.results import INTERVENTIONS, open_results
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

MOST_DRAWS_OF_MANY = 200
"""Scrambled and permuted sets per pair of many, which have no band of random sets over k either."""


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
    neutral = load_neutral(request.neutral)
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
            outcome = _Swaps(setup, request, prompts, collected, neutral, kept, bar).measure(stem)
            write_swap(writer, outcome)
        kept.remove()
    return outcome


def _forecast(collected: Collected, request: SwapRequest) -> Forecast:
    """At most: the curve of each pair and of its wrong source, its controls and its band, and the shared list."""
    most_k = request.limits.max_k
    one = 2 * most_k + 3 * request.n_random + BAND_DRAWS * most_k.bit_length()
    n = len(collected.own)
    shared = most_k * (len(collected.selection) + len(collected.held_out)) if collected.held_out else 0
    fewest = n * (request.n_random + BAND_DRAWS)
    return forecast(
        collected.own[0].problem, fewest=fewest, most=n * one + shared, batch=request.limits.batch,
        besides="gradients after each block of cells",
    )  # fmt: skip


@dataclass
class _Swaps:
    setup: Setup
    request: SwapRequest
    prompts: Prompts
    collected: Collected
    neutral: Neutral
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
        n_others = min(request.n_random, MOST_DRAWS_OF_MANY) if many else request.n_random
        settings = Settings(request.n_random, n_others, request.seed, limits.batch, two_sided=False)
        copies = pair.copies(limits.batch)
        everywhere = range(1, pair.problem.target.pos + 1)
        controls = measure_controls(one, copies, everywhere, settings, self.kept, self.bar)
        wrong = self._wrong(pair, k)
        left_out = controls.left_out if wrong else [*controls.left_out, "wrong source: no other entity is known"]
        controls = controls.model_copy(update={"wrong_source": wrong, "left_out": left_out})
        band = []
        if not many:
            whole = ControlledSet(name, pair.patch(path.cells), pair.destination.acts, self.norms)
            band = measure_band(whole, copies, len(path), seed=request.seed, kept=self.kept, bar=self.bar)
        elsewhere = SideEffectSettings(
            self.setup.run.manifest.prepend_bos, n_sets=0 if many else DEFAULT_SETS, seed=request.seed,
            batch=limits.batch,
        )  # fmt: skip
        model = self.setup.session.model
        effects = side_effects(model, one.changes, self.neutral, elsewhere, norms=self.norms).record
        answer = token_strings(model.tokenizer, [pair.source_answer])[0]
        verdict = pair_verdict(path.smallest(pair.source_answer), len(path), answer, controls)
        return pair_record(
            self.setup.session, pair, path, self.norms, controls=controls, band=band, side_effects=effects,
            verdict=verdict[:1000],
        )  # fmt: skip

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
        held_out = test_shared(growing.cells, self.collected.held_out, limits, self.bar)
        found = shared_record(growing, flips, held_out, self.norms, limits, self.request.seed, self.bar)
        self.kept.put("shared", found.model_dump_json())
        return found
