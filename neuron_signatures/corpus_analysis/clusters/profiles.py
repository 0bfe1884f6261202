"""Standardised activations of the neurons at sampled tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.activations import Source, recorded_scale
from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.corpus_analysis.clusters.basis import Description
from neuron_signatures.corpus_analysis.similar.correlate import gather
from neuron_signatures.runs.records.reader import Records

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
    """Profiles over the sampled tokens: the inner product of two rows of length 1 is a correlation. A bootstrap draws
    documents, since the tokens of one are not independent."""

    def __init__(self, profiles: Profiles, document: Int64[np.ndarray, " token"]) -> None:
        self._profiles = profiles
        _, self._document = np.unique(document, return_inverse=True)

    def features(self) -> Description:
        return self._weighted(np.ones(len(self._document)))

    def resampled(self, rng: np.random.Generator) -> Description:
        n = int(self._document.max()) + 1
        times = rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        return self._weighted(times[self._document])

    def _weighted(self, weights: Float64[np.ndarray, " token"]) -> Description:
        w = torch.from_numpy(weights).float()
        z = self._profiles.values
        used = w > 0
        centred = (z[used] - (w @ z) / w.sum()) * w[used].sqrt()[:, None]
        return np.ascontiguousarray(centred.T.numpy())
