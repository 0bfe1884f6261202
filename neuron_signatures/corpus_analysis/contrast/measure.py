"""Rank tests of every neuron: positions A against positions B."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64

from neuron_signatures.stats.auroc import areas
from neuron_signatures.stats.chance import benjamini_hochberg
from neuron_signatures.stats.effect_sizes import cohens_d
from neuron_signatures.stats.ranks import column_ranks, mann_whitney

FEWEST = 2
"""Positions of a side."""
_BLOCK = 2048


class Acts(NamedTuple):
    """Activations at the positions of both sides, A first."""

    acts: Float32[np.ndarray, "place neuron"]
    n_a: int

    @property
    def in_a(self) -> Bool[np.ndarray, " place"]:
        return np.arange(len(self.acts)) < self.n_a

    @property
    def usable(self) -> bool:
        """Whether there are enough positions to compare."""
        return self.n_a >= FEWEST and len(self.acts) - self.n_a >= FEWEST


class Tested(NamedTuple):
    """One row per neuron. `null_p`: p-values with permuted labels, one row per draw."""

    frame: pd.DataFrame
    null_p: Float64[np.ndarray, "draw neuron"]


def rank_tests(found: Acts, labels: Bool[np.ndarray, "labelling place"]) -> Tested:
    """The first labelling is the observed one. Activations must be finite."""
    parts, nulls = [], [np.empty((len(labels) - 1, 0))]
    for start in range(0, found.acts.shape[1], _BLOCK):
        block = found.acts[:, start : start + _BLOCK].astype(np.float64)
        test = mann_whitney(column_ranks(block), labels)
        a, b = block[: found.n_a], block[found.n_a :]
        size = cohens_d(a, b)
        parts.append(pd.DataFrame({
            "auroc": test.auroc[0], "p": test.p[0], "difference": size.d, "sd": size.pooled,
            "mean_a": a.mean(axis=0), "mean_b": b.mean(axis=0),
        }))  # fmt: skip
        nulls.append(test.p[1:])
    frame = pd.concat(parts, ignore_index=True)
    return Tested(frame, np.concatenate(nulls, axis=1))


def held_out(found: Acts) -> pd.DataFrame:
    """The areas of another part with their intervals; undefined with too few positions."""
    names = ["held_out_auroc", "held_out_low", "held_out_high"]
    if not found.usable:
        return pd.DataFrame(np.full((found.acts.shape[1], 3), np.nan), columns=names)
    parts = [
        np.stack(areas(found.acts[:, start : start + _BLOCK], found.in_a), axis=1)
        for start in range(0, found.acts.shape[1], _BLOCK)
    ]
    return pd.DataFrame(np.concatenate(parts), columns=names)


def labellings(n_a: int, n_b: int, *, n_null: int, rng: np.random.Generator) -> Bool[np.ndarray, "labelling place"]:
    """The observed one, and random ones with as many positions in A."""
    observed = np.arange(n_a + n_b) < n_a
    return np.stack([observed, *(rng.permutation(observed) for _ in range(n_null))])


def ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """With q and rank: by |AUROC - 1/2|, then by |difference|, then by neuron."""
    frame = frame.assign(q=benjamini_hochberg(frame["p"].to_numpy()))
    far = (frame["auroc"] - 0.5).abs().to_numpy()
    size = frame["difference"].abs().fillna(0).to_numpy()
    order = np.lexsort((frame["neuron"], frame["layer"], -size, -far))
    rank = np.empty(len(frame), np.int64)
    rank[order] = np.arange(1, len(frame) + 1)
    return frame.assign(rank=rank)


def n_found(p: Float64[np.ndarray, "draw neuron"], max_q: float) -> list[int]:
    """Neurons with q of at most `max_q` in each draw."""
    return [int((benjamini_hochberg(row) <= max_q).sum()) for row in p]
