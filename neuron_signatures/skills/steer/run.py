"""The work of `--mode steer`: measure every specific unit and its controls, compare them, and write the tables."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np

from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.interventions.kept import Kept
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import check_model
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.results import ResultsWriter, open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.columns import STEERING as STEERING_COLUMNS
from neuron_signatures.runs.skills.columns import STEERING_SUMMARY as SUMMARY_COLUMNS
from neuron_signatures.runs.skills.names import SKILLS, STEERING, STEERING_SUMMARY, Half, record_name
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.stage_results import write_table
from neuron_signatures.skills.specific import SpecificUnit
from neuron_signatures.skills.steer.chosen import specific_units
from neuron_signatures.skills.steer.claim import Family, chosen_doses, fixed_doses
from neuron_signatures.skills.steer.controls import controls_of
from neuron_signatures.skills.steer.doses import sizes_of
from neuron_signatures.skills.steer.edits import BankWeights
from neuron_signatures.skills.steer.figures import write_figures
from neuron_signatures.skills.steer.generate import write_continuations
from neuron_signatures.skills.steer.measure import Measure
from neuron_signatures.skills.steer.norms import site_norms
from neuron_signatures.skills.steer.plan import Plan
from neuron_signatures.skills.steer.request import SteerRequest
from neuron_signatures.skills.steer.results import Results, measure_groups
from neuron_signatures.skills.steer.texts import ClassTexts, Encoding, class_texts, class_tokens, neutral_texts
from neuron_signatures.skills.steer.units import bank_facts
from neuron_signatures.skills.steer.verdicts import Together, Verdict, together, verdicts
from neuron_signatures.skills.steer.weights import load_weights
from neuron_signatures.skills.steer.writing import steering_frame, summary_frame

log = logging.getLogger(__name__)

STAGE = "poc7_compare_skills"
_STEM = "steer"


@dataclass(frozen=True)
class Prepared:
    """The model, the texts of both halves, and everything that is to be measured."""

    run: Run
    skills: Skills
    request: SteerRequest
    model: LoadedModel
    encoding: Encoding
    find: ClassTexts
    held_out: ClassTexts
    plan: Plan
    notes: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    """Those that stand for each class."""


class SteerOutcome(NamedTuple):
    """What was found: a verdict per unit and dose, and the units of a class together at the dose of the claim."""

    verdicts: tuple[Verdict, ...]
    together: tuple[Together, ...]
    facts: dict[str, Any]
    notes: tuple[str, ...]


def prepare(run: Run, skills: Skills, request: SteerRequest) -> Prepared:
    """Reads the tables, loads the model and what the units are. Raises the project's errors."""
    units = specific_units(skills, request.choice)
    model = check_model(run, request.overrides)
    encoding = Encoding(model, run.manifest.prepend_bos, request.max_tokens)
    halves = [
        class_texts(skills.texts, half, per_class=request.n_texts, seed=request.seed, encoding=encoding)
        for half in get_args(Half)
    ]
    weights = load_weights(
        skills.meta, model, {u.bank for u in units}, saes=request.saes, directions=request.directions
    )
    plan = _plan(skills, request, model, units, weights, halves[0])
    if not next(plan.cases(), None):
        raise UsageError("directions cannot be clamped", where="--edit clamp", next_step="Use --edit add")
    tokens = class_tokens(skills.texts, encoding)
    tokens = tokens if len(tokens) > 1 and all(tokens) else ()
    return Prepared(run, skills, request, model, encoding, halves[0], halves[1], plan, _notes(plan, request), tokens)


def run_steer_skills(prepared: Prepared, *, progress: ProgressOf = silent) -> SteerOutcome:
    """Measure everything, and write `steering*` into `skills/` of the run, its record last.

    Changes that a stopped command has finished are taken over.
    """
    started = time.monotonic()
    with open_results(prepared.run, SKILLS) as writer:
        settings = {**prepared.request.settings(), "collect": prepared.skills.meta.record_sha256}
        kept = Kept(writer, _STEM, settings)
        with kept.save_on_error():
            doses, token_doses = _claim_doses(prepared, kept, progress)
            results = _held_out(prepared, kept, progress)
        found = tuple(
            verdicts(prepared.plan, results, prepared.held_out, doses, seed=prepared.request.seed,
                     token_doses=token_doses)
        )  # fmt: skip
        groups = tuple(together(found, seed=prepared.request.seed))
        outcome = SteerOutcome(found, groups, _facts(prepared, results, found, groups), prepared.notes)
        _write(writer, prepared, results, outcome, doses, started)
        kept.remove()
    return outcome


def _plan(
    skills: Skills,
    request: SteerRequest,
    model: LoadedModel,
    units: list[SpecificUnit],
    weights: Mapping[Bank, BankWeights],
    find: ClassTexts,
) -> Plan:
    norms = site_norms(model, find.ids, sorted({w.place for w in weights.values()}), rows=request.rows)
    write = write_norms(model.hf, list(find.ids[0])).double().numpy()
    sizes = {bank: sizes_of(bank_facts(skills, bank), w, norms, write) for bank, w in weights.items()}
    controls = {
        (u.bank, u.unit): controls_of(
            sizes[u.bank].facts, u.unit, sizes[u.bank].usable, n=request.n_random, seed=request.seed
        )
        for u in units
    }
    return Plan(tuple(units), request.edits, request.doses, weights, sizes, controls)


def _claim_doses(
    prepared: Prepared, kept: Kept, progress: ProgressOf
) -> tuple[dict[Family, float], dict[Family, float]]:
    """The doses of claims about the texts of a class, and about its tokens."""
    plan, request = prepared.plan, prepared.request
    if request.dose is not None:
        fixed = fixed_doses(plan, request.dose)
        return fixed, fixed
    groups = plan.groups(controls=False)
    with progress("changes on texts of find", sum(len(g.changes) for g in groups)) as bar:
        measure = Measure(prepared.model, prepared.find.ids, None, rows=request.rows, token_sets=prepared.tokens)
        found = measure_groups(groups, measure, prepared.find, plan.weights, kept, bar, half="find", whole=frozenset())
    classes = prepared.find.classes
    return chosen_doses(plan, found, classes), chosen_doses(plan, found, classes, of_tokens=True)


def _held_out(prepared: Prepared, kept: Kept, progress: ProgressOf) -> Results:
    plan, request = prepared.plan, prepared.request
    groups = plan.groups(controls=True)
    whole = frozenset((case.specific.bank, plan.change(case)) for case in plan.cases())
    with progress("changes on held-out texts", sum(len(g.changes) for g in groups)) as bar:
        neutral = neutral_texts(request.neutral, prepared.encoding, n_prompts=request.n_neutral)
        measure = Measure(prepared.model, prepared.held_out.ids, neutral, rows=request.rows, token_sets=prepared.tokens)
        return measure_groups(groups, measure, prepared.held_out, plan.weights, kept, bar, half="held_out", whole=whole)


def _write(
    writer: ResultsWriter,
    prepared: Prepared,
    results: Results,
    outcome: SteerOutcome,
    doses: Mapping[Family, float],
    started: float,
) -> None:
    writer.begin(record_name("steer"))
    plan, request = prepared.plan, prepared.request
    write_table(writer, STEERING, steering_frame(plan, results, prepared.held_out), STEERING_COLUMNS)
    summary = summary_frame(outcome.verdicts)
    write_table(writer, STEERING_SUMMARY, summary, SUMMARY_COLUMNS)
    if request.generate.n:
        write_continuations(writer, prepared.model, plan, request, prepared.encoding, doses)
    if request.figures:
        write_figures(prepared.run.path, summary, request.figures)
    record = stage_record(
        run_identity(prepared.run),
        "steer",
        request.settings(),
        stage=STAGE,
        wall_seconds=round(time.monotonic() - started, 3),
        collect_sha256=prepared.skills.meta.record_sha256,
        facts=outcome.facts,
    )
    writer.record(record_name("steer"), record)


def _facts(
    prepared: Prepared, results: Results, found: tuple[Verdict, ...], groups: tuple[Together, ...]
) -> dict[str, Any]:
    undefined = sum(not np.isfinite(f.by_class).all() for f in results.values())
    n_texts = {name: len(rows) for name, rows in prepared.held_out.rows.items()}
    return {
        "n_units": len(prepared.plan.units),
        "n_changes": len(results),
        "n_undefined": undefined,
        "n_held_out_texts": n_texts,
        "dose_chosen_on": "find" if prepared.request.dose is None else "fixed",
        "classes": [g.row() for g in groups],
        "class_tokens": {
            name: [prepared.model.tokenizer.decode([t]) for t in tokens]
            for name, tokens in zip(prepared.held_out.classes, prepared.tokens, strict=False)
        },
        "notes": list(prepared.notes),
    }


def _notes(plan: Plan, request: SteerRequest) -> tuple[str, ...]:
    fewest = Counter[int]()
    for (bank, _), controls in plan.controls.items():
        n = min(len(controls.random), len(controls.matched))
        if n < request.n_random:
            fewest[n] += 1
            log.debug("%s has %d control units", bank.key, n)
    if not fewest:
        return ()
    return (f"{fewest.total()} units have fewer than {request.n_random} controls, the fewest {min(fewest)}: "
            "their banks have no more units that fire",)  # fmt: skip
