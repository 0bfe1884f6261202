"""Which windows the second pass runs, and where their activations go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from neuron_signatures.records.corpus.blocks import in_batches
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.stats.hashes import mixed

_SAMPLE_SALT = 2
_VALUE_BYTES = 4


class Rows(NamedTuple):
    """The strongest windows of the chosen neurons, each once per neuron, in ascending order.

    Rows `first_row[i]` to `first_row[i + 1]` are those of neuron i; `start` is where their values begin.
    """

    first_row: Int64[np.ndarray, " neurons_and_end"]
    window: Int64[np.ndarray, " row"]
    start: Int64[np.ndarray, " rows_and_end"]


@dataclass(frozen=True)
class SecondPlan:
    """`neurons` are pairs of layer and neuron, ascending; `sample` are the sampled windows, ascending."""

    corpus: Corpus
    neurons: Int64[np.ndarray, "neuron 2"]
    sample: Int64[np.ndarray, " window"]
    rows: Rows
    batch_size: int

    @cached_property
    def sample_starts(self) -> Int64[np.ndarray, " windows_and_end"]:
        """Where the values of each sampled window begin, and their number."""
        return _starts(self.corpus.window_length[self.sample])

    @property
    def n_bytes(self) -> int:
        return _VALUE_BYTES * int(len(self.neurons) * self.sample_starts[-1] + self.rows.start[-1])

    @cached_property
    def batches(self) -> list[Int64[np.ndarray, " row"]]:
        """All windows that are needed, the longest first; windows of one batch have similar lengths."""
        needed = np.union1d(self.sample, self.rows.window)
        ordered = needed[np.lexsort((needed, -self.corpus.window_length[needed].astype(np.int64)))]
        return in_batches(self.corpus, ordered, self.batch_size)

    @cached_property
    def rows_by_window(self) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
        """The rows in the order of their windows, and these windows."""
        order = np.argsort(self.rows.window, kind="stable")
        return order, self.rows.window[order]

    @cached_property
    def neuron_of_row(self) -> Int64[np.ndarray, " row"]:
        return np.repeat(np.arange(len(self.neurons)), np.diff(self.rows.first_row))

    def refuse_too_large(self, limit: int) -> None:
        """Raise `UsageError` if the values take more than `limit` bytes."""
        if self.n_bytes > limit:
            what = (
                f"{len(self.neurons)} neurons take {human_bytes(self.n_bytes)} on {len(self.sample)} sampled windows "
                f"and {len(self.rows.window)} strongest ones, the limit is {human_bytes(limit)}"
            )
            raise UsageError(
                what, where="--sample_size", next_step="Choose fewer --neurons or --sample_windows, or raise it"
            )


def neuron_names(neurons: Integer[np.ndarray, "neuron 2"]) -> list[str]:
    """`L3N508` and so on."""
    return [f"L{layer}N{neuron}" for layer, neuron in neurons.tolist()]


def sampled_windows(n_windows: int, n_sampled: int, seed: int) -> Int64[np.ndarray, " window"]:
    """A uniform sample without replacement, chosen by a hash of the window's number, ascending."""
    order = np.argsort(mixed(np.arange(n_windows), seed, _SAMPLE_SALT), kind="stable")
    return np.sort(order[:n_sampled])


def rows_of(windows: list[Int64[np.ndarray, " _"]], corpus: Corpus) -> Rows:
    """Rows of each neuron's windows."""
    each = [np.unique(w) for w in windows]
    window = np.concatenate([np.zeros(0, dtype=np.int64), *each]).astype(np.int64)
    return Rows(_starts(np.array([len(w) for w in each])), window, _starts(corpus.window_length[window]))


def _starts(lengths: np.ndarray) -> Int64[np.ndarray, " n"]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
