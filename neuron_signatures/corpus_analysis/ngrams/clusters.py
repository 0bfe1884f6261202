"""What clusters of neurons do at n-grams: the mean effect of their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.runs.corpus_analysis.folder import CLUSTER_NEURONS, CORPUS_ANALYSIS_FOLDER


@dataclass(frozen=True)
class Cluster:
    """A cluster of a clustering, and its neurons (layer and number)."""

    clustering: str
    cluster: int
    neurons: tuple[tuple[int, int], ...]


def read_clusters(run_dir: Path) -> list[Cluster]:
    """The clusters of the run, without noise; none if it has no clusters. Raises `BadRunError` for damaged ones."""
    if "clusters" not in CORPUS_ANALYSIS_FOLDER.finished(run_dir):
        return []
    table = CORPUS_ANALYSIS_FOLDER.read_table(run_dir, CLUSTER_NEURONS)
    table = table[table["cluster"] >= 0]
    return [
        Cluster(str(name), int(number), tuple(zip(own["layer"].tolist(), own["neuron"].tolist(), strict=True)))
        for (name, number), own in table.groupby(["clustering", "cluster"], sort=True)
    ]


class ClusterMeans:
    """Adds up effects of members over groups of layers."""

    def __init__(self, clusters: Sequence[Cluster], n_ngrams: int) -> None:
        self._clusters = clusters
        self._sum = torch.zeros(n_ngrams, len(clusters))
        self._n = torch.zeros(n_ngrams, len(clusters))

    def add(self, effect: Float[Tensor, "ngram neuron"], layers: Sequence[int], d_mlp: int) -> None:
        """Effects of all neurons of some layers. Undefined ones are left out."""
        first = {layer: i * d_mlp for i, layer in enumerate(layers)}
        for i, cluster in enumerate(self._clusters):
            at = [first[layer] + neuron for layer, neuron in cluster.neurons if layer in first]
            if at:
                own = effect[:, torch.from_numpy(np.array(at))]
                self._sum[:, i] += torch.nan_to_num(own).sum(dim=1)
                self._n[:, i] += own.isfinite().sum(dim=1)

    @property
    def mean(self) -> Float[Tensor, "ngram cluster"]:
        """NaN without members that have a value."""
        return torch.where(self._n > 0, self._sum / self._n.clamp(min=1), torch.nan)
