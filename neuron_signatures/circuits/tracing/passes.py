"""Forward passes over the prompt whose graphs the rows of a trace are derived from.

- cut: the rules of `models.relevance`, and the output of every MLP is a leaf. A neuron is then an affine function of
  the embeddings, the biases and the neurons below it, and its derivatives by these are direct effects.
- live: the model as it is, nothing constant.

Both compute attention by single operations, because the fused ones have no batched derivatives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.circuits.types import NeuronAt, Row
from neuron_signatures.models.capture import decoder_layers, mlp_shape, output_projections
from neuron_signatures.models.relevance import activation_function, eager_attention, relevance_rules
from neuron_signatures.models.scale_leaves import ScaleLeaves, scale_leaves
from neuron_signatures.models.sites import attention_out
from neuron_signatures.runs.errors import UsageError


@dataclass
class Pass:
    """One forward pass of the prompt up to the target position, with its graph."""

    problem: Problem
    scales: ScaleLeaves
    acts: list[Float[Tensor, "pos neuron"]] = field(default_factory=list)
    """Per layer, the live activations, which the rows are."""
    outputs: list[Tensor] = field(default_factory=list)
    """Per layer, what the output projection adds, `[1 pos d_model]` or `[pos d_model]`: what sources act through."""
    heads: list[Float[Tensor, "1 pos attention"]] = field(default_factory=list)
    """Per layer, what the heads give to the attention's output projection, side by side; only of `cut_pass`."""
    value: Float[Tensor, ""] = field(default_factory=lambda: torch.tensor(0.0))
    """The target function."""

    @property
    def n_pos(self) -> int:
        return self.problem.target.pos + 1

    @property
    def n_layers(self) -> int:
        return len(self.acts)

    def rows(self, rows: Sequence[Row]) -> Float[Tensor, " row"]:
        """The live values of rows of one layer, or of the target alone."""
        if rows[0] is None:
            assert len(rows) == 1
            return self.value[None]
        neurons = [row for row in rows if isinstance(row, NeuronAt)]
        acts = self.acts[neurons[0].layer]
        return acts[[n.pos for n in neurons], [n.neuron for n in neurons]]

    def plain_acts(self) -> Float[Tensor, "layer pos neuron"]:
        """All activations, float32 or wider, without gradient."""
        return torch.stack([a.detach().to(self.acts[0].device) for a in self.acts])


class InputPasses(NamedTuple):
    """Cut passes with other rows than activations: g and u in act(g)·u."""

    acts: Float[Tensor, "layer pos neuron"]
    """The activations themselves."""
    activated: Pass
    """What the activation functions read."""
    factor: Pass | None
    """What gated MLPs multiply with; None in other models."""


@contextlib.contextmanager
def cut_pass(problem: Problem, *, heads: bool = False) -> Iterator[Pass]:
    """The pass in which edges are direct; within the block the rules stay on the model. `heads` keeps the heads."""
    _check(problem)
    kept: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(relevance_rules(problem.hf, eager=True))
        for layer in range(mlp_shape(problem.hf).n_layers) if heads else ():
            projection = attention_out(problem.hf, layer)
            stack.enter_context(projection.register_forward_pre_hook(lambda _, args: kept.append(args[0])))
        found = stack.enter_context(_recorded(problem, cut=True))
        found.heads.extend(kept)
        yield found


@contextlib.contextmanager
def input_passes(problem: Problem) -> Iterator[InputPasses]:
    """Cut passes whose rows are the two factors of the activations.

    With the activation function's output set to 1, the product is the other factor; the outputs of the projections are
    those of the prompt, so that nothing downstream changes.
    """
    read: list[Tensor] = []
    replaced: list[Tensor] = []  # alive, so that the product has another address: the half rule compares addresses

    def ones(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        read.append(args[0].view(problem.target.pos + 1, -1))
        replaced.append(out)
        return torch.ones_like(out)

    with cut_pass(problem) as plain:
        clean = [out.detach() for out in plain.outputs]
    with contextlib.ExitStack() as stack:
        stack.enter_context(relevance_rules(problem.hf, eager=True))
        for layer in decoder_layers(problem.hf):
            stack.enter_context(activation_function(layer).register_forward_hook(ones))
        found = stack.enter_context(_recorded(problem, cut=True, outputs=clean))
        gated = found.acts[0].requires_grad
        # the half rule has halved the derivative of the product, not its value
        other = replace(found, acts=[2 * a - a.detach() for a in found.acts]) if gated else None
        yield InputPasses(plain.plain_acts(), replace(found, acts=read), other)


@contextlib.contextmanager
def ruled_pass(problem: Problem) -> Iterator[Pass]:
    """The pass of RelP: the rules without the cut, so that derivatives are over all paths."""
    _check(problem)
    with relevance_rules(problem.hf, eager=True), _recorded(problem, cut=False) as found:
        yield found


@contextlib.contextmanager
def live_pass(problem: Problem) -> Iterator[Pass]:
    """The model as it is."""
    _check(problem)
    with eager_attention(problem.hf), _recorded(problem, cut=False) as found:
        yield found


@contextlib.contextmanager
def _recorded(problem: Problem, *, cut: bool, outputs: Sequence[Tensor] | None = None) -> Iterator[Pass]:
    """`cut`: the projections' outputs are leaves, with the values of `outputs` if they are given."""
    hf: PreTrainedModel = problem.hf
    n_pos = problem.target.pos + 1
    with contextlib.ExitStack() as stack:
        kept: list[Tensor] = []

        def keep(_: nn.Module, args: Any, out: Tensor) -> Tensor:
            values = out if outputs is None else outputs[len(kept)]
            kept.append(values.detach().requires_grad_() if cut else out)
            return kept[-1]

        for projection in output_projections(hf):  # before the biases, which are added to the leaf
            stack.enter_context(projection.register_forward_hook(keep))
        found = Pass(problem, stack.enter_context(scale_leaves(hf, n_pos)), outputs=kept)

        def record(_: int, acts: Tensor) -> Tensor:
            found.acts.append(acts[0])
            return acts.detach() if cut else acts

        with torch.enable_grad():
            found.value = problem.value(problem.suffix().run(1, record))[0]
        yield found


def _check(problem: Problem) -> None:
    target, hf = problem.target, problem.hf
    if target.function != "pre_cap_logit":
        raise UsageError(
            f"edges are exact into the pre-cap logit, not into {target.function}",
            where="--target_function",
            next_step="Use pre_cap_logit",
        )
    dtype = hf.get_input_embeddings().weight.dtype
    if dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"edges need a model in float32, not {str(dtype).removeprefix('torch.')}",
            where=type(hf).__name__,
            next_step="Use --model_dtype fp32",
        )
