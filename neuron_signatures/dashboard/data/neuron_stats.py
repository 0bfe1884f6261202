"""Statistics of every neuron of a run: from the table of the peaks stage if it matches, else from the activations.

A flat index runs over the stored layers, and within each layer over its neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.result_records import PeaksRecord, another_dump, read_record
from neuron_signatures.runs.results import ANALYSIS_META, NEURONS
from neuron_signatures.runs.run import Run
from neuron_signatures.views.acts import counted
from neuron_signatures.views.columns import read_columns
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64

Progress = Callable[[int, int], None]
"""Called with the completed and the total amount of work."""
_LARGEST_BLOCK = 16 << 20
"""Values of one layer that are read at once; longer prompts are read token by token."""


def no_progress(done: int, total: int) -> None:
    """Ignores progress."""


@dataclass(frozen=True)
class NeuronStats:
    """Statistics over the included tokens; a neuron without a finite value has a `peak` of -1."""

    peak: Float32[np.ndarray, " neuron"]
    """Largest |act|."""
    mean: Float64[np.ndarray, " neuron"] | None
    std: Float64[np.ndarray, " neuron"] | None
    """Mean and population standard deviation, NaN where undefined; None without the table of the peaks stage."""
    source: str


class TableStats(NamedTuple):
    """Statistics from the peaks stage, or the reason why they cannot be used."""

    stats: NeuronStats | None
    why: str


def neuron_at(run: Run, flat: int) -> NeuronAt:
    row, neuron = divmod(int(flat), run.manifest.d_mlp)
    return NeuronAt(run.layers[row], neuron)


def flat_of(run: Run, at: NeuronAt) -> int:
    """The inverse of `neuron_at`."""
    return run.layers.index(at.layer) * run.manifest.d_mlp + at.neuron


def stats_from_table(run: Run, *, include_bos: bool) -> TableStats:
    """The peaks stage's statistics, if they are of this run and of the same tokens."""
    try:
        record = read_record(run.path, ANALYSIS_META, PeaksRecord)
        if why := _why_not(run, record, include_bos):
            return TableStats(None, why)
        names = ("layer", "neuron", "max_peak_abs", "mean_act", "std_act")
        table = read_columns(run.path, NEURONS, names)
    except UsageError:
        return TableStats(None, "The peaks of this run have not been computed yet.")
    except BadRunError:
        return TableStats(None, "The table of peaks cannot be read.")
    layer, neuron, peak, mean, std = (np.asarray(table.column(n).to_numpy(), np.float64) for n in names)
    flat = pd.Index(run.layers).get_indexer(layer) * run.manifest.d_mlp + neuron.astype(np.int64)
    n = len(run.layers) * run.manifest.d_mlp
    if len(flat) != n or not np.array_equal(np.sort(flat), np.arange(n)):
        return TableStats(None, "The table of peaks does not hold exactly the neurons of this run.")
    order = np.argsort(flat)
    size = np.where(np.isfinite(peak), peak, -1)[order].astype(np.float32)
    return TableStats(NeuronStats(size, mean[order], std[order], "the table of the peaks stage"), "")


def peaks_by_reading(run: Run, *, include_bos: bool, progress: Progress = no_progress) -> NeuronStats:
    """Peaks from one pass over all activations, layer by layer, without non-finite values."""
    best = np.full((len(run.layers), run.manifest.d_mlp), -1, np.float32)
    for done, prompt in enumerate(run.prompts):
        progress(done, len(run.prompts))
        mask = counted(run, prompt, include_bos=include_bos)
        for row, layer in enumerate(run.layers):
            for block in blocks(run, prompt, layer, mask):
                np.maximum(best[row], _peak(block), out=best[row])
    progress(len(run.prompts), len(run.prompts))
    return NeuronStats(best.reshape(-1), None, None, "one pass over all activations")


def blocks(
    run: Run, prompt: PromptRecord, layer: int, mask: Bool[np.ndarray, " pos"]
) -> Iterator[Float32[np.ndarray, "pos neuron"]]:
    """One layer of a prompt at the positions of `mask`: at once, or token by token if the prompt is long."""
    if prompt.seq_len * run.manifest.d_mlp <= _LARGEST_BLOCK:
        if mask.any():
            acts = run.acts(prompt, layer=layer)
            yield acts if mask.all() else acts[mask]
        return
    for pos in np.flatnonzero(mask):
        yield run.acts(prompt, layer=layer, pos=int(pos))[None]


def top_by_peak(stats: NeuronStats, n: int) -> Int64[np.ndarray, " chosen"]:
    """Flat indices of the `n` neurons with the largest peaks, ascending; ties go to the lowest index.

    Neurons without a finite value are left out.
    """
    order = np.argsort(-stats.peak, kind="stable")[:n]
    return np.sort(order[stats.peak[order] >= 0])


def _peak(acts: Float32[np.ndarray, "pos neuron"]) -> Float32[np.ndarray, " neuron"]:
    size: np.ndarray = np.maximum(acts.max(axis=0), -acts.min(axis=0))
    if not np.isfinite(size).all():
        size = np.where(np.isfinite(acts), np.abs(acts), -1).max(axis=0)
    return size


def _why_not(run: Run, record: PeaksRecord, include_bos: bool) -> str:
    if doubt := another_dump(run.manifest, record):
        return f"The table of peaks is not used: {doubt}."
    if record.settings.include_bos != include_bos or (record.settings.first_pos or 0) > 1:
        return "The table of peaks includes other tokens than this page (BOS, first position)."
    n_tokens = sum(int(counted(run, p, include_bos=include_bos).sum()) for p in run.prompts)
    return "" if record.n_tokens == n_tokens else "The table of peaks is over a different number of tokens."
