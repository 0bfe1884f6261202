"""The pass over the chosen neurons, which keeps their activations."""

from __future__ import annotations

import logging

from neuron_signatures.models.provenance import device_name
from neuron_signatures.records.command import Command
from neuron_signatures.records.pass2.choose import (
    chosen_pairs,
    plan_second_pass,
    refuse_other_partial,
    stores,
    worst_difference,
)
from neuron_signatures.records.pass2.plan import SecondPlan
from neuron_signatures.records.pass2.run import SecondPass, arrays_of, fill_values
from neuron_signatures.records.pass2.storage import remove_partial_values
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.meta import RecordsMeta, SampleMeta
from neuron_signatures.runs.records.names import RECORDS, SAMPLE_META
from neuron_signatures.runs.records.stage_meta import read_meta
from neuron_signatures.runs.records.writing import write_chosen

log = logging.getLogger(__name__)


def keep_chosen_neurons(command: Command, corpus: Corpus, records: RecordsMeta) -> SampleMeta | None:
    """The second pass; None if no neurons were chosen, or they do not fit and nobody asked for them."""
    path, request = command.path, command.request.sample
    chosen = chosen_pairs(request.chosen, records)
    done = (path / RECORDS / SAMPLE_META).exists()
    if done and not request.chosen.explicit:
        refuse_other_partial(path)
        remove_partial_values(path)
        return read_meta(path, SAMPLE_META, SampleMeta)
    if not len(chosen):
        return None
    batch = command.request.first.batch_size or records.batch_size or command.batch_size(corpus)
    plan = plan_second_pass(path, corpus, chosen, request, batch)
    if plan.n_bytes > request.max_bytes and not request.chosen.explicit:
        log.warning(
            "no neuron is kept whole: %d neurons would take %s, --sample_size is %s; choose some with --neurons",
            len(chosen), human_bytes(plan.n_bytes), human_bytes(request.max_bytes),
        )  # fmt: skip
        return None
    if done and stores(path, plan):
        remove_partial_values(path)
        return read_meta(path, SAMPLE_META, SampleMeta)
    plan.refuse_too_large(request.max_bytes)
    _run(command, corpus, plan)
    return read_meta(path, SAMPLE_META, SampleMeta)


def _run(command: Command, corpus: Corpus, plan: SecondPlan) -> None:
    path, request, model = command.path, command.request.sample, command.model
    facts = {**command.facts(corpus), "sample_seed": request.seed}
    seconds = command.request.first.checkpoint_seconds
    work = SecondPass(path, model, command.backend, plan, facts, seconds, command.plan.units)
    values = fill_values(work, command.progress)
    try:
        sample, rows = arrays_of(plan, values)
        worst = worst_difference(path, plan, rows)
        meta = SampleMeta(
            **command.model_fields(corpus), device_name=device_name(model.device),
            attn_implementation=model.attn_implementation, n_neurons=len(plan.neurons),
            chosen_by=request.chosen.chosen_by, n_windows=len(plan.sample), sample_seed=request.seed,
            bytes=plan.n_bytes, n_rows=len(plan.rows.window), worst_difference=worst,
        )  # fmt: skip
        write_chosen(command.writer, sample, rows, meta)
    finally:
        values.close()
    remove_partial_values(path)
