"""Influence by derivatives: activation times gradient, integrated gradients, relevance propagation.

- act_grad: a ∂f/∂a, the first-order effect of scaling a neuron; with a source, (a_src - a) ∂f/∂a (arXiv 2403.00745).
- ig: integrated gradients from a baseline (arXiv 2104.08696), see `integrated_gradients`.
- relp: a ∂f/∂a under the rules of `models.relevance` (arXiv 2508.21258).

On models with a norm on the MLP's output (Gemma-2, Gemma-3) and no biases, that norm is invariant to the scale of its
input. There act_grad sums to 0 over the neurons of every layer and position, so its shares are not shares of the
logit; and on the path of ig from a zero baseline, f changes only close to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.metrics import Attribution, attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.relevance import relevance_rules
from neuron_signatures.models.suffix import Suffix

# joint: all layers follow the path together; layer: one layer at a time, and later layers respond.
IgPath = Literal["joint", "layer"]


@dataclass(frozen=True)
class Cancellation:
    """How far the scores of one layer and position cancel: their sum, and the sum of their absolute values."""

    layer: int
    pos: int
    total: float
    absolute_total: float
    ratio: float | None
    """0 if the scores cancel, 1 if they all have the same sign, None if every score is 0."""


def act_grad(problem: Problem, *, source: Float[Tensor, "layer pos neuron"] | None = None) -> Attribution:
    """a ∂f/∂a of every neuron, with everything downstream responding.

    With `source`, the activations of another prompt at the same positions, it is (source - a) ∂f/∂a: the first-order
    effect of patching them in.
    """
    acts, grads = _acts_and_gradients(problem)
    step = acts if source is None else source.to(acts) - acts
    return attribution("act_grad", problem.positions, acts, step * grads, grads)


def relp(problem: Problem) -> Attribution:
    """Relevance of every neuron: a ∂f/∂a under RelP's rules."""
    with relevance_rules(problem.hf):
        acts, grads = _acts_and_gradients(problem)
    return attribution("relp", problem.positions, acts, acts * grads, grads)


def integrated_gradients(
    problem: Problem,
    *,
    baseline: Float[Tensor, "layer pos neuron"],
    layers: Sequence[int] | None = None,
    steps: int = 50,
    path: IgPath = "joint",
    batch: int = 16,
) -> Attribution:
    """(a - ā) ∫₀¹ ∂F/∂a(ā + t(a - ā)) dt by the midpoint rule with `steps` points.

    F(x) is f with the activations of a set of neurons held at x, while everything else responds. The set is every
    neuron, at the problem's positions, of all `layers` together (`joint`) or of one layer at a time (`layer`). The
    scores of a set sum to F(a) - F(ā): f minus f with the whole set ablated to `baseline`. So `joint` distributes one
    total over all layers, and a neuron's share excludes its effect through later neurons of the set; `layer` gives
    total effects, with one total per layer.
    """
    chosen = tuple(range(mlp_shape(problem.hf).n_layers)) if layers is None else tuple(layers)
    suffix = problem.suffix(first=min(problem.positions))
    acts = suffix.acts(problem.positions, chosen)
    low = baseline[list(chosen)].to(acts)
    integral = torch.zeros_like(acts)
    everything = list(range(len(chosen)))
    for rows in [everything] if path == "joint" else [[i] for i in everything]:
        line = _Path([chosen[i] for i in rows], acts[rows], low[rows], steps)
        integral[rows] = _path_integral(problem, suffix, line, batch)
    return attribution("ig", problem.positions, acts, (acts - low) * integral, layers=chosen)


def cancellation(scores: Attribution) -> list[Cancellation]:
    """Per layer and position, how far the scores cancel (see the module's docstring)."""
    total, size = (x.sum(-1).float().tolist() for x in (scores.scores.double(), scores.scores.double().abs()))
    return [
        Cancellation(layer, pos, total[i][j], size[i][j], abs(total[i][j]) / size[i][j] if size[i][j] else None)
        for i, layer in enumerate(scores.layers)
        for j, pos in enumerate(scores.positions)
    ]


class _Path(NamedTuple):
    """The straight line from `low` to `high` that the activations of `layers` follow."""

    layers: list[int]
    high: Float[Tensor, "layer pos neuron"]
    low: Float[Tensor, "layer pos neuron"]
    steps: int


def _path_integral(problem: Problem, suffix: Suffix, path: _Path, batch: int) -> Float[Tensor, "layer pos neuron"]:
    """Mean gradient over the midpoints of the path, several points per forward pass."""
    index = suffix.rows(problem.positions)
    total = torch.zeros_like(path.high)
    points = (torch.arange(path.steps, device=total.device) + 0.5) / path.steps
    for some in points.split(batch):
        step = some.to(total)[:, None, None, None]
        held = (path.low + step * (path.high - path.low)).requires_grad_()

        def hold(layer: int, acts: Tensor, held: Tensor = held) -> Tensor:
            values = held[:, path.layers.index(layer)].to(acts)
            return acts.index_copy(1, index.to(acts.device), values)

        with torch.enable_grad():
            f = problem.value(suffix.run(len(some), hold, path.layers))
            (grad,) = torch.autograd.grad(f.sum(), held)
        total += grad.sum(0)
    return total / path.steps


def _acts_and_gradients(
    problem: Problem,
) -> tuple[Float[Tensor, "layer pos neuron"], Float[Tensor, "layer pos neuron"]]:
    """Activations and ∂f/∂a, from one forward and one backward pass over the prompt."""
    seen: list[Tensor] = []

    def keep(layer: int, acts: Tensor) -> Tensor:
        # The first layer's activations are the leaf of the graph: nothing before them needs a gradient.
        seen.append(acts if seen else acts.detach().requires_grad_())
        return seen[-1]

    with torch.enable_grad():
        f = problem.value(problem.suffix().run(1, keep))
        grads = torch.autograd.grad(f.sum(), seen)
    where = list(problem.positions)
    return (
        torch.stack([a.detach()[0, where].to(f.device) for a in seen]).float(),
        torch.stack([g[0, where].to(f.device) for g in grads]).float(),
    )
