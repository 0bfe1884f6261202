"""Query neurons: which neurons of earlier layers drive the value neurons (arXiv 2312.12141).

    Q_u = a_u · Σ_k Imp_k · n_l(k)(v_u)·key_k,   k over the value neurons in layers after that of u

k are the neurons with the largest |Imp|, the log-probability increase (`prob_increase`); v_u is what u writes into the
residual stream; n_l is the norm before the MLP of layer l, with its scale of this forward pass. The subkey of k is

    key_k = ∂|a_k - ā_k| / ∂n

at this forward pass, n being the input of the MLP: the direction in which its activation moves away from the reference.
For a neuron act(W_in[k]·n + b), as in the paper, it is act'(..)·W_in[k] with that sign; for act(gate)·up it is the sum
of act'(gate)·up·W_gate[k] and act(gate)·W_up[k]. So Q_u is positive where u strengthens value neurons that raise the
log probability, or weakens those that lower it. Its unit is nats times activation: an order, not an effect.

Both neurons are at the target position. The paths through attention, from earlier positions, are not followed.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.estimators.memory import with_memory_faults
from neuron_signatures.analysis.attribution.estimators.prob_increase import writes_of
from neuron_signatures.analysis.attribution.metrics import Attribution, attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.models.capture import backbone, decoder_layers, output_projections
from neuron_signatures.models.norms import measure_norm
from neuron_signatures.models.relevance import constant_scale
from neuron_signatures.models.residual import attention, layer_norms, trace_residual
from neuron_signatures.models.weights import at_least_float32


class ValueNeurons(NamedTuple):
    """Value neurons at the target position: rows (layer, neuron), their log-probability increases, and whether each
    activation is above its reference (1), below (-1) or equal (0)."""

    neurons: Int[Tensor, "value 2"]
    increases: Float[Tensor, " value"]
    signs: Float[Tensor, " value"]


def top_values(scores: Attribution, held: Float[Tensor, "layer neuron"], pos: int, n: int) -> ValueNeurons:
    """The `n` neurons with the largest |score| at `pos`; NaN is none, ties go to the lower (layer, neuron).

    `held` are the references in the layers of `scores`, which is the result of prob_increase.
    """
    at = scores.positions.index(pos)
    flat = scores.scores[:, at].reshape(-1)
    order = flat.abs().nan_to_num(-1.0).argsort(descending=True, stable=True)
    chosen = order[: min(n, int((~flat.isnan()).sum()))]
    width = scores.scores.shape[-1]
    layers = torch.tensor(scores.layers)[chosen // width]
    signs = (scores.acts[:, at] - held).reshape(-1)[chosen].sign()
    return ValueNeurons(torch.stack([layers, chosen % width], 1), flat[chosen], signs)


@with_memory_faults("prob_increase_query")
def query_neurons(problem: Problem, values: ValueNeurons) -> Attribution:
    """Q of every neuron at the target position; 0 in layers without a value neuron after them."""
    hf, pos = problem.hf, problem.target.pos
    trace = trace_residual(hf, problem.token_ids, pos)
    keys = _weighted_keys(hf, problem, values).to(trace.final)
    after = keys.flip(0).cumsum(0).flip(0)[1:]
    later = torch.cat([after, torch.zeros_like(keys[:1])])  # of a layer: the sum over the layers after it
    with torch.no_grad():
        per_act = torch.stack(
            [
                writes_of(projection, norm, trace.final) @ direction
                for projection, norm, direction in zip(output_projections(hf), trace.post_mlp, later, strict=True)
            ]
        )
    acts, per_act = trace.acts[:, None], per_act[:, None]
    return attribution("prob_increase_query", (pos,), acts, acts * per_act, per_act)


def _weighted_keys(hf: PreTrainedModel, problem: Problem, values: ValueNeurons) -> Float[Tensor, "layer d_model"]:
    """Σ_k Imp_k · key_k of each layer's value neurons, through the norm before the MLP: the gradient of
    Σ_k Imp_k |a_k - ā_k| by the stream that the MLP reads, at the target position."""
    with contextlib.ExitStack() as stack, torch.enable_grad():
        reads = _Reads(hf, stack)
        ids = torch.tensor([list(problem.token_ids[: problem.target.pos + 1])], device=hf.device)
        backbone(hf)(input_ids=ids, use_cache=False)
    d_model = reads.streams[0].shape[-1]
    keys = torch.zeros(len(reads.streams), d_model)
    for layer in values.neurons[:, 0].unique().tolist():
        own = values.neurons[:, 0] == layer
        acts = reads.acts[layer].reshape(-1, reads.acts[layer].shape[-1])[-1]
        weights = (values.increases * values.signs)[own].to(acts)
        total = (acts[values.neurons[own, 1].to(acts.device)] * weights).sum()
        (grad,) = torch.autograd.grad(total, reads.streams[layer])
        keys[layer] = at_least_float32(grad[0, -1]).cpu()
    return keys


class _Reads:
    """Per layer the residual stream and the activations, connected through the MLP's own norm and input alone: the
    scale of every norm and what attention adds are constants."""

    def __init__(self, hf: PreTrainedModel, stack: contextlib.ExitStack) -> None:
        self.streams: list[Tensor] = []
        self.acts: list[Tensor] = []
        for norm in layer_norms(hf):
            form = measure_norm(norm, hf.config.get_text_config().hidden_size)
            stack.enter_context(norm.register_forward_hook(constant_scale(form)))
        for layer, projection in zip(decoder_layers(hf), output_projections(hf), strict=True):
            stack.enter_context(layer.register_forward_pre_hook(self._enter, with_kwargs=True))
            stack.enter_context(attention(layer).register_forward_hook(_detached))
            stack.enter_context(projection.register_forward_pre_hook(self._keep_acts))

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict]:
        stream = (args[0] if args else kwargs["hidden_states"]).detach().requires_grad_()
        self.streams.append(stream)
        return ((stream, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": stream})

    def _keep_acts(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self.acts.append(args[0])


def _detached(_: nn.Module, args: Any, out: Any) -> Any:
    return (out[0].detach(), *out[1:]) if isinstance(out, tuple) else out.detach()
