"""The pass over all neurons: running it or a shard of it, and making the records from its states."""

from __future__ import annotations

from typing import Any

from neuron_signatures.records.checks import recorded_layers, refuse_unknown_tokens
from neuron_signatures.records.command import Command
from neuron_signatures.records.corpus.blocks import blocks, shard_blocks
from neuron_signatures.records.pass1.finish import merge_states
from neuron_signatures.records.pass1.run import FirstPass, PassSettings, run_first_pass
from neuron_signatures.records.pass1.shards import finished_shards, is_finished, refuse_other_blocks, remove_states
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.meta import RecordsMeta
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.runs.records.stage_meta import read_meta
from neuron_signatures.runs.records.writing import write_all_neurons
from neuron_signatures.runs.sharding.shard import WHOLE
from neuron_signatures.runs.writer import refuse_differences

DEFAULT_TOP_K = 100


def finished_records(command: Command) -> RecordsMeta | None:
    """The record of all neurons, if the run has it. Raises `UsageError` if it has other settings than the command."""
    if not (command.path / RECORDS / RECORDS_META).exists():
        return None
    meta = read_meta(command.path, RECORDS_META, RecordsMeta)
    _refuse_other_records(command, meta)
    return meta


def run_all_neurons(command: Command, corpus: Corpus) -> None:
    """Run the pass, or what is left of it: the shard that the command names, else all blocks."""
    refuse_unknown_tokens(corpus, command.plan, command.path)
    first, facts = command.request.first, command.facts(corpus)
    shard = first.shard or WHOLE
    batch = first.batch_size or command.batch_size(corpus)
    settings = PassSettings(recorded_layers(command.request, command.plan), first.top_k, batch)
    own = shard_blocks(corpus, blocks(corpus, batch), shard)
    if is_finished(command.path, shard, own, {**facts, **settings.record()}):
        return
    model = command.model
    work = FirstPass(
        command.path, model, command.backend, corpus, settings, facts, shard, first.checkpoint_seconds,
        command.plan.units,
    )  # fmt: skip
    run_first_pass(work, command.progress)


def write_records(command: Command, corpus: Corpus) -> RecordsMeta:
    """Make the records from the states of all shards. Needs no weights of the model.

    Raises `UsageError` if shards are missing or unfinished, or do not belong to the command's model.
    """
    shards = finished_shards(command.path)
    headers = [shard.header for shard in shards]
    settings = headers[0].settings
    facts = command.facts(corpus)
    refuse_differences(
        {k: settings.get(k) for k in facts}, facts, command.path / RECORDS,
        what="the shards are of another model or corpus", next_step="Give the model of the shards",
    )  # fmt: skip
    refuse_other_blocks(command.path, shards, corpus)
    layers = [int(layer) for layer in settings["layers"]]
    found = merge_states(command.path, [shard.name for shard in shards], layers, corpus)
    states = found.table["state"].value_counts()
    seconds, n_tokens = sum(h.seconds for h in headers), sum(h.n_tokens for h in headers)
    devices, attention = ([name for h in headers for name in getattr(h, of)] for of in ("devices", "attention"))
    info = command.plan.info
    meta = RecordsMeta(
        **command.model_fields(corpus), device_name=", ".join(dict.fromkeys(devices)),
        attn_implementation=", ".join(dict.fromkeys(attention)), layers=layers, n_layers=info.layers,
        d_mlp=command.plan.n_units,
        top_k=settings["top_k"], batch_size=settings["batch_size"], left_out=found.left_out, n_shards=len(shards),
        wall_seconds=round(seconds, 3), tokens_per_second=round(n_tokens / seconds, 1) if seconds else None,
        n_dead=int(states.get("dead", 0)), n_nearly_dead=int(states.get("nearly dead", 0)),
        n_first_position=found.n_first_position,
    )  # fmt: skip
    write_all_neurons(command.writer, found.strongest, found.moments, found.histograms, found.table, meta)
    remove_states(command.path)
    return read_meta(command.path, RECORDS_META, RecordsMeta)


def _refuse_other_records(command: Command, meta: RecordsMeta) -> None:
    """Flags that ask for other records than there are need --overwrite."""
    first = command.request.first
    asked: dict[str, Any] = {"layers": first.layers and list(first.layers), "batch_size": first.batch_size,
             "model_dtype": command.plan.spec.dtype,
             "top_k": first.top_k if first.top_k != DEFAULT_TOP_K else None}  # fmt: skip
    asked = {key: value for key, value in asked.items() if value is not None}
    refuse_differences(
        {key: getattr(meta, key) for key in asked}, asked, command.path,
        what="the run has records with other settings", next_step="Use --overwrite to make them again",
    )  # fmt: skip
