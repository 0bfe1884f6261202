"""Resample ablation: each neuron is set to its activation at a random token of another prompt of the run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.interventions.controls.random_sets import Acts
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run

RESAMPLE = "resample"


def resampled_reference(run: Run, prompt_id: str, positions: Sequence[int], *, seed: int) -> Reference:
    """A reference whose values, of each neuron and position, are drawn independently; NaN in layers not stored.

    First positions are not drawn. One draw: repeat with other seeds to see how much depends on it. Raises `UsageError`
    if the run has no other token.
    """
    others = [p for p in run.prompts if p.probe_id != prompt_id and p.seq_len > 1]
    ends = np.cumsum([p.seq_len - 1 for p in others])
    if not len(ends):
        raise UsageError("the run has no other prompt", where=f"--reference {RESAMPLE}", next_step="Use zero or mean")
    m = run.manifest
    rng = np.random.default_rng([seed, 8])
    token = rng.integers(ends[-1], size=(len(run.layers), len(positions), m.d_mlp))
    values = np.full((m.n_layers, len(positions), m.d_mlp), np.nan, np.float32)
    for prompt, end in zip(others, ends.tolist(), strict=True):
        start = end - (prompt.seq_len - 1)
        row, pos, neuron = ((token >= start) & (token < end)).nonzero()
        layers = np.array(run.layers)[row]
        values[layers, pos, neuron] = run.acts(prompt)[row, token[row, pos, neuron] - start + 1, neuron]
    found: Acts = torch.from_numpy(values)
    return Reference(RESAMPLE, None, found, n_tokens=int(ends[-1]))
