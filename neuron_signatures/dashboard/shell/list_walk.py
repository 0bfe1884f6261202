"""Stepping through a ranked list: filters, the position of a row, and the default list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.ranked import RankedList, Row

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64

TOP_K = 200
MOST = 5000


@dataclass(frozen=True)
class Filters:
    """Bounds for rows (None: no bound), a query, and the maximum number of rows, in the list's order."""

    abs_score: float | None = None
    score_from: float | None = None
    score_to: float | None = None
    act_from: float | None = None
    act_to: float | None = None
    top_k: int = TOP_K
    query: str = ""
    """As in `RankedList.matching`."""


def stored(run: Run, layer: Int64[np.ndarray, " row"], neuron: Int64[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
    """Mask of the rows whose neurons the run stores; others cannot be opened."""
    found: np.ndarray = np.isin(layer, list(run.layers)) & (neuron >= 0) & (neuron < run.manifest.d_mlp)
    return found


def passing(ranked: RankedList, filters: Filters, run: Run | None = None) -> Int64[np.ndarray, " passing"]:
    """Indices of the rows that pass, in the list's order, at most `top_k`. Undefined numbers fail every bound.

    With `run`, only rows of neurons that it stores. Raises `UsageError` if the query is invalid.
    """
    keep = np.ones(len(ranked), bool) if run is None else stored(run, ranked.layer, ranked.neuron)
    for values, low, high in (
        (np.abs(ranked.score), filters.abs_score, None),
        (ranked.score, filters.score_from, filters.score_to),
        (ranked.acts(), filters.act_from, filters.act_to),
    ):
        if low is not None:
            keep &= values >= low
        if high is not None:
            keep &= values <= high
    if filters.query:
        keep &= ranked.matching(filters.query)
    found: np.ndarray = np.flatnonzero(keep)[: filters.top_k]
    return found


def n_not_stored(ranked: RankedList, filters: Filters, run: Run) -> int:
    """The number of rows within the bounds, of any rank, whose neurons the run does not store."""
    rows = passing(ranked, replace(filters, top_k=len(ranked)))
    return int((~stored(run, ranked.layer[rows], ranked.neuron[rows])).sum())


def left_out_note(n: int) -> str:
    """A sentence about rows that cannot be opened; empty for none."""
    rows = "1 row of a neuron" if n == 1 else f"{n:,} rows of neurons"
    return f"Left out: {rows} that this run does not store." if n else ""


def row_of(ranked: RankedList, at: NeuronAt, row: int | None, pole: str = "") -> int | None:
    """`row` if it is of this neuron, else the neuron's row (of this pole if possible); None if there is none."""
    if row is not None and 0 <= row < len(ranked) and (ranked.layer[row], ranked.neuron[row]) == at:
        return row
    return ranked.find(at, pole)


def index_in(rows: Int64[np.ndarray, " passing"], row: int | None) -> int | None:
    """Index of `row` in the ascending `rows`; None if it is not one of them."""
    if row is None:
        return None
    at = int(np.searchsorted(rows, row))
    return at if at < len(rows) and rows[at] == row else None


def step(rows: Int64[np.ndarray, " passing"], row: int | None, by: int) -> int | None:
    """The row `by` steps after `row`, clipped at the ends; the first if `row` is not in `rows`. None for no rows."""
    if len(rows) == 0:
        return None
    at = index_in(rows, row)
    return int(rows[0 if at is None else min(max(at + by, 0), len(rows) - 1)])


def label(row: Row) -> str:
    """A row in one line for display: `1  L4N178  +1.107  ·is`; without a score it has no rank."""
    score = "" if row.score is None else f"{row.score:+.4g}" if row.score < 0 or row.pole == "" else f"{row.score:.4g}"
    words = ["" if row.score is None else str(row.rank), row.at.label + row.pole, score, visible(row.token or "")[:24]]
    return "  ".join(w for w in words if w)


def rank_fact(ranked: RankedList, row: Row) -> tuple[str, str]:
    """A row's rank as label and text: `3 of 200`, `in ...: influence +1.1`; without a score it has no rank."""
    if row.score is None:
        return "no rank", f"in {ranked.ref.title}: {ranked.score_name} undefined"
    return f"{row.rank} of {len(ranked)}", f"in {ranked.ref.title}: {ranked.score_name} {row.score:+.4g}"
