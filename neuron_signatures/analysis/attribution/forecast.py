"""How much work a command is: forward passes, time and memory, before it starts.

The time is that of one copy of the prompt, measured, times the number of copies. Ablations run only the positions and
layers from the ablated neuron on, on average half of them. A point of ig is a forward and a backward pass, counted as
three. The logits of the neurons of prob_increase are measured on a few neurons and tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from neuron_signatures.analysis.attribution.estimators.gradients import points_at_once
from neuron_signatures.analysis.attribution.estimators.prob_increase import (
    MAX_BYTES,
    READOUT_COPIES,
    seconds_of_readout,
)
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.runs.files import human_bytes, human_seconds

_BACKWARD = 3.0
# A copy that takes less is measured in a batch: the time of a short pass is mostly overhead.
_SHORT_SECONDS = 0.2
_MEASURED_COPIES = 16
# Float32 values per token that one layer needs: its neurons before and after the activation function and their product,
# twice while they are edited, and the residual stream with norms, queries, keys and values.
_PER_NEURON, _PER_DIMENSION = 6, 12


@dataclass(frozen=True)
class Plan:
    """What a command computes: points of ig (fewest and most, of all its paths), pairs that are ablated alone, and
    the sizes of the groups of sets of neurons (fewest and most); `batch` is copies per forward pass. `n_read_out` are
    neurons of prob_increase, each of which needs the logits of the whole vocabulary."""

    ig_points: tuple[int, int]
    n_ablated: int
    sets: tuple[Sequence[int], Sequence[int]]
    batch: int
    n_read_out: int = 0

    @property
    def most_sets(self) -> int:
        return sum(self.sets[1])

    @property
    def is_heavy(self) -> bool:
        return bool(self.needs_passes or self.n_read_out)

    @property
    def needs_passes(self) -> bool:
        return bool(self.ig_points[1] or self.n_ablated or self.most_sets)


@dataclass(frozen=True)
class Forecast:
    """The fewest and the most forward passes and seconds, and bytes of memory."""

    plan: Plan
    n_tokens: int
    device: str
    passes: tuple[int, int]
    seconds: tuple[float, float]
    weights: int
    batches: int

    def line(self) -> str:
        parts = []
        if self.plan.ig_points[1]:
            parts.append(f"ig at {_range(*self.plan.ig_points)} points")
        if self.plan.n_ablated:
            parts.append(f"{self.plan.n_ablated:,} ablations of single neurons")
        if self.plan.most_sets:
            parts.append(f"at most {self.plan.most_sets:,} sets of neurons")
        if self.plan.n_read_out:
            parts.append(f"the logits of {self.plan.n_read_out:,} neurons for prob_increase")
        low, high = (human_seconds(s) for s in self.seconds)
        took = f"about {low}" if low == high else f"{low} to at most {high}"
        memory = f"{human_bytes(self.weights)} of weights and {human_bytes(self.batches)} for batches"
        passes = f"{_range(*self.passes)} forward passes of up to {self.plan.batch} copies of {self.n_tokens} tokens; "
        return (
            f"forecast: {', '.join(parts)}: {passes if self.plan.needs_passes else ''}{took} on {self.device}; {memory}"
        )


def forecast(problem: Problem, plan: Plan) -> Forecast:
    """The forecast for a problem; runs the prompt once or twice to measure its time."""
    shape, tokens = mlp_shape(problem.hf), problem.target.pos + 1 - min(problem.positions)
    share = _ablated_share(problem)
    copies = [
        _BACKWARD * points + share * plan.n_ablated + sum(sets)
        for points, sets in zip(plan.ig_points, plan.sets, strict=True)
    ]
    copy = seconds_of_copy(problem, plan.batch) if plan.needs_passes else 0.0
    read_out = plan.n_read_out and plan.n_read_out * seconds_of_readout(problem)
    weight = problem.hf.get_input_embeddings().weight
    width = _PER_NEURON * shape.d_mlp + _PER_DIMENSION * weight.shape[1]
    itemsize = weight.element_size()
    edited = min(plan.batch, max(plan.n_ablated, plan.most_sets)) * width
    at_once = points_at_once(problem, tokens)
    graph = min(at_once, plan.ig_points[1]) * width * shape.n_layers
    passes = [
        math.ceil(points / at_once)
        + math.ceil(plan.n_ablated / plan.batch)
        + sum(math.ceil(group / plan.batch) for group in sets)
        for points, sets in zip(plan.ig_points, plan.sets, strict=True)
    ]
    logits = READOUT_COPIES * min(MAX_BYTES, shape.d_mlp * len(weight) * 4) if plan.n_read_out else 0
    return Forecast(
        plan,
        problem.target.pos + 1,
        str(weight.device),
        (passes[0], passes[1]),
        (copies[0] * copy + read_out, copies[1] * copy + read_out),
        sum(p.numel() * p.element_size() for p in problem.hf.parameters()),
        max(max(edited, graph) * tokens * itemsize, logits),
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _ablated_share(problem: Problem) -> float:
    """The share of a pass over the positions that an ablation needs, on average over positions and layers."""
    last, first = problem.target.pos, min(problem.positions)
    lengths: Sequence[int] = [last + 1 - p for p in problem.positions]
    return sum(lengths) / len(lengths) / (last + 1 - first) / 2


@torch.no_grad()
def seconds_of_copy(problem: Problem, batch: int) -> float:
    """Seconds per copy of the prompt, from the first of the problem's positions on, in batches of up to `batch`."""
    batch = min(batch, _MEASURED_COPIES)
    suffix = problem.suffix(first=min(problem.positions))
    suffix.run(1)  # the first pass also prepares kernels
    single = _timed(lambda: problem.value(suffix.run(1)))
    if single > _SHORT_SECONDS or batch == 1:
        return single
    return _timed(lambda: problem.value(suffix.run(batch))) / batch


def _timed(run: Callable[[], torch.Tensor]) -> float:
    """The shortest of three times, or the first if it is long."""
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < 1:
        start = time.perf_counter()
        run().cpu()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return min(seconds)
