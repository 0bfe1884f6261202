"""Mean standardised activations of all neurons of some layers at n-grams, as sums over a pass of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from neuron_signatures.corpus_analysis.ngrams.index import NgramIndex
from neuron_signatures.corpus_analysis.ngrams.request import PART
from neuron_signatures.corpus_analysis.passes import CorpusPass
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.records.reader import Records


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and standard deviation of the neurons of some layers at all positions of explain, one layer after the other.
    Of a neuron without spread `std` is NaN."""

    layers: tuple[int, ...]
    d_mlp: int
    mean: Float64[np.ndarray, " neuron"]
    std: Float64[np.ndarray, " neuron"]

    @staticmethod
    def of(records: Records, layers: Sequence[int]) -> Scale:
        found = [records.layer_moments(layer, parts=(PART,)) for layer in layers]
        mean, std = (np.concatenate([getattr(m, name) for m in found]) for name in ("mean", "std"))
        return Scale(tuple(layers), records.d_mlp, mean, np.where(std > 0, std, np.nan))


@dataclass(frozen=True, eq=False)
class Effects:
    """`effect`: mean over the positions of an n-gram of (activation - mean) / standard deviation; NaN where the neuron
    has no spread or the n-gram no position."""

    effect: Float[Tensor, "ngram neuron"]
    count: Int64[np.ndarray, " ngram"]


@torch.inference_mode()
def effects(
    corpus_pass: CorpusPass, windows: Int64[np.ndarray, " window"], index: NgramIndex, scale: Scale, bar: Bar
) -> Effects:  # fmt: skip
    """Run the windows once. The model computes all its layers; the sums are of those of `scale`, in float32 on the CPU,
    of standardised activations, so that nothing is lost where the mean is large."""
    sums = torch.zeros(len(index), len(scale.mean))
    count = np.zeros(len(index), np.int64)
    rows = [corpus_pass.layers.index(layer) for layer in scale.layers]
    mean, factor = _float32(scale.mean), _float32(1 / np.nan_to_num(scale.std, nan=np.inf))
    for batch in corpus_pass.batches(windows, bar):
        places = [of_n[batch.counts] for of_n in index.places(batch.token_ids)]
        for of_n in places:
            count += np.bincount(of_n[of_n >= 0], minlength=len(index))
        for i, row in enumerate(rows):
            own = slice(i * scale.d_mlp, (i + 1) * scale.d_mlp)
            acts = batch.counted(row).cpu()
            z = (acts - mean[own]) * factor[own]
            for of_n in places:
                there = torch.from_numpy(np.flatnonzero(of_n >= 0))
                sums[:, own].index_add_(0, torch.from_numpy(of_n)[there], z[there])
    sums /= torch.from_numpy(count).clamp(min=1)[:, None]
    sums[torch.from_numpy(count == 0)] = torch.nan
    sums[:, torch.from_numpy(np.isnan(scale.std))] = torch.nan
    return Effects(sums, count)


def _float32(values: Float64[np.ndarray, " neuron"]) -> Float32[Tensor, " neuron"]:
    return torch.from_numpy(values.astype(np.float32))
