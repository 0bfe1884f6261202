"""Mean and standard deviation of neurons over the prompts of a run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from neuron_signatures.analysis.attribution.reference import n_counted
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.run import Run


class RunMoments(NamedTuple):
    """Moments over all tokens but the first of each prompt, finite values only; one row per layer that the run stores.

    The standard deviation is that of the tokens (divided by their number). NaN for a neuron without finite values.
    `mean` is that of `reference.run_mean`.
    """

    layers: list[int]
    mean: Float64[np.ndarray, "layer neuron"]
    std: Float64[np.ndarray, "layer neuron"]
    n_tokens: int


def run_moments(run: Run, progress: ProgressOf = silent) -> RunMoments:
    """Reads all activations of the run, prompt by prompt."""
    shape = (len(run.layers), run.manifest.d_mlp)
    mean, squares, count = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
    with progress("prompts", len(run.prompts)) as bar:
        for prompt in run.prompts:
            acts = run.acts(prompt)[:, 1:].astype(np.float64)
            finite = np.isfinite(acts)
            n = finite.sum(1)
            own = np.divide(np.where(finite, acts, 0).sum(1), n, out=np.zeros(shape), where=n > 0)
            # Chan, Golub and LeVeque 1979: moments about the mean, merged
            total, delta = count + n, own - mean
            share = np.divide(n, total, out=np.zeros(shape), where=total > 0)
            squares += (np.where(finite, acts - own[:, None], 0) ** 2).sum(1) + delta**2 * count * share
            mean += delta * share
            count = total
            bar.advance(1)
    variance = np.divide(squares, count, out=np.full(shape, np.nan), where=count > 0)
    return RunMoments(run.layers, np.where(count > 0, mean, np.nan), np.sqrt(variance), n_counted(run))
