"""Standardised activations of the neurons at sampled tokens, and what of them is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.activations import Source, recorded_scale
from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.corpus_analysis.similar.correlate import gather
from neuron_signatures.runs.records.reader import Records

WIDTH: Final = 256
"""Dimensions of what neurons are compared by; the correlation of two wider profiles has a standard error of 1/16."""
_NO_SPREAD: Final = 1e-10


@dataclass(frozen=True, eq=False)
class Profiles:
    """Activations `[token neuron]`, standardised over these tokens; constant neurons are 0 everywhere."""

    windows: Int64[np.ndarray, " token"]
    token_ids: Int64[np.ndarray, " token"]
    values: Float32[Tensor, "token neuron"]
    varies: Bool[np.ndarray, " neuron"]

    def of(self, places: Int64[np.ndarray, " some"]) -> Profiles:
        """Those of some neurons."""
        columns = torch.from_numpy(places)
        return Profiles(self.windows, self.token_ids, self.values[:, columns], self.varies[places])


def read_profiles(records: Records, source: Source, neurons: Pairs) -> Profiles:
    """Read the source once, and keep these of its neurons."""
    place = {tuple(at): i for i, at in enumerate(source.neurons.tolist())}
    columns = np.array([place[tuple(at)] for at in neurons.tolist()], np.int64)
    scale = recorded_scale(records, source.neurons)
    windows, ids, values = [], [], []
    for block in source.blocks():
        windows.append(block.windows)
        ids.append(block.token_ids)
        values.append(gather(block, scale, columns))
    found = torch.cat(values)
    mean, sd = found.double().mean(dim=0), found.double().std(dim=0, correction=0)
    varies = scale.varies[columns] & (sd > _NO_SPREAD).numpy()
    sd = torch.where(torch.from_numpy(varies), sd, 1.0)
    found.sub_(mean.float()).div_(sd.float())
    found[:, torch.from_numpy(~varies)] = 0
    return Profiles(np.concatenate(windows), np.concatenate(ids), found, varies)


class ActivationBasis:
    """Profiles over the sampled tokens, whose inner product is the correlation, by a random projection to 256 numbers.

    Johnson and Lindenstrauss 1984: a projection on random directions keeps distances up to an error that does not
    depend on the number of tokens. A bootstrap draws documents and projects by the same directions.
    """

    def __init__(self, profiles: Profiles, document: Int64[np.ndarray, " token"], *, seed: int) -> None:
        self._profiles = profiles
        _, self._document = np.unique(document, return_inverse=True)
        n = len(profiles.windows)
        self._directions = None
        if n > WIDTH:
            rng = np.random.default_rng([seed, 2])
            self._directions = torch.from_numpy(rng.standard_normal((n, WIDTH), np.float32) / WIDTH**0.5)

    def features(self) -> Float64[np.ndarray, "neuron dim"]:
        return self._projected(np.ones(len(self._document)))

    def resampled(self, rng: np.random.Generator) -> Float64[np.ndarray, "neuron dim"]:
        n = int(self._document.max()) + 1
        times = rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        return self._projected(times[self._document])

    def _projected(self, weights: Float64[np.ndarray, " token"]) -> Float64[np.ndarray, "neuron dim"]:
        w = torch.from_numpy(weights).float()
        z = self._profiles.values
        centred = (z - (w @ z) / w.sum()) * w.sqrt()[:, None]
        found = centred.T if self._directions is None else centred.T @ self._directions
        return found.double().numpy()
