"""One neuron on every prompt of a run, ready for heatmaps and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.data import cached_reads as loads
from neuron_signatures.dashboard.neuron.heatmap import Line
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.acts import Stats, stats_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32


@dataclass(frozen=True)
class NeuronOnRun:
    """The neuron on every prompt, in the order of the run, with the positions that count."""

    prompts: list[PromptRecord]
    values: list[Float32[np.ndarray, " pos"]]
    counts: list[Bool[np.ndarray, " pos"]]
    peaks: Float32[np.ndarray, " prompt"]
    """The largest |act| of each prompt; NaN where no value counts."""
    include_bos: bool = False
    """Whether the BOS counts."""

    @property
    def largest(self) -> float:
        """The largest |act| of the run, 0 if no value counts."""
        finite = self.peaks[np.isfinite(self.peaks)]
        return float(finite.max()) if finite.size else 0.0

    def stats(self, index: int) -> Stats:
        return stats_of(self.values[index], self.counts[index])

    def stats_over_run(self) -> Stats:
        """Over all tokens that count; its positions mean nothing."""
        return stats_of(np.concatenate(self.values), np.concatenate(self.counts))

    def counted_values(self) -> Float32[np.ndarray, " token"]:
        """The activations at all tokens of the run that count."""
        counted: np.ndarray = np.concatenate(self.values)[np.concatenate(self.counts)]
        return counted

    def line(self, index: int, *, title: bool, most: int) -> Line:
        """The prompt for a heatmap, its first `most` tokens; the title says what it leaves out."""
        p = self.prompts[index]
        peak = f"   largest |act| {self.peaks[index]:.4g}" if np.isfinite(self.peaks[index]) else ""
        cut = f"   the first {most} of {p.seq_len} tokens" if p.seq_len > most else ""
        name = f"{index + 1}  {p.probe_id}{peak}" if title else ""
        return Line(
            name + cut, p.tokens[:most], p.token_ids[:most], self.values[index][:most], self.counts[index][:most]
        )  # fmt: skip

    def order(self, *, by_peak: bool) -> list[int]:
        """Indices of the prompts: by the largest |act|, prompts without a value last; or as in the run."""
        if not by_peak:
            return list(range(len(self.prompts)))
        return np.argsort(-np.nan_to_num(self.peaks, nan=-1.0), kind="stable").tolist()  # type: ignore[no-any-return]

    def token_frame(self, index: int) -> pd.DataFrame:
        """One row per token, text made visible; `mark` says where the largest and smallest values are."""
        p, stats = self.prompts[index], self.stats(index)
        marks = ["" if c else "left out" for c in self.counts[index]]
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
    values = loads.values_of(ctx.run, ctx.data_key, ctx.at.layer, ctx.at.neuron)
    counts = loads.counts_of(ctx.run, ctx.data_key, include_bos)
    return NeuronOnRun(ctx.run.prompts, values, counts, peaks_of(values, counts), include_bos)


def peaks_of(
    values: list[Float32[np.ndarray, " pos"]], counts: list[Bool[np.ndarray, " pos"]]
) -> Float32[np.ndarray, " prompt"]:
    """The largest |act| of each prompt; NaN where no value counts. No prompt is empty."""
    together = np.abs(np.concatenate(values))
    kept = np.where(np.concatenate(counts) & np.isfinite(together), together, -1.0)
    starts = np.cumsum([0, *(len(v) for v in values[:-1])])
    peaks = np.maximum.reduceat(kept, starts)
    return np.where(peaks >= 0, peaks, np.nan).astype(np.float32)
