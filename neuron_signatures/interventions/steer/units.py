"""What the amount 1 is: a neuron's standard deviation (over the run, or a corpus), or the residual stream's norm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from neuron_signatures.analysis.attribution.corpus_moments import corpus_moments
from neuron_signatures.interventions.steer.request import RecordsStds, SteeredNeuron
from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.capture import backbone, decoder_layers
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run

FEW_TOKENS = 64


def neuron_stds(run: Run, neurons: Sequence[SteeredNeuron]) -> list[float]:
    """The standard deviation of each neuron's stored activations over all tokens but the first of each prompt.

    Only finite values count. Raises `UsageError` for a layer that the run does not store, and for a neuron that does
    not vary.
    """
    layers = sorted({n.layer for n in neurons})
    if missing := [layer for layer in layers if layer not in run.layers]:
        what = f"the run does not store layer {missing[0]}, so the neurons' standard deviations are unknown"
        raise UsageError(what, where=str(run.path), next_step="Use --unit 1, or a run with this layer")
    values: list[list[np.ndarray]] = [[] for _ in neurons]
    for prompt in run.prompts:
        for layer in layers:
            acts = run.acts(prompt, layer=layer)[1:]
            for kept, n in zip(values, neurons, strict=True):
                if n.layer == layer:
                    kept.append(np.asarray(acts[:, n.neuron], dtype=np.float64))
    return [_std(np.concatenate(kept), n) for kept, n in zip(values, neurons, strict=True)]


def records_stds(run: Run, neurons: Sequence[SteeredNeuron]) -> RecordsStds:
    """The standard deviation of each neuron over the corpus that the run has records of.

    Raises as `corpus_moments`, and `UsageError` for a neuron that does not vary.
    """
    layers = sorted({n.layer for n in neurons})
    found = corpus_moments(run, layers)
    stds = tuple(float(found.std[layers.index(n.layer), n.neuron]) for n in neurons)
    for n, std in zip(neurons, stds, strict=True):
        if not std > 0:
            raise _constant(n, found.source.text(found.n_tokens))
    return RecordsStds(stds, found.n_tokens, found.source)


def _std(values: np.ndarray, n: SteeredNeuron) -> float:
    finite = values[np.isfinite(values)]
    std = float(finite.std()) if len(finite) > 1 else 0.0
    if not std > 0:
        raise _constant(n, f"{len(finite)} tokens of the run")
    return std


def _constant(n: SteeredNeuron, tokens: str) -> UsageError:
    what = f"its activation does not vary over {tokens}, so it has no standard deviation"
    return UsageError(what, where=f"neuron L{n.layer}N{n.neuron}", next_step="Use --unit 1, or more tokens")


@torch.no_grad()
def residual_norm(model: LoadedModel, token_ids: Sequence[int], layer: int) -> float:
    """Mean norm of the residual stream at the layer's output, over the prompt's positions but the first.

    In a prompt of one token, that of the first.
    """
    seen: list[Tensor] = []
    handle = decoder_layers(model.hf)[layer].register_forward_hook(lambda _, __, out: seen.append(out))
    try:
        with memory_faults(work_on(model.hf, "the forward pass for the norm of the residual stream", token_ids)):
            ids = torch.tensor([list(token_ids)], device=model.device)
            backbone(model.hf)(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    norms = seen[0][0].float().norm(dim=-1)
    return float((norms[1:] if len(norms) > 1 else norms).mean())
