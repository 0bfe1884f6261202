"""One neuron on every prompt of a run, as data for heatmaps and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.neuron.heatmap import Line
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.acts import Stats, stats_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32


@dataclass(frozen=True)
class NeuronOnRun:
    """The neuron's activations on every prompt, in the order of the run, with masks of the included positions."""

    prompts: list[PromptRecord]
    values: list[Float32[np.ndarray, " pos"]]
    counts: list[Bool[np.ndarray, " pos"]]
    peaks: Float32[np.ndarray, " prompt"]
    """The largest |act| of each prompt; NaN if no value is included."""
    include_bos: bool = False

    @property
    def largest(self) -> float:
        """The largest |act| of the run, 0 if no value is included."""
        finite = self.peaks[np.isfinite(self.peaks)]
        return float(finite.max()) if finite.size else 0.0

    def stats(self, index: int) -> Stats:
        return stats_of(self.values[index], self.counts[index])

    def stats_over_run(self) -> Stats:
        """Statistics over all included tokens; the positions are not meaningful."""
        return stats_of(np.concatenate(self.values), np.concatenate(self.counts))

    def counted_values(self) -> Float32[np.ndarray, " token"]:
        """The activations at all included tokens of the run."""
        counted: np.ndarray = np.concatenate(self.values)[np.concatenate(self.counts)]
        return counted

    def line(self, index: int, *, title: bool, most: int) -> Line:
        """The prompt's first `most` tokens for a heatmap; the title says if it was truncated."""
        p = self.prompts[index]
        peak = f"   largest |act| {self.peaks[index]:.4g}" if np.isfinite(self.peaks[index]) else ""
        cut = f"   the first {most} of {p.seq_len} tokens" if p.seq_len > most else ""
        name = f"{index + 1}  {p.probe_id}{peak}" if title else ""
        return Line(
            name + cut, p.tokens[:most], p.token_ids[:most], self.values[index][:most], self.counts[index][:most]
        )  # fmt: skip

    def order(self, *, by_peak: bool) -> list[int]:
        """Indices of the prompts by decreasing peak (prompts without a value last), or in the order of the run."""
        if not by_peak:
            return list(range(len(self.prompts)))
        return np.argsort(-np.nan_to_num(self.peaks, nan=-1.0), kind="stable").tolist()  # type: ignore[no-any-return]

    def token_frame(self, index: int) -> pd.DataFrame:
        """One row per token, for display; `mark` names the maximum, the minimum and excluded tokens."""
        p, stats = self.prompts[index], self.stats(index)
        marks = ["" if c else "excluded" for c in self.counts[index]]
        if stats.max_pos is not None and stats.min_pos is not None:
            marks[stats.min_pos], marks[stats.max_pos] = "min", "max"
        return pd.DataFrame(
            {
                "position": np.arange(p.seq_len),
                "id": list(p.token_ids),
                "token": [visible(t) for t in p.tokens],
                "activation": self.values[index].astype(np.float64),
                "mark": marks,
            }
        )


def read_neuron(ctx: PageContext, *, include_bos: bool) -> NeuronOnRun:
    values = cached_reads.values_of(ctx.run, ctx.data_key, ctx.at.layer, ctx.at.neuron)
    counts = cached_reads.counts_of(ctx.run, ctx.data_key, include_bos)
    return NeuronOnRun(ctx.run.prompts, values, counts, peaks_of(values, counts), include_bos)


def peaks_of(
    values: list[Float32[np.ndarray, " pos"]], counts: list[Bool[np.ndarray, " pos"]]
) -> Float32[np.ndarray, " prompt"]:
    """The largest |act| of each prompt; NaN if no value is included. No prompt is empty."""
    size = np.abs(np.concatenate(values))
    size = np.where(np.concatenate(counts) & np.isfinite(size), size, -1.0)
    starts = np.cumsum([0, *(len(v) for v in values[:-1])])
    peaks = np.maximum.reduceat(size, starts)
    return np.where(peaks >= 0, peaks, np.nan).astype(np.float32)
