"""On which prompts of a run neurons are active, from the activations that the run stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64

from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run

MOST_PROMPTS: Final = 200
"""Prompts of a run that are read, evenly over its order."""
LEAST_PROMPTS: Final = 5
"""Fewer prompts give no profile."""


def compared_prompts(run: Run) -> list[PromptRecord]:
    """The prompts with more than one token; every so many if there are more than `MOST_PROMPTS`."""
    longer = [prompt for prompt in run.prompts if prompt.seq_len > 1]
    return longer[:: max(1, -(-len(longer) // MOST_PROMPTS))]


def peak_acts(run: Run, neurons: Sequence[tuple[int, int]]) -> Float64[np.ndarray, "neuron prompt"] | None:
    """The activation with the largest absolute value of each (layer, neuron) in each of `compared_prompts`.

    The first position, which many models use for activations that depend on nothing, is not counted. None if the run
    has fewer than `LEAST_PROMPTS` such prompts, or does not store all these neurons.
    """
    prompts = compared_prompts(run)
    if len(prompts) < LEAST_PROMPTS or not all(run.stores(*neuron) for neuron in neurons):
        return None
    peaks = np.zeros((len(neurons), len(prompts)))
    for layer in sorted({layer for layer, _ in neurons}):
        rows = [i for i, (own, _) in enumerate(neurons) if own == layer]
        columns = [neurons[i][1] for i in rows]
        for j, prompt in enumerate(prompts):
            acts = run.acts(prompt, layer=layer)[1:, columns]
            strongest = np.abs(acts).argmax(axis=0)
            peaks[rows, j] = acts[strongest, np.arange(len(columns))]
    return np.nan_to_num(peaks, posinf=0.0, neginf=0.0)
