"""What rankings are compared with, and the scores that are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.validation.sample import Sample


@dataclass(frozen=True)
class ValidationConfig:
    """`sample` is the number of (neuron, position) pairs that are ablated alone, None for all; `signed` ranks sets by
    the score instead of its absolute value; `batch` is ablated copies per forward pass; sets are scored only if
    m(M) - m(∅) is at least `min_effect`, in the unit of the function."""

    sample: int | None
    n_random: int
    seed: int
    signed: bool
    batch: int
    min_effect: float


@dataclass(frozen=True)
class Truth:
    """What rankings are compared with. `effects` are NaN where no neuron was ablated alone; of a sample, the pairs that
    are known are its `rows`, else all known pairs are compared as they are. `reference` is what ablated neurons are set
    to, and `resampled` the same from resampled prompts, if it is a mean of prompts."""

    effects: Attribution
    reference: Float[Tensor, "model_layer pos neuron"]
    resampled: Float[Tensor, "draw model_layer pos neuron"] | None
    sample: Sample | None


def pair_scores(attribution: Attribution, like: Attribution) -> Float64[np.ndarray, " pair"]:
    """Scores of the (layer, position, neuron) triples of `like`; positions that the attribution lacks count as 0."""
    return aligned(attribution, like, attribution.scores).reshape(-1).numpy()


def unit_scores(attribution: Attribution, like: Attribution) -> Float64[np.ndarray, " neuron"]:
    """The same summed over the positions, for sets of neurons."""
    return aligned(attribution, like, attribution.scores).sum(1).reshape(-1).numpy()


def aligned(
    found: Attribution, like: Attribution, scores: Float[Tensor, "layer pos neuron"]
) -> Float[Tensor, "like_layer like_pos neuron"]:
    """`scores` of `found`, at the layers and positions of `like`; positions that `found` lacks are 0."""
    out = torch.zeros(like.scores.shape, dtype=torch.float64)
    shared = [p for p in like.positions if p in found.positions]
    rows = [found.layers.index(layer) for layer in like.layers]
    out[:, [like.positions.index(p) for p in shared]] = scores[rows][
        :, [found.positions.index(p) for p in shared]
    ].double()
    return out
