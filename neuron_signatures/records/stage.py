"""Stage 4 from flags to files: the corpus, the pass over all neurons, the pass over the chosen ones."""

from __future__ import annotations

import contextlib
from pathlib import Path

from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.records.all_neurons import finished_records, run_all_neurons, write_records
from neuron_signatures.records.checks import (
    corpus_is_complete,
    corpus_settings,
    refuse_impossible,
    refuse_other_corpus,
)
from neuron_signatures.records.chosen_neurons import keep_chosen_neurons
from neuron_signatures.records.command import Command
from neuron_signatures.records.corpus.index import build_corpus, corpus_identity
from neuron_signatures.records.corpus.journal import has_journal, remove_journal
from neuron_signatures.records.pass1.shards import remove_states
from neuron_signatures.records.pass1.state import PASS1, state_files
from neuron_signatures.records.pass2.storage import has_partial_values, remove_partial_values
from neuron_signatures.records.request import ExistingRun, NewRun, RecordsRequest
from neuron_signatures.records.summary import RecordsSummary
from neuron_signatures.records.target_run import ModelPlan, create_run, plan_for_model, plan_for_run
from neuron_signatures.records.units import refuse_other_units
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta
from neuron_signatures.runs.records.names import CORPUS_META, RECORDS, RECORDS_META, SAMPLE_META
from neuron_signatures.runs.records.stage_meta import read_meta
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.sharding.locks import refuse_running_shards, shard_lock
from neuron_signatures.runs.sharding.shard import WHOLE


def extract_records(request: RecordsRequest, progress: ProgressOf) -> RecordsSummary:
    """Carry out a command: whatever of it is not done yet.

    Raises `UsageError` if the run holds records of another corpus or of other settings, or a stopped extraction, and
    neither `resume` nor `overwrite` is given; and the errors of loading, reading and writing.
    """
    run, plan = _target(request)
    with run:
        if request.first.shard is not None:
            return _extract_shard(request, run, plan, progress)
        with open_results(run, RECORDS) as writer:
            refuse_running_shards(run.path, PASS1)
            command = Command(request, run, plan, writer, progress)
            _begin(command)
            meta = _corpus(command)
            if request.index_only:
                return RecordsSummary(str(run.path), meta, *_stored(run.path))
            with Corpus.open(run.path) as corpus:
                records = _all_neurons(command, corpus)
                sample = keep_chosen_neurons(command, corpus, records)
    return RecordsSummary(str(run.path), meta, records, sample)


def _extract_shard(request: RecordsRequest, run: Run, plan: ModelPlan, progress: ProgressOf) -> RecordsSummary:
    """One shard of the pass over all neurons, beside others: the lock of the run is held only at its beginning.

    The first shard reads the corpus, for which others wait. Nothing is done if the run has the records.
    """
    shard = request.first.shard
    assert shard is not None
    with contextlib.ExitStack() as lock:
        with open_results(run, RECORDS, wait=True) as writer:
            command = Command(request, run, plan, writer, progress)
            _begin(command)
            meta = _corpus(command)
            records = finished_records(command)
            if records is not None:
                return RecordsSummary(str(run.path), meta, records, shard=shard)
            lock.enter_context(shard_lock(run.path, PASS1, shard))
        with Corpus.open(run.path) as corpus:
            run_all_neurons(command, corpus)
    return RecordsSummary(str(run.path), meta, shard=shard)


def _target(request: RecordsRequest) -> tuple[Run, ModelPlan]:
    """The run and its model; a new run is created. Flags that do not fit are refused before that."""
    target, first = request.target, request.first
    if isinstance(target, NewRun) and not Run.is_complete(target.out_dir):
        if first.merge:
            raise UsageError(
                "there is no run", where=str(target.out_dir), next_step="Run the shards first: --shard i/n"
            )
        plan = plan_for_model(target.model, request.corpus.bos, target.directions)
        refuse_impossible(request, plan)
        run = create_run(target.out_dir, plan, request.flags_given, shared=first.shard is not None)
        if run is not None:
            return run, plan
    if isinstance(target, ExistingRun):
        overrides = target.overrides
    else:
        if not (request.overwrite or request.goes_on):
            what = "holds a run already"
            raise UsageError(what, where=str(target.out_dir), next_step="Give it as --run_dir, or --resume")
        overrides = ModelOverrides.of(target.model)
    run = Run.open(request.run_dir)
    if isinstance(target, NewRun):
        refuse_other_units(run, target.directions)
    plan = plan_for_run(run, overrides, request.corpus.bos)
    refuse_impossible(request, plan)
    return run, plan


def _begin(command: Command) -> None:
    """With `overwrite`, remove what is there; refuse to go on with a stopped extraction unless the command resumes.

    A corpus that is there stays until a new one has been read: only then its records become invalid.
    """
    request, path = command.request, command.path
    if request.overwrite:
        if request.corpus.source is None:
            command.writer.begin(RECORDS_META, companions=(SAMPLE_META,))
        remove_journal(path)
        remove_states(path)
        remove_partial_values(path)
    states = state_files(path)
    if not (request.first.merge or request.index_only):
        states.refuse_other_split((request.first.shard or WHOLE).of)
    if (has_journal(path) or has_partial_values(path) or states.stored()) and not request.goes_on:
        next_step = "Give --resume to continue it, or --overwrite to start anew"
        raise UsageError("an extraction was stopped here", where=str(path / RECORDS), next_step=next_step)


def _corpus(command: Command) -> CorpusMeta:
    """The corpus of the run, read if there is none."""
    request, path, tokenizer = command.request, command.path, command.plan.tokenizer
    source, settings = request.corpus.source, corpus_settings(request, command.plan)
    again = request.overwrite and source is not None
    if corpus_is_complete(path) and not again:
        meta = read_meta(path, CORPUS_META, CorpusMeta)
        if source is not None:
            refuse_other_corpus(meta, corpus_identity(source, settings, tokenizer), path)
        return meta
    if request.first.merge:
        next_step = "Run the shards first: --shard i/n"
        raise UsageError("the corpus of this run is not finished", where=str(path / RECORDS), next_step=next_step)
    assert source is not None  # `refuse_impossible`
    with command.progress("tokens read", settings.max_tokens or 0) as bar:
        counted = 0

        def advance(documents: int, tokens: int) -> None:
            nonlocal counted
            bar.advance(tokens - counted)
            counted = tokens

        return build_corpus(source, settings, tokenizer, command.writer, resume=request.goes_on, progress=advance)


def _stored(path: Path) -> tuple[RecordsMeta | None, SampleMeta | None]:
    """The records that the run has."""
    folder = path / RECORDS
    records = read_meta(path, RECORDS_META, RecordsMeta) if (folder / RECORDS_META).exists() else None
    return records, read_meta(path, SAMPLE_META, SampleMeta) if (folder / SAMPLE_META).exists() else None


def _all_neurons(command: Command, corpus: Corpus) -> RecordsMeta:
    """The records of all neurons: those that the run has, or from the pass, or with `merge` from its shards."""
    found = finished_records(command)
    if found is not None:
        remove_states(command.path)  # which a killed process left after writing the records
        return found
    if not command.request.first.merge:
        run_all_neurons(command, corpus)
    return write_records(command, corpus)
