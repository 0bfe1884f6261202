"""One neuron on every prompt of a run, as data for heatmaps and figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.neuron.colouring import Colouring
from neuron_signatures.dashboard.neuron.heatmap import Line
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.acts import Stats, stats_of
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64


@dataclass(frozen=True)
class NeuronOnRun:
    """The neuron's activations on every prompt, in the order of the run, with masks of the included positions."""

    prompts: list[PromptRecord]
    values: list[Float32[np.ndarray, " pos"]]
    counts: list[Bool[np.ndarray, " pos"]]
    include_bos: bool = False

    @cached_property
    def _flat(self) -> tuple[Float32[np.ndarray, " token"], Bool[np.ndarray, " token"]]:
        """All values and masks, prompt after prompt."""
        return np.concatenate(self.values), np.concatenate(self.counts)

    @cached_property
    def _starts(self) -> Int64[np.ndarray, " prompt"]:
        starts: np.ndarray = np.cumsum([0, *(len(v) for v in self.values[:-1])])
        return starts

    def stats(self, index: int) -> Stats:
        return stats_of(self.values[index], self.counts[index])

    @cached_property
    def over_run(self) -> Stats:
        """Statistics over all included tokens; the positions are not meaningful."""
        return stats_of(*self._flat)

    def counted_values(self) -> Float32[np.ndarray, " token"]:
        """The activations at all included tokens of the run."""
        values, counts = self._flat
        counted: np.ndarray = values[counts]
        return counted

    def line(self, index: int, title: str, *, most: int) -> Line:
        """At most `most` tokens of the prompt around its peak (the first ones if all fit), for a heatmap."""
        p, first = self.prompts[index], 0
        if p.seq_len > most:
            peak = self.stats(index).peak_pos or 0
            first = min(max(peak - most // 2, 0), p.seq_len - most)
            title += f", positions {first} to {first + most - 1} of {p.seq_len}"
        here = slice(first, first + most)
        return Line(
            title, p.tokens[here], p.token_ids[here], self.values[index][here], self.counts[index][here], first,
            (first > 0, first + most < p.seq_len),
        )  # fmt: skip

    def largest_of(self, colouring: Colouring) -> Float64[np.ndarray, " prompt"]:
        """The largest magnitude of the coloured quantity on each prompt; NaN if no value is included."""
        values, counts = self._flat
        shown = np.abs(colouring.of(values))
        size = np.where(counts & np.isfinite(shown), shown, -1.0)
        found = np.maximum.reduceat(size, self._starts)  # no prompt is empty
        return np.where(found >= 0, found, np.nan)

    def top_tokens(self, sign: int, n: int) -> list[tuple[str, float]]:
        """Up to `n` distinct tokens (raw) with the largest activation of this sign over the run, largest first."""
        every, counts = self._flat
        values = np.where(counts, every, np.nan) * sign
        tokens = [t for p in self.prompts for t in p.tokens]
        size = np.where(np.isfinite(values) & (values > 0), values, 0)
        found: dict[str, float] = {}
        for i in np.argsort(-size, kind="stable")[: 50 * n].tolist():
            if size[i] > 0 and len(found) < n:
                found.setdefault(tokens[i], float(size[i] * sign))
        return list(found.items())

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


def read_neuron(ctx: PageContext, at: NeuronAt, *, include_bos: bool) -> NeuronOnRun:
    values = cached_reads.values_of(ctx.run, ctx.data_key, at.layer, at.neuron)
    counts = cached_reads.counts_of(ctx.run, ctx.data_key, include_bos)
    return NeuronOnRun(ctx.run.prompts, values, counts, include_bos)


def order_of(largest: Float64[np.ndarray, " prompt"], *, by_size: bool) -> list[int]:
    """Indices of the prompts by decreasing magnitude (prompts without a value last), or in the order of the run."""
    if not by_size:
        return list(range(len(largest)))
    return np.argsort(-np.nan_to_num(largest, nan=-1.0), kind="stable").tolist()  # type: ignore[no-any-return]
