"""Influence by derivatives: activation times gradient, integrated gradients, relevance propagation.

- act_grad: a ∂f/∂a, the first-order effect of scaling a neuron; by a reference (a - ā) ∂f/∂a (arXiv 2403.00745).
- ig: integrated gradients from a reference (arXiv 2104.08696), see `integrated_gradients`.
- relp: a ∂f/∂a under the rules of `models.relevance` (arXiv 2508.21258).

On models with a norm on the MLP's output (Gemma-2, Gemma-3) and no biases, that norm is invariant to the scale of its
input. There act_grad sums to 0 over the neurons of every layer and position, so its shares are not shares of the
logit; and on the path of ig from zero, f changes only close to zero.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.gradient_sums import GradientSums
from neuron_signatures.analysis.attribution.estimators.memory import with_memory_faults
from neuron_signatures.analysis.attribution.metrics import Attribution, attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.models.batching import BatchSize, run_in_halves, work_on
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.relevance import relevance_rules
from neuron_signatures.models.suffix import Edit, Suffix
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import Bar, ProgressOf, silent

log = logging.getLogger(__name__)

# joint: all layers follow the path together; layer: one layer at a time, and later layers respond.
IgPath = Literal["joint", "layer"]
IG_TOLERANCE = 0.02
"""Largest accepted share of F(a) - F(ā) by which the scores of ig miss it."""
# Differences of f below this share of f are rounding of float32: no number of steps reproduces them.
_ROUNDING = 1e-5
# Tokens per pass with gradients: the graph of a 2B model takes 7 to 9 MB for each.
_CPU_TOKENS = 32
IG_BATCH = 16
"""Points of ig per forward and backward pass."""


@dataclass(frozen=True)
class Cancellation:
    """How far the scores of one layer and position cancel: their sum, and the sum of their absolute values."""

    layer: int
    pos: int
    total: float
    absolute_total: float
    ratio: float | None
    """0 if the scores cancel, 1 if they all have the same sign, None if every score is 0."""


@with_memory_faults("act_grad")
def act_grad(problem: Problem) -> Attribution:
    """a ∂f/∂a of every neuron, with everything downstream responding."""
    acts, grads = _acts_and_gradients(problem)
    return attribution("act_grad", problem.positions, acts, acts * grads, grads)


@with_memory_faults("relp")
def relp(problem: Problem) -> Attribution:
    """Relevance of every neuron: a ∂f/∂a under RelP's rules."""
    with relevance_rules(problem.hf):
        acts, grads = _acts_and_gradients(problem)
    return attribution("relp", problem.positions, acts, acts * grads, grads)


@dataclass(frozen=True)
class PathSum:
    """The completeness of ig on one path: the scores of `layers` should sum to `difference` = F(a) - F(ā).

    `residual` is |difference - total| / |difference|, None if the difference is 0; `steps` is the number of points.
    `converged`: the residual is at most `IG_TOLERANCE`, or the rest is rounding.
    """

    layers: tuple[int, ...]
    difference: float
    total: float
    residual: float | None
    steps: int
    converged: bool


class Ig(NamedTuple):
    attribution: Attribution
    sums: tuple[PathSum, ...]
    """One path (`joint`), or one per layer."""


@with_memory_faults("ig")
def integrated_gradients(
    problem: Problem,
    *,
    reference: Float[Tensor, "layer pos neuron"],
    layers: Sequence[int] | None = None,
    steps: int = 50,
    max_steps: int | None = None,
    path: IgPath = "joint",
    batch: int = IG_BATCH,
    partial: Partial | None = None,
    progress: ProgressOf = silent,
) -> Ig:
    """(a - ā) ∫₀¹ ∂F/∂a(ā + t(a - ā)) dt by the midpoint rule, ā being the `reference`.

    F(x) is f with the activations of a set of neurons held at x, while everything else responds. The set is every
    neuron, at the problem's positions, of all `layers` together (`joint`) or of one layer at a time (`layer`). The
    scores of a set sum to F(a) - F(ā): f minus f with the whole set ablated to the reference. So `joint` distributes
    one total over all layers, and a neuron's share excludes its effect through later neurons of the set; `layer` gives
    total effects, with one total per layer.

    The rule begins with `steps` points. While the sum is off by more than `IG_TOLERANCE`, it takes three times as many,
    which include the earlier ones, up to `max_steps` (None: no more than `steps`).

    `partial` stores the gradients that are summed so far, and an interrupted computation that resumes from it has the
    same result; None stores nothing.
    """
    chosen = tuple(range(mlp_shape(problem.hf).n_layers)) if layers is None else tuple(layers)
    suffix = problem.suffix(first=min(problem.positions))
    acts = suffix.acts(problem.positions, chosen)
    low = reference[list(chosen)].to(acts)
    scores = torch.zeros_like(acts)
    everything, sums = list(range(len(chosen))), []
    paths = [everything] if path == "joint" else [[i] for i in everything]
    summed = GradientSums(acts.shape, len(paths), partial)
    most, size = max_steps or steps, BatchSize(points_at_once(problem, suffix.length, batch))
    summed.resume(most=max(steps, most))
    with progress("points", steps * len(paths)) as bar, summed.save_on_error():
        for i, rows in enumerate(paths):
            line = _Path([chosen[j] for j in rows], acts[rows], low[rows])
            scores[rows], found = _along(problem, suffix, line, _Rule(steps, most, size), _State(summed, i, rows), bar)
            sums.append(found)
    return Ig(attribution("ig", problem.positions, acts, scores, layers=chosen), tuple(sums))


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

    def points(self, at: Float[Tensor, " point"]) -> Float[Tensor, "point layer pos neuron"]:
        return self.low + at.to(self.low)[:, None, None, None] * (self.high - self.low)


class _Rule(NamedTuple):
    """The midpoint rule with `steps` points, up to `most` while it is not converged, `size` per forward pass."""

    steps: int
    most: int
    size: BatchSize


class _State(NamedTuple):
    """Where the sums of one path are: its number, and its rows of the layers."""

    sums: GradientSums
    path: int
    rows: list[int]


def _along(
    problem: Problem, suffix: Suffix, path: _Path, rule: _Rule, state: _State, bar: Bar
) -> tuple[Float[Tensor, "layer pos neuron"], PathSum]:
    """The scores of one path, and their sum against the difference of f between its ends."""
    with torch.no_grad():
        ends = path.points(torch.tensor([0.0, 1.0]))
        low, high = (
            float(problem.value(suffix.run(1, _hold(problem, suffix, path, e[None]), path.layers))) for e in ends
        )
    difference, noise = high - low, _ROUNDING * max(1.0, abs(high), abs(low))
    steps, done, gradients = rule.steps, int(state.sums.points[state.path]), state.sums.of(state.rows).to(path.high)
    while True:
        at = _midpoints(steps, new=steps > rule.steps)
        before = min(done, steps) - (steps - len(at))  # points of this rule that an earlier process has summed
        bar.skip(before)
        for some in at[before:].split(rule.size.most) if before < len(at) else ():
            gradients += _gradient_sum(problem, suffix, path, some, rule.size)
            done += len(some)
            state.sums.put(state.path, state.rows, gradients, done)
            bar.advance(len(some))
        if done == steps:  # else the earlier process has already taken more steps
            scores = (path.high - path.low) * gradients / steps
            total = float(scores.double().sum())
            rest = abs(difference - total)
            converged = rest <= max(IG_TOLERANCE * abs(difference), noise)
            residual = rest / abs(difference) if difference else None
            if converged or 3 * steps > rule.most:
                return scores, PathSum(tuple(path.layers), difference, total, residual, steps, converged)
            _log_tripling(path.layers, steps, residual)
        bar.extend(2 * steps)
        steps *= 3


def _log_tripling(layers: Sequence[int], steps: int, residual: float | None) -> None:
    where = f" of layer {layers[0]}" if len(layers) == 1 else ""
    off = "not 0" if residual is None else f"off by {residual:.1%}"
    log.info("ig: with %d steps the sum of the scores%s is %s: taking %d", steps, where, off, 3 * steps)


def points_at_once(problem: Problem, n_tokens: int, batch: int = IG_BATCH) -> int:
    """Points per pass: `batch`, or on the CPU, where larger passes are not faster, what fits into `_CPU_TOKENS`."""
    on_cpu = problem.hf.get_input_embeddings().weight.device.type == "cpu"
    return max(1, min(batch, _CPU_TOKENS // n_tokens)) if on_cpu else batch


def _midpoints(steps: int, *, new: bool = False) -> Float[Tensor, " point"]:
    """The points of the midpoint rule; with `new`, without those that the rule with a third of the steps has."""
    index = torch.arange(steps)
    index = index[index % 3 != 1] if new else index
    return (index + 0.5) / steps


def _gradient_sum(
    problem: Problem, suffix: Suffix, path: _Path, at: Float[Tensor, " point"], batch: BatchSize
) -> Float[Tensor, "layer pos neuron"]:
    """Sum of the gradients at these points of the path, several points per forward pass."""

    def gradients(some: Sequence[int]) -> Float[Tensor, "layer pos neuron"]:
        held = path.points(at[list(some)]).requires_grad_()
        with torch.enable_grad():
            f = problem.value(suffix.run(len(some), _hold(problem, suffix, path, held), path.layers))
            (grad,) = torch.autograd.grad(f.sum(), held)
        return grad.sum(0)

    total = torch.zeros_like(path.high)
    work = work_on(problem.hf, "ig", problem.token_ids)
    for part in run_in_halves(gradients, range(len(at)), size=batch, unit="points of the path", work=lambda _: work):
        total += part
    return total


def _hold(problem: Problem, suffix: Suffix, path: _Path, held: Float[Tensor, "point layer pos neuron"]) -> Edit:
    """Sets the activations of the path's layers at the problem's positions, one point per copy of the prompt."""
    index = suffix.rows(problem.positions)

    def hold(layer: int, acts: Tensor) -> Tensor:
        values = held[:, path.layers.index(layer)].to(acts)
        return acts.index_copy(1, index.to(acts.device), values)

    return hold


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
