"""The activations of a neuron or a set of neurons at every token of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from neuron_signatures.dashboard.data.neuron_stats import NeuronStats, Progress, flat_of, no_progress
from neuron_signatures.dashboard.data.run_tokens import TokenIndex
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.stats.moments import EMPTY, moments
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

Scale = Literal["activation", "z"]
MAX_SET = 1_000
"""Maximum size of a set."""
_READ_ALONE = 4
"""Up to this many neurons of a layer are read one by one; for more, whole layers are read at each token."""


@dataclass(frozen=True)
class Response:
    """Mean activation or mean z of a set of neurons at every token of a run."""

    values: Float32[np.ndarray, " flat"]
    """NaN where a neuron's value is not finite."""
    scale: Scale
    n_neurons: int
    n_constant: int
    """Neurons without variance over the run, which have no z and are left out of the mean."""
    moments_by: str
    """Source of the means and standard deviations for z; empty for activations."""


def response_of(
    run: Run, index: TokenIndex, neurons: Sequence[NeuronAt], *, scale: Scale, stats: NeuronStats | None,
    signs: Sequence[int] | None = None, progress: Progress = no_progress,
) -> Response:  # fmt: skip
    """The mean over the neurons (at least one) at every token, each multiplied by its sign if `signs` are given.

    Reads only the layers of these neurons, twice for z if `stats` has no moments.
    """
    sign = np.ones(len(neurons)) if signs is None else np.asarray(signs, np.float64)
    passes = 2 if scale == "z" and (stats is None or stats.mean is None) else 1
    weight, offset, constant, source = sign / len(neurons), 0.0, 0, ""
    if scale == "z":
        mean, std, source = _moments(run, index, neurons, stats, progress)
        good = np.isfinite(std) & (std > 0)
        constant = int((~good).sum())
        weight = np.where(good, sign / np.where(good, std, 1), 0) / max(int(good.sum()), 1)
        offset = float((weight * np.where(good, mean, 0)).sum())
    values = np.full(len(index.code), np.nan, np.float32)
    start, n = 0, len(run.prompts)
    if constant < len(neurons):
        used = [at for at, w in zip(neurons, weight, strict=True) if w]
        for done, prompt in enumerate(run.prompts):
            progress(n * (passes - 1) + done, n * passes)
            with np.errstate(invalid="ignore", over="ignore"):
                values[start : start + prompt.seq_len] = weight[weight != 0] @ _read(run, prompt, used) - offset
            start += prompt.seq_len
    progress(n * passes, n * passes)
    values[~np.isfinite(values)] = np.nan
    return Response(values, scale, len(neurons), constant, source)


def _moments(
    run: Run, index: TokenIndex, neurons: Sequence[NeuronAt], stats: NeuronStats | None, progress: Progress
) -> tuple[Float64[np.ndarray, " neuron"], Float64[np.ndarray, " neuron"], str]:
    """Mean and population standard deviation over the included tokens, and their source."""
    if stats is not None and stats.mean is not None and stats.std is not None:
        rows = np.array([flat_of(run, at) for at in neurons], np.int64)
        return stats.mean[rows], stats.std[rows], stats.source
    total, start = EMPTY, 0
    for done, prompt in enumerate(run.prompts):
        progress(done, 2 * len(run.prompts))
        block = _read(run, prompt, neurons)[:, index.counts[start : start + prompt.seq_len]].astype(np.float64)
        start += prompt.seq_len
        total = total.merge(moments(block.T, where=np.isfinite(block).T))
    mean, std = (np.broadcast_to(v, len(neurons)) for v in total.mean_std())
    return mean, std, "a pass over the activations of these neurons"


def _read(run: Run, prompt: PromptRecord, neurons: Sequence[NeuronAt]) -> Float32[np.ndarray, "neuron pos"]:
    """The neurons' activations on one prompt; many neurons of one layer are read together."""
    out = np.empty((len(neurons), prompt.seq_len), np.float32)
    by_layer: dict[int, list[int]] = {}
    for row, at in enumerate(neurons):
        by_layer.setdefault(at.layer, []).append(row)
    for layer, rows in by_layer.items():
        if len(rows) <= _READ_ALONE:
            for row in rows:
                out[row] = run.acts(prompt, layer=layer, neuron=neurons[row].neuron)
            continue
        wanted = [neurons[row].neuron for row in rows]
        for pos in range(prompt.seq_len):
            out[rows, pos] = run.acts(prompt, layer=layer, pos=pos)[wanted]
    return out
