"""The largest entries of rows of similarities, as rows of the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, Integer

from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.runs.corpus_analysis.folder import SIMILAR, TABLES, Similarity


@dataclass(frozen=True, eq=False)
class Ranked:
    """Entries of a matrix: row, column, rank in the row from 1, and value. Sorted by row and rank."""

    row: Int64[np.ndarray, " entry"]
    column: Int64[np.ndarray, " entry"]
    rank: Int64[np.ndarray, " entry"]
    value: Float64[np.ndarray, " entry"]

    @classmethod
    def empty(cls) -> Ranked:
        none = np.zeros(0, np.int64)
        return cls(none, none, none, np.zeros(0))

    def joined(self, other: Ranked, *, first_row: int) -> Ranked:
        """With the entries of further rows, of which the first is `first_row`."""
        return Ranked(
            np.concatenate([self.row, other.row + first_row]), np.concatenate([self.column, other.column]),
            np.concatenate([self.rank, other.rank]), np.concatenate([self.value, other.value]),
        )  # fmt: skip


def strongest_columns(values: Float64[np.ndarray, "row column"], n: int, *, signed: bool) -> Ranked:
    """The n columns of each row with the largest value (`signed`: largest absolute value), ties by column.

    NaN has no rank; neither has 0, which is no likeness.
    """
    size = np.abs(values) if signed else values
    size = np.where(np.isnan(size) | (size == 0), -1.0, size)
    most = min(n, size.shape[1])
    least = np.partition(size, size.shape[1] - most, axis=1)[:, size.shape[1] - most]
    rows, columns, ranks = [], [], []
    for i, at_least in enumerate(least):
        near = np.flatnonzero((size[i] >= at_least) & (size[i] >= 0))
        order = near[np.argsort(-size[i, near], kind="stable")][:most]
        rows.append(np.full(len(order), i))
        columns.append(order)
        ranks.append(np.arange(1, len(order) + 1))
    row, column = _joined(rows), _joined(columns)
    return Ranked(row, column, _joined(ranks), values[row, column].astype(np.float64))


def _joined(parts: list[np.ndarray]) -> Int64[np.ndarray, " entry"]:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)


def ranked_rows(
    kind: Similarity, found: Ranked, chosen: Pairs, others: Pairs, *, null_high: Float64[np.ndarray, " row"],
    n: Integer[np.ndarray, " row"], low: Float64[np.ndarray, " entry"] | None = None,
    high: Float64[np.ndarray, " entry"] | None = None, pole: np.ndarray | None = None,
    other_pole: np.ndarray | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Rows of the table SIMILAR. `chosen`, `null_high`, `n` and `pole` are by row of the matrix, `others` and
    `other_pole` by its column. Without poles they are empty."""
    undefined = np.full(len(found.row), np.nan)
    frame = pd.DataFrame({
        "layer": chosen[found.row, 0], "neuron": chosen[found.row, 1],
        "pole": "" if pole is None else pole[found.row], "kind": kind, "rank": found.rank,
        "other_layer": others[found.column, 0], "other_neuron": others[found.column, 1],
        "other_pole": "" if other_pole is None else other_pole[found.column], "value": found.value,
        "low": undefined if low is None else low, "high": undefined if high is None else high,
        "null_high": null_high[found.row], "n": n[found.row],
    })  # fmt: skip
    return frame[list(TABLES[SIMILAR].columns)]
