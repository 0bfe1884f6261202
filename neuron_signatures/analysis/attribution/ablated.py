"""Ablates many neurons, one by one, with progress and a file of the finished ones."""

from __future__ import annotations

import logging

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.ablation import single_ablations
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.partial import Partial
from neuron_signatures.runs.progress import Bar, ProgressOf

log = logging.getLogger(__name__)


def ablated(
    problem: Problem,
    neurons: Int[Tensor, "n 3"],
    wanted: Bool[Tensor, " n"],
    *,
    values: Float[Tensor, " n"],
    batch: int,
    partial: Partial,
    progress: ProgressOf,
) -> Float[Tensor, " n"]:
    """The effects of setting each of the `wanted` neurons to its entry in `values`; NaN for the others.

    `partial` stores the finished ones, so that an interrupted run can resume.
    """
    effects = torch.full((len(neurons),), torch.nan)
    done = torch.zeros(len(neurons), dtype=torch.bool)
    measured = {"effects": effects.numpy(), "done": done.numpy()}  # they share the memory of the tensors
    with (
        progress("ablations", int(wanted.sum())) as bar,
        partial.save_on_error(lambda: measured if done.any() else {}),
    ):
        _resume(measured, partial, bar, int(wanted.sum()))
        for chunk in single_ablations(problem, neurons, values=values, done=done | ~wanted, batch=batch):
            effects[chunk.rows] = chunk.effects
            done[chunk.rows] = True
            partial.save(measured)
            bar.advance(len(chunk.rows))
    return effects


def _resume(measured: dict[str, np.ndarray], partial: Partial, bar: Bar, n_wanted: int) -> None:
    """Fill in the effects that an earlier process measured."""
    before = partial.load(max_bytes=sum(a.nbytes for a in measured.values()) + (1 << 16), like=measured)
    for name, values in before.items():
        measured[name][:] = values
    if before:
        n = int(measured["done"].sum())
        bar.skip(n)
        log.info("resuming with %d of %d ablations done", n, n_wanted)
