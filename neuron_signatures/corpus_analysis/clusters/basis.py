"""What neurons are described by when they are clustered."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from transformers import PreTrainedModel

from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.models.write_path import write_path

Description = Float[np.ndarray, "neuron dim"]
"""One row per neuron; only its direction counts."""
WIDTH: Final = 50
"""Dimensions that neurons are compared in."""
_POWER_ITERATIONS: Final = 2


@runtime_checkable
class Basis(Protocol):
    """What describes neurons."""

    def features(self) -> Description:
        """The descriptions."""

    def resampled(self, rng: np.random.Generator) -> Description:
        """The descriptions from a bootstrap of what they are made of."""


class WeightBasis:
    """Output directions with the norms' weights (`models.write_path`). A bootstrap draws dimensions."""

    def __init__(self, directions: Float64[np.ndarray, "neuron d_model"]) -> None:
        self._directions = directions

    def features(self) -> Description:
        return self._directions

    def resampled(self, rng: np.random.Generator) -> Description:
        n = self._directions.shape[1]
        times = rng.multinomial(n, np.full(n, 1 / n))
        return np.asarray(self._directions * np.sqrt(times))


def weight_basis(hf: PreTrainedModel, token_ids: list[int], neurons: Pairs) -> WeightBasis:
    """The output directions of these neurons; no number depends on the tokens."""
    path = write_path(hf, token_ids)
    found = torch.zeros(len(neurons), hf.get_input_embeddings().weight.shape[1], dtype=torch.float64)
    with torch.no_grad():
        for layer in np.unique(neurons[:, 0]).tolist():
            rows = np.flatnonzero(neurons[:, 0] == layer)
            some = path.rows(layer)[torch.from_numpy(neurons[rows, 1])]
            found[torch.from_numpy(rows)] = path.directions(layer, some).double().cpu()
    return WeightBasis(found.numpy())


def reduced(x: Description, *, seed: int) -> Float64[np.ndarray, "neuron reduced"]:
    """Rows of length 1 in at most 50 dimensions: the largest singular directions of the rows of length 1.

    The projection keeps as much of all inner products as so many dimensions can. In hundreds of dimensions the
    distances of neurons differ too little for clusters: k-means then finds others with every start. The singular
    vectors are found by random projections (Halko, Martinsson and Tropp 2011).
    """
    rows = unit(x)
    width = min(WIDTH, *x.shape)
    if width < x.shape[1]:
        from sklearn.utils.extmath import randomized_svd

        left, size, _ = randomized_svd(rows, width, n_iter=_POWER_ITERATIONS, random_state=seed)
        rows = left * size
    return unit(rows.astype(np.float64))


def rotated(x: Float64[np.ndarray, "neuron dim"], onto: Float64[np.ndarray, "neuron other"]) -> np.ndarray:
    """`x` rotated (and reflected) to be as near as possible to `onto`: their columns then mean the same.

    Distances do not change (orthogonal Procrustes problem, Schönemann 1966).
    """
    left, _, right = np.linalg.svd(x.T @ onto, full_matrices=False)
    return np.asarray(x @ (left @ right))


def unit(x: Description) -> Description:
    """Rows of length 1; rows of 0 stay."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(norms > 0, norms, 1))


def shuffle_order(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A permutation of the rows for each column, for `np.take_along_axis`: the same numbers, without what belongs
    together."""
    return np.asarray(np.argsort(rng.random(shape), axis=0))
