"""What a command of stage 4 refuses before anything is read, computed or removed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuron_signatures.records.corpus.journal import flat_settings, has_journal
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.request import ChosenNeurons, RecordsRequest
from neuron_signatures.records.target_run import ModelPlan
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.records.meta import MAX_TOP_K
from neuron_signatures.runs.records.names import CORPUS_META, RECORDS
from neuron_signatures.runs.writer import refuse_differences

_TOKENS_AT_ONCE = 1 << 22


def refuse_impossible(request: RecordsRequest, plan: ModelPlan) -> None:
    """Raise `UsageError` for flags that do not fit the model, or a run without a corpus if none is given."""
    _refuse_neurons(request.sample.chosen, recorded_layers(request, plan), plan)
    if request.first.top_k > MAX_TOP_K:
        raise UsageError(f"{request.first.top_k} is more than {MAX_TOP_K}", where="--top_records")
    if request.corpus.source is not None:
        settings, context = corpus_settings(request, plan), plan.info.context
        if context is not None and settings.sequence_length > context:
            what = f"{settings.sequence_length} is more than the {context} positions of the model"
            raise UsageError(what, where="--sequence_length", next_step=f"Use at most {context}")
    elif not corpus_is_complete(request.run_dir):
        what, next_step = "this run has no corpus yet", "Give --corpus FILE, --corpus local, --corpus demo or --dataset"
        if has_journal(request.run_dir):
            what, next_step = "the corpus of this run is not finished", "Repeat its --corpus or --dataset and --resume"
        raise UsageError(what, where=str(request.run_dir), next_step=next_step)


def recorded_layers(request: RecordsRequest, plan: ModelPlan) -> tuple[int, ...]:
    """The layers of the first pass. Raises `UsageError` for one that the model or its directions do not have."""
    n = plan.info.layers
    layers = request.first.layers or plan.layers
    for layer in layers:
        if layer >= n:
            raise UsageError(f"there is no layer {layer}: the model has 0..{n - 1}", where="--layer_indices")
        if layer not in plan.layers:
            what = f"layer {layer} has no directions: layers {spans(plan.layers)} have"
            raise UsageError(what, where="--layer_indices")
    return layers


def corpus_settings(request: RecordsRequest, plan: ModelPlan) -> CorpusSettings:
    """The settings of the corpus, with the tokens of the model's tokenizer."""
    asked = request.corpus
    return replace(
        asked.settings,
        bos_token_id=plan.bos_token_id,
        concatenate=asked.concatenate,
        eos_token_id=plan.tokenizer.eos_token_id if asked.concatenate else None,
    )


def corpus_is_complete(run_dir: Path) -> bool:
    """Whether the run has a corpus and no newer one was begun."""
    return (run_dir / RECORDS / CORPUS_META).exists() and not has_journal(run_dir)


def refuse_other_corpus(meta: CorpusMeta, identity: dict[str, Any], path: Path) -> None:
    """Raise `UsageError` if the corpus of the run is not the one that the flags name."""
    found = meta.model_dump()
    found["parts"] = list(found["parts"].values())
    wanted = {k: v for k, v in json.loads(json.dumps(identity)).items() if k in found}
    refuse_differences(
        flat_settings({k: found[k] for k in wanted}), flat_settings(wanted), path / RECORDS,
        what="the run has another corpus",
        next_step="Leave --corpus away to use it, or make all records again with --overwrite",
    )  # fmt: skip


def refuse_unknown_tokens(corpus: Corpus, plan: ModelPlan, path: Path) -> None:
    """Raise `BadRunError` if a token of the corpus has no embedding in the model."""
    n, vocab = corpus.meta.n_tokens, plan.info.vocab
    starts = range(0, n, _TOKENS_AT_ONCE)
    largest = max(int(corpus.tokens_between(at, min(at + _TOKENS_AT_ONCE, n)).max()) for at in starts)
    largest = max(largest, corpus.meta.bos_token_id or 0 if corpus.meta.prepend_bos else 0)
    if largest >= vocab:
        what = f"the corpus has token {largest}, but the model has {vocab} embeddings: the tokenizer is not the model's"
        raise BadRunError(what, where=str(path), next_step="Use the tokenizer that belongs to the model")


def _refuse_neurons(chosen: ChosenNeurons, layers: tuple[int, ...], plan: ModelPlan) -> None:
    """Neurons that nobody named are not checked: those without records are left out later."""
    if not chosen.explicit:
        return
    n_layers, n_units = plan.info.layers, plan.n_units
    kind = "neuron" if plan.units is None else "direction"
    wanted = [*(chosen.neurons or ()), *((layers[0], n) for n in chosen.indices or ())]
    for layer, neuron in wanted:
        if layer >= n_layers or neuron >= n_units:
            where = f"{chosen.chosen_by}: L{layer}N{neuron}" if chosen.indices is None else f"--neuron_indices {neuron}"
            what = f"there is no such {kind}: the model has {n_layers} layers of {n_units} {kind}s"
            raise UsageError(what, where=where)
        if layer not in layers:
            what = "the layer of this neuron is not one of --layer_indices"
            raise UsageError(what, where=f"{chosen.chosen_by}: L{layer}N{neuron}", next_step="Add it there")
