"""The tokens at which the members of a cluster are active together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.clusters.profiles import Profiles


class TokenScores(NamedTuple):
    """Tokens of a cluster, the highest score first. `score`: mean standardised activation of the members."""

    token_id: Int64[np.ndarray, " token"]
    score: Float64[np.ndarray, " token"]
    n: Int64[np.ndarray, " token"]
    """Occurrences in the sample."""


def member_weights(labels: Int64[np.ndarray, " neuron"]) -> Float32[Tensor, "neuron cluster"]:
    """The column of a cluster takes the mean over its members."""
    n = int(labels.max(initial=-1)) + 1
    weights = torch.zeros(len(labels), n)
    members = np.flatnonzero(labels >= 0)
    sizes = np.bincount(labels[members], minlength=n)
    weights[torch.from_numpy(members), torch.from_numpy(labels[members])] = torch.from_numpy(
        1 / sizes[labels[members]]
    ).float()
    return weights


def cluster_tokens(
    profiles: Profiles, labels: Int64[np.ndarray, " neuron"], *, n_tokens: int, min_count: int
) -> list[TokenScores]:
    """For each cluster, the tokens with the highest mean over their occurrences, of those with a positive one."""
    activity = (profiles.values @ member_weights(labels)).double().numpy()
    ids, place, counts = np.unique(profiles.token_ids, return_inverse=True, return_counts=True)
    often = counts >= min_count
    found = []
    for column in activity.T:
        means = np.bincount(place, column, len(ids)) / counts
        usable = np.flatnonzero(often & (means > 0))
        best = usable[np.argsort(-means[usable], kind="stable")][:n_tokens]
        found.append(TokenScores(ids[best], means[best], counts[best].astype(np.int64)))
    return found
