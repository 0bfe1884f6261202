"""Stage 10: circuits of the cases of a command, each written with its record last. Finished ones are kept."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from neuron_signatures.analysis.attribution.precision import DIFFERENCES, default_dtype
from neuron_signatures.analysis.attribution.reference import RECORDS as RECORDS_REFERENCE
from neuron_signatures.analysis.attribution.reference import choose_reference
from neuron_signatures.analysis.attribution.writing import target_record
from neuron_signatures.circuits.case import TEMPLATE, PreparedCase, ReferenceOf, of_choice, of_template, prepare_case
from neuron_signatures.circuits.checks.forecast import forecast_checks
from neuron_signatures.circuits.checks.stage import are_finished
from neuron_signatures.circuits.common.checks import check_common
from neuron_signatures.circuits.files import Described, write_files
from neuron_signatures.circuits.outcome import Outcome, check_export, common_of, export_all
from neuron_signatures.circuits.parts import Enriched
from neuron_signatures.circuits.plan import Forecast, forecast
from neuron_signatures.circuits.request import Case, TraceRequest, TraceSettings
from neuron_signatures.circuits.tested import check_circuits, check_facts, common_check_facts
from neuron_signatures.circuits.trace import trace_case
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt, check_prompt, check_with_model
from neuron_signatures.runs.circuits.folder import TRACE, circuit_folder
from neuron_signatures.runs.circuits.reader import read_circuit
from neuron_signatures.runs.circuits.tables import circuit_tables
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import join_some
from neuron_signatures.runs.names import check_ids
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.runs.result_records import DumpIdentity
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.runs.stage_results import open_folder

log = logging.getLogger(__name__)

_MORE_IS_ENOUGH: Final = ("heads", "measure")


def run_trace(run: Run, request: TraceRequest, progress: ProgressOf) -> Outcome:
    """Trace the cases and write their folders. Raises the project's errors.

    Every prompt and target, and the folder of the export, is checked before the first circuit is written. A circuit
    that is there with the same settings is read instead, unless the request overwrites.
    """
    check_export(request.export, (), overwrite=request.overwrite)  # before the model is loaded
    cases = _prepared(run, request, progress)
    check_export(request.export, cases, overwrite=request.overwrite)
    several = len(cases) > 1
    found, new = [], set[str]()
    with (progress if several else silent)("circuits", len(cases)) as bar:
        for name, case in cases.items():
            if _is_finished(run, name, case, request):
                bar.skip(1)
            else:
                _write(run, name, case, request.settings, silent if several else progress)
                new.add(name)
                bar.advance(1)
            found.append(read_circuit(run.path, name))
    common = common_of(run, request.name, found, again=bool(new)) if several else None
    if request.checks is not None:
        memory = request.settings.max_memory
        check_circuits(
            run, cases, found, request.checks, max_memory=memory, overwrite=request.overwrite, progress=progress
        )
        if common is not None:
            check_common(
                run, common.name, cases, found, request.checks.curves, max_memory=memory, overwrite=request.overwrite,
                progress=progress,
            )  # fmt: skip
    if common is not None:
        common = replace(common, checked=common_check_facts(run, common.name))
    checked = {circuit.name: facts for circuit in found if (facts := check_facts(run, circuit)) is not None}
    exported = export_all(run, found, request.export, overwrite=request.overwrite)
    return Outcome(tuple(found), frozenset(new), exported, common, checked)


def plan_trace(run: Run, request: TraceRequest, progress: ProgressOf) -> Forecast:
    """What the command takes. Writes nothing."""
    check_export(request.export, (), overwrite=request.overwrite)
    cases = _prepared(run, request, progress)
    check_export(request.export, cases, overwrite=request.overwrite)
    todo = {name: case for name, case in cases.items() if not _is_finished(run, name, case, request)}
    planned = forecast(list(todo.values()), request.settings, n_finished=len(cases) - len(todo))
    checks, settings = request.checks, request.settings
    tested = [name for name in cases if checks and (name in todo or not are_finished(run, name, checks))]
    longest = max(cases.values(), key=lambda case: case.resolved.target.pos)
    found = forecast_checks(
        longest, checks, n_cases=len(cases), n_tested=len(tested), n_traced=len(todo), measure=settings.measure,
        max_memory=settings.max_memory,
    )  # fmt: skip
    return replace(planned, checks=found)


def _prepared(run: Run, request: TraceRequest, progress: ProgressOf) -> dict[str, PreparedCase]:
    """The cases by the name of their folder. Loads the model."""
    if request.name is not None:
        check_ids([request.name], where="--name")
    for case in request.cases:
        run.prompt(case.prompt)  # before the model is loaded
    reference_of = _reference_of_run(run, request, progress)
    cases: Iterable[tuple[Case, CheckedPrompt]] = zip(request.cases, _checked(run, request), strict=True)
    if reference_of is None:
        cases = list(cases)
        reference_of = of_template(cases)
    found: dict[str, PreparedCase] = {}
    for number, (case, checked) in enumerate(cases, 1):
        with _naming(f"case {number} ({checked.prompt.probe_id})" if len(request.cases) > 1 else None):
            ready = prepare_case(run, checked, case, reference_of)
        name = request.name if request.name is not None and len(request.cases) == 1 else ready.name
        if name in found:
            what = f"two cases are the same prediction of prompt {ready.prompt.prompt_id}"
            raise UsageError(what, where=name, next_step="Leave one away")
        found[name] = ready
    if request.name in found and len(found) > 1:
        step = "Give --name, for what the circuits have in common"
        raise UsageError("is the name of one of the circuits", where=request.name, next_step=step)
    for warning in dict.fromkeys(warning for ready in found.values() for warning in ready.warnings):
        log.warning("%s", warning)
    return found


@contextmanager
def _naming(case: str | None) -> Iterator[None]:
    """Name the case in refusals: of many, the flag does not tell which it is."""
    try:
        yield
    except UsageError as e:
        if case is None:
            raise
        raise UsageError(e.what, where=f"{case}: {e.where}" if e.where else case, next_step=e.next_step) from e


def _reference_of_run(run: Run, request: TraceRequest, progress: ProgressOf) -> ReferenceOf | None:
    """The reference, if it can be chosen before the model is loaded; None for that of a template."""
    settings = request.settings
    if settings.reference != TEMPLATE:
        chosen = choose_reference(run, settings.reference, min_tokens=settings.min_mean_tokens, progress=progress)
        return of_choice(run, chosen)
    if len(request.cases) < 2:
        what = "is the mean over the other prompts of a file of cases"
        raise UsageError(what, where=f"--reference {TEMPLATE}", next_step="Give --cases with several prompts")
    return None


def _checked(run: Run, request: TraceRequest) -> Iterator[CheckedPrompt]:
    """The prompts of the cases with the model, which is loaded with the first one."""
    dtype = request.overrides.dtype or default_dtype(run.manifest, ("ablation",))
    if dtype != "fp32":
        what = f"edges are exact in float32 only, not in {dtype}"
        raise UsageError(what, where="--model_dtype", next_step="Use fp32, of a run that was made without quantisation")
    reason = DIFFERENCES if request.overrides.dtype is None else None
    first = check_prompt(run, request.cases[0].prompt, replace(request.overrides, dtype=dtype), dtype_reason=reason)
    yield first
    for case in request.cases[1:]:
        yield check_with_model(run, run.prompt(case.prompt), first.model, first.warnings)


def _is_finished(run: Run, name: str, case: PreparedCase, request: TraceRequest) -> bool:
    """Whether this circuit is there with the same settings and is to be kept."""
    folder = circuit_folder(name)
    if request.overwrite or TRACE not in folder.finished(run.path):
        return False
    record = folder.read_record(run.path, TRACE)
    wanted = case.settings(request.settings)
    other = [key for key, value in wanted.items() if not _is_enough(key, record.settings.get(key), value)]
    if _prediction(record.settings) != _prediction(wanted):
        what = "holds the circuit of another prediction"
        step = "Give another --name, or --overwrite"
        raise UsageError(what, where=folder.folder, next_step=step)
    if record.run != DumpIdentity.model_validate(run_identity(run)):
        other.append("the run")
    if other or folder.outdated(run.path, record):
        why = f"another {join_some(other)}" if other else "older records"
        log.info("circuit %s was traced with %s: it is traced again", name, why)
        return False
    log.info("circuit %s is finished: read from %s (--overwrite computes it again)", name, folder.folder)
    return True


def _prediction(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    target = settings.get("target") or {}
    return settings.get("prompt_id"), *(target.get(key) for key in ("pos", "token_id", "foil_id"))


def _is_enough(key: str, stored: Any, wanted: Any) -> bool:
    """Whether a stored setting serves: heads and ablations that nobody asks for now are no reason to lose them."""
    if key in _MORE_IS_ENOUGH and isinstance(stored, int):
        return bool(stored >= wanted)
    return bool(stored == wanted)


def _write(run: Run, name: str, case: PreparedCase, settings: TraceSettings, progress: ProgressOf) -> None:
    """Trace a case and write its folder, the record last."""
    with open_folder(run, circuit_folder(name), TRACE) as writer:
        traced = trace_case(run, case, settings, progress)
        for stem, frame in circuit_tables(traced.graph).items():
            writer.table(stem, frame)
        stored, facts = case.settings(settings), _facts(case, traced)
        write_files(writer.files, run, Described(name, traced.graph, traced.groups, stored, facts))
        writer.finish(
            settings=stored, facts=facts, warnings=case.warnings,
            sources=[f"{RECORDS}/{RECORDS_META}"] if case.reference.name == RECORDS_REFERENCE else [],
        )  # fmt: skip


def _facts(case: PreparedCase, traced: Enriched) -> dict[str, Any]:
    facts: dict[str, Any] = strict({
        "prompt": traced.graph.prompt, "n_layers": traced.graph.n_layers, "target": target_record(case.resolved),
        "reference": case.reference.identity, "agreement": case.checked.agreement._asdict(), **traced.facts,
    })  # fmt: skip
    return facts
