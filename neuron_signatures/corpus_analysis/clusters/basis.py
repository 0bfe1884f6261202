"""What neurons are described by when they are clustered."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float64
from transformers import PreTrainedModel

from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.models.write_path import write_path


class Basis(Protocol):
    """Descriptions of neurons. Their columns mean the same in `features` and `resampled`, so both can be shuffled
    alike. Rows are scaled to length 1 by `unit` before they are compared."""

    def features(self) -> Float64[np.ndarray, "neuron dim"]:
        """The descriptions."""

    def resampled(self, rng: np.random.Generator) -> Float64[np.ndarray, "neuron dim"]:
        """The descriptions from a bootstrap of what they are made of."""


class WeightBasis:
    """Output directions with the norms' weights (`models.write_path`). A bootstrap draws dimensions."""

    def __init__(self, directions: Float64[np.ndarray, "neuron d_model"]) -> None:
        self._directions = directions

    def features(self) -> Float64[np.ndarray, "neuron dim"]:
        return self._directions

    def resampled(self, rng: np.random.Generator) -> Float64[np.ndarray, "neuron dim"]:
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
    return WeightBasis(unit(found.numpy()))


def unit(x: Float64[np.ndarray, "neuron dim"]) -> Float64[np.ndarray, "neuron dim"]:
    """Rows of length 1; rows of 0 stay."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(norms > 0, norms, 1))


def shuffle_order(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A permutation of the rows for each column."""
    return np.asarray(np.argsort(rng.random(shape), axis=0))
