"""Stage 4 from flags to files: the corpus, the pass over all neurons, the pass over the chosen ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.provenance import device_name
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.records.checks import (
    corpus_is_complete,
    corpus_settings,
    recorded_layers,
    refuse_impossible,
    refuse_other_corpus,
    refuse_unknown_tokens,
)
from neuron_signatures.records.corpus.index import build_corpus, corpus_identity
from neuron_signatures.records.corpus.journal import has_journal, remove_journal
from neuron_signatures.records.pass1.finish import merge_states
from neuron_signatures.records.pass1.plan import default_batch_size
from neuron_signatures.records.pass1.run import FirstPass, PassSettings, run_first_pass
from neuron_signatures.records.pass1.shards import finished_shards, refuse_other_split, remove_states, state_files
from neuron_signatures.records.pass1.state import Header
from neuron_signatures.records.pass2.choose import (
    chosen_pairs,
    plan_second_pass,
    refuse_other_partial,
    stores,
    worst_difference,
)
from neuron_signatures.records.pass2.run import SecondPass, arrays_of, fill_values
from neuron_signatures.records.pass2.storage import has_partial_values, remove_partial_values
from neuron_signatures.records.request import ExistingRun, NewRun, RecordsRequest
from neuron_signatures.records.summary import RecordsSummary
from neuron_signatures.records.target_run import (
    STAGE,
    ModelPlan,
    create_run,
    load_planned,
    plan_for_model,
    plan_for_run,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.manifest import EARLIER_BACKEND, Backend
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta, corpus_digest
from neuron_signatures.runs.records.names import CORPUS_META, RECORDS, RECORDS_META, SAMPLE_META
from neuron_signatures.runs.records.stage_meta import read_meta
from neuron_signatures.runs.records.writing import write_all_neurons, write_chosen
from neuron_signatures.runs.results import ResultsWriter, open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.runs.writer import refuse_differences

log = logging.getLogger(__name__)

DEFAULT_TOP_K = 100


def extract_records(request: RecordsRequest, progress: ProgressOf) -> RecordsSummary:
    """Carry out a command: whatever of it is not done yet.

    Raises `UsageError` if the run holds records of another corpus or of other settings, or a stopped extraction, and
    neither `resume` nor `overwrite` is given; and the errors of loading, reading and writing.
    """
    run, plan = _target(request)
    with run, open_results(run, RECORDS) as writer:
        stage = _Stage(request, run, plan, writer, progress)
        stage.begin()
        meta = stage.corpus()
        with Corpus.open(run.path) as corpus:
            records = stage.all_neurons(corpus)
            if records is None:
                return stage.summary(meta, None, None)
            sample = stage.chosen_neurons(corpus, records)
    return stage.summary(meta, records, sample)


def _target(request: RecordsRequest) -> tuple[Run, ModelPlan]:
    """The run and its model; a new run is created. Flags that do not fit are refused before that."""
    target = request.target
    if isinstance(target, NewRun) and not Run.is_complete(target.out_dir):
        plan = plan_for_model(target.model, request.corpus.bos)
        refuse_impossible(request, plan)
        resolved = {"model_revision": target.model.revision, "quantization": target.model.quantization}
        return create_run(target.out_dir, plan, request.flags_given, resolved), plan
    if isinstance(target, ExistingRun):
        overrides = target.overrides
    else:
        if not (request.resume or request.overwrite):
            what = "holds a run already"
            raise UsageError(what, where=str(target.out_dir), next_step="Give it as --run_dir, or --resume")
        overrides = ModelOverrides.of(target.model)
    run = Run.open(request.run_dir)
    plan = plan_for_run(run, overrides, request.corpus.bos)
    refuse_impossible(request, plan)
    return run, plan


@dataclass
class _Stage:
    """The steps of one command on a locked run. The model is loaded when it is first needed."""

    request: RecordsRequest
    run: Run
    plan: ModelPlan
    writer: ResultsWriter
    progress: ProgressOf
    _model: LoadedModel | None = None

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def backend(self) -> Backend:
        return self.run.manifest.backend or EARLIER_BACKEND

    @property
    def model(self) -> LoadedModel:
        if self._model is None:
            self._model = load_planned(self.run, self.plan)
        return self._model

    def begin(self) -> None:
        """With `overwrite`, remove what is there; without `resume`, refuse to go on with a stopped extraction.

        A corpus that is there stays until a new one has been read: only then its records become invalid.
        """
        if self.request.overwrite:
            if self.request.corpus.source is None:
                self.writer.begin(RECORDS_META, companions=(SAMPLE_META,))
            remove_journal(self.path)
            remove_states(self.path)
            remove_partial_values(self.path)
        first = self.request.first
        refuse_other_split(self.path, None if first.merge else first.shard.of)
        sharded = first.merge or first.shard.of > 1
        stopped = has_journal(self.path) or has_partial_values(self.path) or (state_files(self.path) and not sharded)
        if stopped and not self.request.resume:
            next_step = "Give --resume to continue it, or --overwrite to start anew"
            raise UsageError("an extraction was stopped here", where=str(self.path / RECORDS), next_step=next_step)

    def corpus(self) -> CorpusMeta:
        """The corpus of the run, read if there is none."""
        source, settings = self.request.corpus.source, corpus_settings(self.request, self.plan)
        again = self.request.overwrite and source is not None
        if corpus_is_complete(self.path) and not again:
            meta = read_meta(self.path, CORPUS_META, CorpusMeta)
            if source is not None:
                refuse_other_corpus(meta, corpus_identity(source, settings, self.plan.tokenizer), self.path)
            return meta
        assert source is not None  # `refuse_impossible`
        with self.progress("tokens read", settings.max_tokens or 0) as bar:
            counted = 0

            def advance(documents: int, tokens: int) -> None:
                nonlocal counted
                bar.advance(tokens - counted)
                counted = tokens

            return build_corpus(
                source, settings, self.plan.tokenizer, self.writer, resume=self.request.resume, progress=advance
            )

    def all_neurons(self, corpus: Corpus) -> RecordsMeta | None:
        """The records of all neurons; None after a shard, whose merge is another command."""
        first = self.request.first
        if (self.path / RECORDS / RECORDS_META).exists():
            meta = read_meta(self.path, RECORDS_META, RecordsMeta)
            self._refuse_other_records(meta)
            remove_states(self.path)  # which a killed process left after writing the records
            return meta
        if not first.merge:
            refuse_unknown_tokens(corpus, self.plan, self.path)
            run_first_pass(self._first_pass(corpus), self.progress)
            if first.shard.of > 1:
                return None
        shards = finished_shards(self.path)
        meta = self._write_all_neurons(corpus, shards)
        remove_states(self.path)
        return meta

    def _first_pass(self, corpus: Corpus) -> FirstPass:
        first = self.request.first
        batch = first.batch_size or self._batch_size(corpus)
        settings = PassSettings(recorded_layers(self.request, self.plan), first.top_k, batch)
        return FirstPass(
            self.path, self.model, self.backend, corpus, settings, self._facts(corpus), first.shard,
            first.checkpoint_seconds,
        )  # fmt: skip

    def _batch_size(self, corpus: Corpus) -> int:
        return default_batch_size(self.model.device.type, corpus.meta.sequence_length)

    def _facts(self, corpus: Corpus) -> dict[str, Any]:
        """What identifies the model and the corpus of a pass."""
        identity, spec = self.plan.identity, self.plan.spec
        return {
            "model_revision": identity.revision,
            "weights_fingerprint": identity.weights_fingerprint,
            "quantization": identity.quantization,
            "model_dtype": spec.dtype,
            "backend": self.backend,
            "corpus_sha256": corpus_digest(corpus.meta),
        }

    def _model_fields(self, corpus: Corpus) -> dict[str, Any]:
        """The fields that both stage records have."""
        m = self.run.manifest
        return {
            "stage": STAGE, "created_at_utc": now_utc(), "model_name": m.model_name,
            "model_revision": m.model_revision, "weights_fingerprint": m.weights_fingerprint,
            "model_dtype": self.plan.spec.dtype, "corpus_sha256": corpus_digest(corpus.meta),
        }  # fmt: skip

    def _device_fields(self) -> dict[str, Any]:
        model = self.model
        return {"device_name": device_name(model.device), "attn_implementation": model.attn_implementation}

    def _write_all_neurons(self, corpus: Corpus, shards: list[tuple[str, Header]]) -> RecordsMeta:
        header = shards[0][1]
        now = self._facts(corpus)
        refuse_differences(
            {k: header.settings.get(k) for k in now}, now, self.path / RECORDS,
            what="the shards are of another model or corpus", next_step="Give the model of the shards",
        )  # fmt: skip
        layers = [int(layer) for layer in header.settings["layers"]]
        found = merge_states(self.path, [name for name, _ in shards], layers, corpus)
        states = found.table["state"].value_counts()
        seconds = sum(h.seconds for _, h in shards)
        n_tokens = sum(h.n_tokens for _, h in shards)
        meta = RecordsMeta(
            **self._model_fields(corpus), **self._device_fields(), layers=layers, n_layers=self.plan.info.layers,
            d_mlp=self.plan.info.d_mlp, top_k=header.settings["top_k"], batch_size=header.settings["batch_size"],
            left_out=found.left_out, n_shards=len(shards), wall_seconds=round(seconds, 3),
            tokens_per_second=round(n_tokens / seconds, 1) if seconds else None, n_dead=int(states.get("dead", 0)),
            n_nearly_dead=int(states.get("nearly dead", 0)), n_first_position=found.n_first_position,
        )  # fmt: skip
        write_all_neurons(self.writer, found.strongest, found.moments, found.histograms, found.table, meta)
        return read_meta(self.path, RECORDS_META, RecordsMeta)

    def _refuse_other_records(self, meta: RecordsMeta) -> None:
        """Flags that ask for other records than there are need --overwrite."""
        first = self.request.first
        asked: dict[str, Any] = {"layers": first.layers and list(first.layers), "batch_size": first.batch_size,
                 "model_dtype": self.plan.spec.dtype,
                 "top_k": first.top_k if first.top_k != DEFAULT_TOP_K else None}  # fmt: skip
        asked = {key: value for key, value in asked.items() if value is not None}
        refuse_differences(
            {key: getattr(meta, key) for key in asked}, asked, self.path,
            what="the run has records with other settings", next_step="Use --overwrite to make them again",
        )  # fmt: skip

    def chosen_neurons(self, corpus: Corpus, records: RecordsMeta) -> SampleMeta | None:
        """The second pass; None if no neurons were chosen, or they do not fit and nobody asked for them."""
        request = self.request.sample
        chosen = chosen_pairs(request.chosen, records)
        done = (self.path / RECORDS / SAMPLE_META).exists()
        if done and not request.chosen.explicit:
            refuse_other_partial(self.path)
            remove_partial_values(self.path)
            return read_meta(self.path, SAMPLE_META, SampleMeta)
        if not len(chosen):
            return None
        plan = plan_second_pass(self.path, corpus, chosen, request, self._second_batch(corpus, records))
        if plan.n_bytes > request.max_bytes and not request.chosen.explicit:
            log.warning(
                "no neuron is kept whole: %d neurons would take %s, --sample_size is %s; choose some with --neurons",
                len(chosen), human_bytes(plan.n_bytes), human_bytes(request.max_bytes),
            )  # fmt: skip
            return None
        if done and stores(self.path, plan):
            remove_partial_values(self.path)
            return read_meta(self.path, SAMPLE_META, SampleMeta)
        plan.refuse_too_large(request.max_bytes)
        facts = {**self._facts(corpus), "sample_seed": request.seed}
        work = SecondPass(self.path, self.model, self.backend, plan, facts, self.request.first.checkpoint_seconds)
        values = fill_values(work, self.progress)
        try:
            sample, rows = arrays_of(plan, values)
            worst = worst_difference(self.path, plan, rows)
            meta = SampleMeta(
                **self._model_fields(corpus), **self._device_fields(), n_neurons=len(chosen),
                chosen_by=request.chosen.chosen_by, n_windows=len(plan.sample), sample_seed=request.seed,
                bytes=plan.n_bytes, n_rows=len(plan.rows.window), worst_difference=worst,
            )  # fmt: skip
            write_chosen(self.writer, sample, rows, meta)
        finally:
            values.close()
        remove_partial_values(self.path)
        return read_meta(self.path, SAMPLE_META, SampleMeta)

    def _second_batch(self, corpus: Corpus, records: RecordsMeta) -> int:
        return self.request.first.batch_size or records.batch_size or self._batch_size(corpus)

    def summary(self, corpus: CorpusMeta, records: RecordsMeta | None, sample: SampleMeta | None) -> RecordsSummary:
        return RecordsSummary(str(self.path), corpus, records, sample, self.request.first.shard)
