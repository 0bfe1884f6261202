"""Influence by derivatives: activation times gradient, integrated gradients, relevance propagation.

- act_grad: a ∂f/∂a, the first-order effect of scaling a neuron; with a source, (a_src - a) ∂f/∂a (arXiv 2403.00745).
- ig: integrated gradients from a baseline (arXiv 2104.08696), see `integrated_gradients`.
- relp: a ∂f/∂a under the rules of `models.relevance` (arXiv 2508.21258).

On models with a norm on the MLP's output (Gemma-2, Gemma-3) and no biases, that norm does not see the scale of its
input, so act_grad adds up to 0 over the neurons of every layer and position: shares of it are not shares of the
logit there, and a path from zero changes nothing until it reaches zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.metrics import Attribution, Metric, chosen_positions
from neuron_signatures.analysis.attribution.readout import function_value
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.relevance import relevance_rules
from neuron_signatures.models.suffix import Suffix
from neuron_signatures.models.weights import unembedding

# joint: all layers move along the path together; layer: one layer at a time, later layers respond.
IgPath = Literal["joint", "layer"]


class Cancellation(NamedTuple):
    """How far the scores of one layer and position cancel: |sum| against the sum of absolute values."""

    layer: int
    pos: int
    total: float
    absolute_total: float

    @property
    def ratio(self) -> float | None:
        """0: the scores cancel; 1: they all have one sign. None where every score is 0."""
        return abs(self.total) / self.absolute_total if self.absolute_total else None


def act_grad(
    hf: PreTrainedModel,
    token_ids: Sequence[int],
    target: Target,
    *,
    positions: Sequence[int] | None = None,
    source: Float[Tensor, "layer pos neuron"] | None = None,
) -> Attribution:
    """a ∂f/∂a of every neuron at `positions` (None: up to the target's), everything downstream responding.

    `source` are the activations of another prompt at the same `positions`; then (source - a) ∂f/∂a, the first-order
    effect of patching them in.
    """
    chosen = chosen_positions(positions, target.pos)
    acts, grads = _acts_and_gradients(hf, token_ids, target, chosen)
    step = acts if source is None else source.to(acts) - acts
    return _attribution("act_grad", chosen, acts, step * grads, grads)


def relp(
    hf: PreTrainedModel, token_ids: Sequence[int], target: Target, *, positions: Sequence[int] | None = None
) -> Attribution:
    """Relevance of every neuron at `positions` (None: up to the target's): a ∂f/∂a under RelP's rules."""
    chosen = chosen_positions(positions, target.pos)
    with relevance_rules(hf):
        acts, grads = _acts_and_gradients(hf, token_ids, target, chosen)
    return _attribution("relp", chosen, acts, acts * grads, grads)


def integrated_gradients(
    hf: PreTrainedModel,
    token_ids: Sequence[int],
    target: Target,
    *,
    baseline: Float[Tensor, "layer pos neuron"],
    positions: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    steps: int = 50,
    path: IgPath = "joint",
    batch: int = 16,
) -> Attribution:
    """(a - ā) ∫₀¹ ∂F/∂a(ā + t(a - ā)) dt by the midpoint rule with `steps` points.

    F(x) is f with the activations of a set of neurons held at x, whatever comes into their layer, while everything
    else responds. The set is, at `positions` (None: up to the target's), every neuron of all `layers` (`joint`), or of
    one layer at a time (`layer`). The scores of a set add up to F(a) - F(ā): to f less f with the whole set ablated
    to `baseline`. So `joint` shares one total among all layers, each neuron's part excluding what later neurons of
    the set do with it; `layer` gives total effects, one total per layer. `baseline` has one entry per chosen
    position on its middle axis, and one per model layer on its first.
    """
    chosen = chosen_positions(positions, target.pos)
    picked = tuple(range(mlp_shape(hf).n_layers)) if layers is None else tuple(layers)
    suffix = Suffix(hf, token_ids, first=min(chosen), last=target.pos)
    acts = suffix.acts(chosen, picked)
    low = baseline[list(picked)].to(acts)
    integral = torch.zeros_like(acts)
    everything = list(range(len(picked)))
    for rows in [everything] if path == "joint" else [[i] for i in everything]:
        line = _Path(chosen, [picked[i] for i in rows], acts[rows], low[rows], steps)
        integral[rows] = _path_integral(hf, suffix, target, line, batch)
    return _attribution("ig", chosen, acts, (acts - low) * integral, None, picked)


def cancellation(scores: Attribution) -> list[Cancellation]:
    """Per layer and position, how far the scores cancel (see the module's docstring)."""
    totals, absolute = scores.sums().tolist(), scores.absolute_sums().tolist()
    return [
        Cancellation(layer, pos, totals[i][j], absolute[i][j])
        for i, layer in enumerate(scores.layers)
        for j, pos in enumerate(scores.positions)
    ]


class _Path(NamedTuple):
    """The straight line on which the neurons of `layers` at `positions` move, from `low` to `high`."""

    positions: tuple[int, ...]
    layers: list[int]
    high: Float[Tensor, "layer pos neuron"]
    low: Float[Tensor, "layer pos neuron"]
    steps: int


def _path_integral(
    hf: PreTrainedModel, suffix: Suffix, target: Target, path: _Path, batch: int
) -> Float[Tensor, "layer pos neuron"]:
    """Mean gradient over the midpoints of the path, several points per forward pass."""
    head, index = unembedding(hf), suffix.rows(path.positions)
    total = torch.zeros_like(path.high)
    points = (torch.arange(path.steps, device=total.device) + 0.5) / path.steps
    for some in points.split(batch):
        step = some.to(total)[:, None, None, None]
        held = (path.low + step * (path.high - path.low)).requires_grad_()

        def hold(layer: int, acts: Tensor, held: Tensor = held) -> Tensor:
            values = held[:, path.layers.index(layer)].to(acts)
            return acts.index_copy(1, index.to(acts.device), values)

        with torch.enable_grad():
            f = function_value(head, suffix.run(len(some), hold, path.layers), target)
            (grad,) = torch.autograd.grad(f.sum(), held)
        total += grad.sum(0)
    return total / path.steps


def _acts_and_gradients(
    hf: PreTrainedModel, token_ids: Sequence[int], target: Target, positions: tuple[int, ...]
) -> tuple[Float[Tensor, "layer pos neuron"], Float[Tensor, "layer pos neuron"]]:
    """Activations and ∂f/∂a at `positions`, from one forward and one backward pass over the whole prompt."""
    suffix = Suffix(hf, token_ids, first=0, last=target.pos)
    seen: list[Tensor] = []

    def keep(layer: int, acts: Tensor) -> Tensor:
        # Nothing before the first layer's neurons is needed: they are the leaf that starts the graph.
        seen.append(acts if seen else acts.detach().requires_grad_())
        return seen[-1]

    with torch.enable_grad():
        f = function_value(unembedding(hf), suffix.run(1, keep), target)
        grads = torch.autograd.grad(f.sum(), seen)
    where = list(positions)
    return (
        torch.stack([a.detach()[0, where].to(f.device) for a in seen]).float(),
        torch.stack([g[0, where].to(f.device) for g in grads]).float(),
    )


def _attribution(
    metric: Metric,
    positions: tuple[int, ...],
    acts: Tensor,
    scores: Tensor,
    per_act: Tensor | None,
    layers: tuple[int, ...] | None = None,
) -> Attribution:
    return Attribution(
        metric=metric,
        layers=tuple(range(len(acts))) if layers is None else layers,
        positions=positions,
        scores=scores.float().cpu(),
        acts=acts.float().cpu(),
        per_act=None if per_act is None else per_act.float().cpu(),
    )
