"""How much of the variance of activations over prompts lies between labels, such as entities or states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Between(NamedTuple):
    """η² of each neuron, 1 where all prompts of a label have the same activation and labels differ; NaN for a neuron
    without any variance. The null: labels permuted over the prompts. p: share of the draws, plus one, with at least
    this η²."""

    share: Float64[np.ndarray, " neuron"]
    null_mean: Float64[np.ndarray, " neuron"]
    null_sd: Float64[np.ndarray, " neuron"]
    p: Float64[np.ndarray, " neuron"]
    n_null: int


def between_labels(
    values: Float64[np.ndarray, "neuron prompt"], labels: Sequence[str], *, seed: int, n_draws: int
) -> Between | None:
    """The share of each neuron's variance that lies between labels. None unless a label has two prompts and there are
    two labels: else everything lies between labels, whatever they are."""
    names, codes = np.unique(np.asarray(labels, str), return_inverse=True)
    if len(names) < 2 or len(names) == len(codes):
        return None
    centred = values - values.mean(axis=1, keepdims=True)
    total = (centred**2).sum(axis=1)
    scale = np.where(total > 0, total, np.nan)
    member = (codes[:, None] == np.arange(len(names))).astype(float)
    means = member / np.sqrt(member.sum(axis=0))  # squared sums of these are Σ n·mean²
    share = ((centred @ means) ** 2).sum(axis=1) / scale
    random = np.random.default_rng(seed)
    drawn = np.empty((n_draws, len(values)))
    for i in range(n_draws):
        drawn[i] = ((centred @ means[random.permutation(len(codes))]) ** 2).sum(axis=1) / scale
    p = np.where(np.isnan(share), np.nan, (1 + (drawn >= share - 1e-12).sum(axis=0)) / (1 + n_draws))
    return Between(share, drawn.mean(axis=0), drawn.std(axis=0, ddof=1), p, n_draws)


class ChangeShare(NamedTuple):
    """1 - mean(d)² / mean(d²) of the changes d = a - ā of each neuron over prompts: 0 where the change is the same in
    every prompt, 1 where it is another in each and none on average. NaN for a neuron that never changes. With its 95 %
    percentile interval, whole entities drawn."""

    share: Float64[np.ndarray, " neuron"]
    low: Float64[np.ndarray, " neuron"]
    high: Float64[np.ndarray, " neuron"]


def change_share(
    changes: Float64[np.ndarray, "neuron prompt"], entities: Sequence[str], *, seed: int, n_draws: int
) -> ChangeShare:
    """How much of each neuron's change from its reference depends on the prompt."""
    names, codes = np.unique(np.asarray(entities, str), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws)
    weights = counts[:, codes].astype(float)
    weights /= weights.sum(axis=1, keepdims=True)
    own = _share(changes.mean(axis=1), (changes**2).mean(axis=1))
    drawn = _share(changes @ weights.T, changes**2 @ weights.T)
    if len(names) < 2 or not len(changes):
        return ChangeShare(own, np.full(len(changes), np.nan), np.full(len(changes), np.nan))
    low, high = np.percentile(np.where(np.isnan(drawn), 0.0, drawn), [2.5, 97.5], axis=1)
    undefined = np.isnan(own)
    return ChangeShare(own, np.where(undefined, np.nan, low), np.where(undefined, np.nan, high))


def _share(mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    """Rounding of equal changes counts as no difference."""
    share = 1 - mean**2 / np.where(mean_square > 0, mean_square, np.nan)
    found: np.ndarray = np.where(share < 1e-9, 0.0, share)
    return np.where(np.isnan(share), np.nan, found)
