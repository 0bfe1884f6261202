"""Runs `--mode effect`: every neuron alone, all as one set, the set's controls and side effects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import Reference, choose_reference, reference_at
from neuron_signatures.analysis.attribution.targets import ResolvedTarget, resolve_target
from neuron_signatures.interventions.choice.alignment import align, same_positions
from neuron_signatures.interventions.choice.neurons import Chosen, choose_neurons
from neuron_signatures.interventions.choice.positions import parse_positions
from neuron_signatures.interventions.choice.prompts import Prompt
from neuron_signatures.interventions.controls.measure import ControlledSet, Settings, measure_controls
from neuron_signatures.interventions.controls.random_sets import deltas, write_norms
from neuron_signatures.interventions.controls.verdicts import SCREENED, effect_verdict
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.interventions.effect.cells import Cells, make_cells
from neuron_signatures.interventions.effect.request import EffectRequest
from neuron_signatures.interventions.effect.resample import RESAMPLE, resampled_reference
from neuron_signatures.interventions.effect.singles import Single, measure_singles
from neuron_signatures.interventions.effect.writing import effect_settings, effect_stem, write_effect
from neuron_signatures.interventions.facts import prediction
from neuron_signatures.interventions.forecast import Forecast, forecast
from neuron_signatures.interventions.kept import Kept
from neuron_signatures.interventions.setup import Setup, set_up
from neuron_signatures.interventions.side_effects.measure import SideEffectSettings, side_effects
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.intervention_records import Controls, Prediction, SideEffects
from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.results import INTERVENTIONS, open_results
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

MOST_TESTED = 50
"""Single neurons of a list that get controls of their own, from the first on."""


@dataclass(frozen=True)
class Planned:
    """One effect, ready to be measured. `acts` are clean; `source` is None unless values of another prompt are set."""

    setup: Setup
    request: EffectRequest
    chosen: tuple[Chosen, ...]
    resolved: ResolvedTarget
    problem: Problem
    acts: Float[Tensor, "layer pos neuron"]
    cells: Cells
    reference: Reference | None
    source: Prompt | None
    warnings: tuple[str, ...]

    @property
    def is_screening(self) -> bool:
        return self.request.neurons.every


@dataclass(frozen=True)
class EffectOutcome:
    """The results; `stem` is that of the files. The set's fields are None for a screening."""

    planned: Planned
    stem: str
    singles: list[Single]
    clean: Prediction
    as_set: Prediction | None
    controls: Controls | None
    side_effects: SideEffects | None
    verdict: str


def run_effect(run: Run, request: EffectRequest, *, progress: ProgressOf) -> EffectOutcome | Forecast:
    """Measure and write the result; with `dry_run` only the forecast. Raises the project's errors."""
    request.check()
    chosen = choose_neurons(run, request.neurons)
    planned = plan(run, request, chosen)
    expected = _forecast(planned)
    if request.dry_run:
        return expected
    log.info("%s", expected.line())
    with open_results(run, INTERVENTIONS) as writer:
        stem = effect_stem(planned)
        kept = Kept(writer, stem, effect_settings(planned))
        with kept.save_on_error(), progress("edited copies", expected.most) as bar:
            outcome = _measured(planned, stem, kept, bar)
            write_effect(writer, outcome)
        kept.remove()
    return outcome


def plan(run: Run, request: EffectRequest, chosen: tuple[Chosen, ...]) -> Planned:
    """Resolve prompt, target, positions and values. Nothing is written."""
    choice = None
    if request.kind == "ablate" and request.reference != RESAMPLE:
        choice = choose_reference(run, request.reference, min_tokens=request.min_mean_tokens)
    setup = set_up(run, request.prompt, request.overrides)
    prompt, model = setup.prompt, setup.session.model
    resolved = resolve_target(model, prompt.token_ids, request.target)
    positions = parse_positions(request.positions, prompt, last=resolved.target.pos)
    warnings = [*setup.checked.warnings, *resolved.warnings]
    acts = setup.session.acts(prompt.token_ids)
    reference = source = held = None
    if choice is not None:
        reference = reference_at(choice, run, model, setup.checked.prompt, positions)
        held = _at_positions(reference.held(acts[:, list(positions)]), positions, acts)
        warnings += choice.warnings
    elif request.kind == "ablate":
        reference = resampled_reference(run, setup.checked.prompt.probe_id, positions, seed=request.seed)
        held = _at_positions(reference.held(acts[:, list(positions)]), positions, acts)
    elif request.kind == "patch":
        source = setup.source(prompt=request.source_prompt, text=request.source_text)
        held, positions, more = _patched(setup, source, positions, acts)
        warnings += more
    cells = make_cells(chosen, positions, acts, kind=request.kind, value=request.value, held=held)
    problem = Problem(model.hf, prompt.token_ids, resolved.target, positions)
    return Planned(
        setup, request, chosen, resolved, problem, acts, cells, reference, source, tuple(dict.fromkeys(warnings))
    )


def _at_positions(
    values: Float[Tensor, "layer some neuron"], positions: Sequence[int], like: Float[Tensor, "layer pos neuron"]
) -> Float[Tensor, "layer pos neuron"]:
    held = torch.full_like(like, torch.nan)
    held[:, list(positions)] = values.to(like)
    if not bool(torch.isfinite(held[:, list(positions)]).all()):
        what = "the reference is not known for every layer of the model"
        raise UsageError(
            what, where="--reference", next_step="Use --reference zero or records, or a run with all layers"
        )
    return held


def _patched(
    setup: Setup, source: Prompt, positions: tuple[int, ...], acts: Float[Tensor, "layer pos neuron"]
) -> tuple[Float[Tensor, "layer pos neuron"], tuple[int, ...], list[str]]:
    """The source's activations at the destination's positions, the positions that differ, and what was left out."""
    same = source.token_ids == setup.prompt.token_ids
    where = "--source_text" if source.prompt_id is None else f"--source_prompt {source.prompt_id}"
    found = same_positions(len(source.token_ids)) if same else align(setup.prompt, source, where=where)
    of = dict(found.pairs)
    shared = [p for p in positions if p < found.n_shared]
    without = [p for p in positions if p >= found.n_shared and p not in of]
    kept = tuple(p for p in positions if p in of)
    if not kept:
        what = f"no position of {', '.join(map(str, positions))} differs in the source or has a counterpart there"
        raise UsageError(what, where="--positions", next_step="Use last, entity:TEXT or all")
    warnings = []
    if shared:
        warnings.append(f"positions {_numbers(shared)} come before the first difference: nothing is patched there")
    if without:
        warnings.append(f"positions {_numbers(without)} have no counterpart in the source and are left out")
    held = torch.full_like(acts, torch.nan)
    held[:, list(kept)] = setup.session.acts(source.token_ids)[:, [of[p] for p in kept]]
    return held, kept, warnings


def _numbers(positions: Sequence[int]) -> str:
    return ", ".join(map(str, positions))


def _forecast(planned: Planned) -> Forecast:
    """Copies of the prompt: single edits, their controls (at most), the set's controls, and its side effects."""
    n, request = len(planned.chosen), planned.request
    controls = 0 if planned.is_screening else (3 + min(n, MOST_TESTED)) * request.n_random
    return forecast(planned.problem, fewest=n, most=n + controls, batch=request.batch)


def _measured(planned: Planned, stem: str, kept: Kept, bar: Bar) -> EffectOutcome:
    request, setup = planned.request, planned.setup
    model, target = setup.session.model, planned.resolved.target
    settings = Settings(request.n_random, request.n_random, request.seed, request.batch, two_sided=True)
    copies = Copies(planned.problem, first=int(planned.cells.changes.pos.min()), batch=request.batch)
    norms = write_norms(model.hf, planned.setup.prompt.token_ids)
    most = 0 if planned.is_screening else MOST_TESTED
    singles = measure_singles(planned, copies, norms, settings, kept, bar, most_tested=most)
    clean_logits = setup.session.pre_cap_logits(setup.prompt.token_ids, target.pos)
    clean = prediction(model, planned.problem, clean_logits, clean_logits)
    if planned.is_screening:
        return EffectOutcome(planned, stem, singles, clean, None, None, None, f"{len(singles)} neurons: {SCREENED}")
    changes = planned.cells.changes
    logits = setup.session.pre_cap_logits(setup.prompt.token_ids, target.pos, changes.edits())
    as_set = prediction(model, planned.problem, logits, clean_logits)
    one = ControlledSet("set", changes, planned.acts, norms)
    controls = effects = None
    if bool((deltas(changes, planned.acts) != 0).any()):
        controls = measure_controls(one, copies, range(1, target.pos + 1), settings, kept, bar)
        prepend_bos = setup.run.manifest.prepend_bos
        elsewhere = SideEffectSettings(prepend_bos, seed=request.seed, batch=request.batch)
        effects = side_effects(model, changes, request.neutral, elsewhere, norms=norms).record
    return EffectOutcome(planned, stem, singles, clean, as_set, controls, effects, effect_verdict(controls))
