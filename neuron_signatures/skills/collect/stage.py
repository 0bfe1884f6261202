"""`--mode collect` from request to files: texts, banks, the sample, the pass, the tables, the record."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.models.sites import SiteCapture
from neuron_signatures.records.request import NewRun
from neuron_signatures.records.target_run import ModelPlan, create_run, load_planned, plan_for_model, plan_for_run
from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import ResultsWriter, open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.meta import CollectMeta, read_meta
from neuron_signatures.runs.skills.names import SAMPLE, SKILLS, STAGE, part_name, record_name, rest_name
from neuron_signatures.runs.stopping import hold_stop
from neuron_signatures.runs.units import need_neurons
from neuron_signatures.skills.collect.banks import LoadedBank, PlannedBank, load_banks, plan_banks
from neuron_signatures.skills.collect.batches import default_batch_size, part_starts
from neuron_signatures.skills.collect.calibrate import Calibration, calibrate, draw_sample
from neuron_signatures.skills.collect.find_saes import FindSaes, find_saes
from neuron_signatures.skills.collect.finish import Speed, finish, stored_gates
from neuron_signatures.skills.collect.part import PassSettings, run_part
from neuron_signatures.skills.collect.request import CollectRequest
from neuron_signatures.skills.collect.summary import CollectSummary, gate_lines
from neuron_signatures.skills.collect.texts.choose import read_texts
from neuron_signatures.skills.collect.texts.tokenise import TokenisedTexts, tokenise
from neuron_signatures.skills.collect.unfinished import (
    UnfinishedFiles,
    read_unfinished,
    refuse_other_settings,
    refuse_stopped,
    remove_leftovers,
    unfinished_path,
)
from neuron_signatures.skills.collect.units.gate import MOST_FVU, Gate

log = logging.getLogger(__name__)

_RECORD = record_name("collect")
_STOP_SECONDS = 20.0


@dataclass(frozen=True, eq=False)
class _Command:
    """A command whose texts and banks are known; nothing is loaded or written yet."""

    request: CollectRequest
    run: Run
    plan: ModelPlan
    texts: TokenisedTexts
    planned: list[PlannedBank]
    progress: ProgressOf


class _Sampled(NamedTuple):
    """What the units do at the sample of tokens, and how long that took."""

    found: Calibration
    seconds: float


def collect(request: CollectRequest, progress: ProgressOf, find: FindSaes = find_saes) -> CollectSummary:
    """Carry out a command: whatever of it is not done yet. `find` finds the autoencoders that it names.

    Raises `UsageError` if the run holds the results of other settings, or of a stopped command, and neither `resume`
    nor `overwrite` is given, and for an autoencoder that reads the wrong tensor; and the errors of loading, reading and
    writing.
    """
    command = _prepare(request, find, progress)
    with command.run as run, open_results(run, SKILLS) as writer:
        return _carry_out(command, writer)


def read_request_texts(request: CollectRequest, plan: ModelPlan) -> TokenisedTexts:
    """The texts of a command as token ids."""
    asked = request.texts
    context = plan.info.context
    if context is not None and asked.max_length > context:
        what = f"{asked.max_length} is more than the {context} positions of the model"
        raise UsageError(what, where="--max_length", next_step=f"Use at most {context}")
    chosen = read_texts(asked.source, n_per_class=asked.n_per_class, classes=asked.classes, seed=request.seed)
    return tokenise(
        chosen, plan.tokenizer, bos_token_id=plan.bos_token_id, max_length=asked.max_length,
        skip_first=asked.skip_first, where=f"--texts {asked.source}",
    )  # fmt: skip


def plan_of(request: CollectRequest) -> tuple[Run | None, ModelPlan]:
    """The run, None if it is to be made, and its model."""
    target, bos = request.target, request.texts.bos
    if isinstance(target, NewRun):
        if not Run.is_complete(target.out_dir):
            return None, plan_for_model(target.model, bos)
        if not (request.overwrite or request.resume):
            what = "holds a run already"
            raise UsageError(what, where=str(target.out_dir), next_step="Give it as --run_dir, or --resume")
        overrides = ModelOverrides.of(target.model)
    else:
        overrides = target.overrides
    run = Run.open(request.run_dir)
    need_neurons(run, "--mode collect")
    return run, plan_for_run(run, overrides, bos)


def _prepare(request: CollectRequest, find: FindSaes, progress: ProgressOf) -> _Command:
    """What can be refused is refused before a run is made and weights are loaded."""
    run, plan = plan_of(request)
    planned = plan_banks(request.banks, plan.info, find(request, plan))
    texts = read_request_texts(request, plan)
    if run is None:
        run = create_run(request.run_dir, plan, request.flags_given, stage=STAGE)
        assert run is not None  # only None for shared runs
    return _Command(request, run, plan, texts, planned, progress)


def _carry_out(command: _Command, writer: ResultsWriter) -> CollectSummary:
    request, run_dir = command.request, command.run.path
    finished = inside(run_dir, f"{SKILLS}/{_RECORD}").is_file()
    stopped = None if request.overwrite else read_unfinished(run_dir)
    if stopped is not None and not finished and not request.resume:
        refuse_stopped(run_dir)
    model = load_planned(command.run, command.plan)
    banks = load_banks(command.planned, model)
    settings = _settings(command, model, banks)
    if finished and not request.overwrite:
        meta = read_meta(run_dir, "collect", CollectMeta)
        where = run_dir / SKILLS
        refuse_other_settings(meta.settings, settings, where, what="other texts or units were collected")
        remove_leftovers(run_dir, n_parts=meta.n_parts)  # of a process that was killed at its end
        return CollectSummary(str(run_dir), meta, stored_gates(run_dir), None, ())
    if stopped is not None:
        path = unfinished_path(run_dir)
        refuse_other_settings(stopped.settings, settings, path, what="was begun with other settings")
    with SiteCapture(model.hf, list(dict.fromkeys(bank.place for bank in banks))) as capture:
        # an autoencoder that is refused here costs nothing that the run has
        sampled = _sampled(command, model, capture, banks) if stopped is None else None
        writer.begin(_RECORD)
        if stopped is None:
            remove_leftovers(run_dir)
        files = UnfinishedFiles(run_dir, settings, stopped)
        work = _calibrated(command, model, capture, banks, files, sampled)
        starts = part_starts(command.texts, [bank.bank for bank in banks], request.top_k)
        speed = _run_parts(work, starts, files, command.progress)
    return finish(command.run, writer, work, starts, files, settings, speed, request)


def _settings(command: _Command, model: LoadedModel, banks: Sequence[LoadedBank]) -> dict[str, Any]:
    """What decides the results: the same settings give the same bits on one machine."""
    request, asked = command.request, command.request.texts
    return {
        "texts": asked.source, "texts_sha256": command.texts.sha256(), "max_length": asked.max_length,
        "first_pos": command.texts.first_pos, "prepend_bos": command.plan.prepend_bos, "top_k": request.top_k,
        "quantile": request.quantile, "sample_tokens": request.sample_tokens, "seed": request.seed,
        "batch_size": _batch_size(request, model), "model_dtype": model.spec.dtype, "device": model.device.type,
        "attention": model.attn_implementation,
        # weights are known by their checksum, wherever they are
        "banks": {b.bank.key: f"{b.bank.n_units} of {(b.sha256 or '')[:16] or b.origin}" for b in banks},
    }  # fmt: skip


def _batch_size(request: CollectRequest, model: LoadedModel) -> int:
    return request.batch_size or default_batch_size(model.device.type)


def _sampled(command: _Command, model: LoadedModel, capture: SiteCapture, banks: Sequence[LoadedBank]) -> _Sampled:
    """What the units do at the sample of tokens. Writes nothing.

    Raises `UsageError` if an autoencoder explains less than the mean does, unless the command is to go on.
    """
    request, texts, start = command.request, command.texts, time.monotonic()
    sample = draw_sample(texts, request.sample_tokens, request.seed)
    found = calibrate(
        model, capture, banks, texts, sample, quantile=request.quantile, batch_size=_batch_size(request, model),
        progress=command.progress,
    )  # fmt: skip
    for line in gate_lines(found.gates):
        log.info("%s", line.replace("gate ", "sample", 1))
    _refuse_failed(banks, found.gates, force=request.force)
    return _Sampled(found, time.monotonic() - start)


def _calibrated(
    command: _Command, model: LoadedModel, capture: SiteCapture, banks: Sequence[LoadedBank], files: UnfinishedFiles,
    sampled: _Sampled | None,
) -> PassSettings:  # fmt: skip
    """The settings of the pass, after the sample has been stored, if it has not been before. Raises as `_sampled`."""
    request, texts = command.request, command.texts
    batch_size = _batch_size(request, model)
    if not files.has(SAMPLE, rest_name(0)):
        found, seconds = sampled or _sampled(command, model, capture, banks)
        files.write(SAMPLE, found.arrays)
        files.write(rest_name(0), found.means)
        files.seconds += seconds
        files.save()
    with ArrayFile(inside(command.run.path, f"{SKILLS}/{rest_name(0)}")) as means:
        shifts = {bank.bank.key: means.read(bank.bank.key) for bank in banks if bank.encoder is not None}
    return PassSettings(model, capture, banks, texts, request.top_k, batch_size, shifts)


def _refuse_failed(banks: Sequence[LoadedBank], gates: dict[str, Gate], *, force: bool) -> None:
    failed = [b for b in banks if (gate := gates.get(b.bank.key)) is not None and not gate.passed]
    if not failed:
        return
    first = failed[0]
    fvu = gates[first.bank.key].fvu
    share = "an undefined share" if fvu is None else f"{fvu:.2f}"
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    what = (
        f"leaves {share} of the variance of {first.bank.site} of layer {first.bank.layer} unexplained, more than "
        f"{MOST_FVU:.0f}: it was trained on another tensor or model{more}"
    )
    if not force:
        step = "Check the autoencoder and the model, leave it out with --sites or --layers, or give --force"
        raise UsageError(what, where=f"autoencoder {first.name}", next_step=step)
    log.warning("autoencoder %s %s", first.name, what)


def _run_parts(work: PassSettings, starts: Sequence[int], files: UnfinishedFiles, progress: ProgressOf) -> Speed:
    counts, n_tokens = work.texts.n_counted, 0
    began = time.monotonic()
    with progress("tokens", int(counts.sum())) as bar, hold_stop(_STOP_SECONDS) as stop:
        for number in range(1, len(starts)):
            first, last = starts[number - 1], starts[number]
            if files.has(part_name(number), rest_name(number)):
                bar.skip(int(counts[first:last].sum()))
                continue
            start = time.monotonic()
            part = run_part(work, first, last, bar)
            with stop.saving():
                files.write(part_name(number), part.sums)
                files.write(rest_name(number), part.rest)
                files.seconds += time.monotonic() - start
                files.save()
            n_tokens += int(counts[first:last].sum())
            if stop.wanted:
                break
    return Speed(n_tokens, time.monotonic() - began)
