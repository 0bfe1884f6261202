"""The list of all recorded neurons: by a number of the records, filtered, and stepped through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from neuron_signatures.runs.run import Run
from neuron_signatures.tui.layout.text import Column, Line, Span, beginning, line, number, safe, sign_style, size
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.neuron_order import ORDERS, CorpusNeuron, CorpusNeurons, OrderBy
from neuron_signatures.views.records.often import OftenOn

_WORDS: Mapping[OrderBy, str] = {
    "kurtosis": "kurtosis (few, strong activations first)", "largest": "largest |activation|",
    "rate_above": "share of tokens with at least a tenth of the largest |activation|", "mean": "|mean|",
}  # fmt: skip


class Wanted(NamedTuple):
    """Order and filter."""

    by: OrderBy = "kurtosis"
    query: str = ""

    def next(self) -> Wanted:
        return self._replace(by=ORDERS[(ORDERS.index(self.by) + 1) % len(ORDERS)])


AS_LISTED = Wanted()


@dataclass(frozen=True)
class NeuronList:
    """The recorded neurons in an order; `index` is the one that is open."""

    neurons: CorpusNeurons
    rows: np.ndarray
    wanted: Wanted
    index: int = -1

    @classmethod
    def arranged(cls, neurons: CorpusNeurons, wanted: Wanted) -> NeuronList:
        """Raises `UsageError` for an invalid filter."""
        return cls(neurons, neurons.order(wanted.by, wanted.query), wanted)

    def at(self, i: int) -> CorpusNeuron:
        return self.neurons.row(int(self.rows[i]))

    def step(self, by: int, run: Run) -> NeuronList | None:
        """The next or previous neuron of a stored layer; None if there is none."""
        i = self.index + by
        while 0 <= i < len(self.rows):
            if run.stores(*self.at(i).at):
                return replace(self, index=i)
            i += by
        return None

    def label(self, at: NeuronAt) -> str:
        """Status text while the neuron is open; empty for another one."""
        if self.index < 0 or self.at(self.index).at != at:
            return ""
        return f"{self.index + 1} of {len(self.rows):,} by {self.wanted.by} (. next , previous)"


class NeuronTable:
    """The rows of a list, created on demand."""

    def __init__(self, found: NeuronList) -> None:
        self.found = found
        self._row = lru_cache(maxsize=500)(found.at)

    @property
    def empty(self) -> str:
        return "no neuron matches the filter; / changes it"

    def __len__(self) -> int:
        return len(self.found.rows)

    def columns(self) -> Sequence[Column]:
        return (
            Column("neuron", "neuron", 10), Column("state", "", 11, drop=5),
            Column("kurtosis", "kurtosis", 9, right=True, drop=2 if self.found.wanted.by != "kurtosis" else 0),
            Column("max", "max", 9, right=True), Column("min", "min", 9, right=True, drop=1),
            Column("mean", "mean", 9, right=True, drop=7 if self.found.wanted.by != "mean" else 0),
            Column("std", "std", 9, right=True, drop=8),
            Column("rate", "active", 9, right=True, drop=6 if self.found.wanted.by != "rate_above" else 0),
            Column("+", "most often on (+)", 0, min_width=16),
            Column("-", "most often on (-)", 0, drop=3, min_width=14),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self._row(i)
        rate = "" if r.rate_above is None else f"{100 * r.rate_above:.3g} %"
        return {
            "neuron": Span(r.at.label, "title"), "state": Span("" if r.state == "alive" else safe(r.state), "warn"),
            "kurtosis": Span(size(r.kurtosis, 3)), "max": Span(number(r.max, 3), sign_style(r.max)),
            "min": Span(number(r.min, 3), sign_style(r.min)), "mean": Span(number(r.mean, 3), sign_style(r.mean)),
            "std": Span(size(r.std, 3)), "rate": Span(rate),
            "+": Span(_often(r.often_pos) if (r.max or 0) > 0 else "", "token"),
            "-": Span(_often(r.often_neg) if (r.min or 0) < 0 else "", "token"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        r = self._row(i)
        own = {k: v for k, v in r._asdict().items() if k not in ("at", "often_pos", "often_neg")}
        often = {"often_pos": r.often_pos._asdict(), "often_neg": r.often_neg._asdict()}
        return {"rank": i + 1, **r.at._asdict(), **own, **often}


def neurons_head(found: NeuronList) -> list[Line]:
    """What the list holds and its order."""
    n, of = len(found.rows), len(found.neurons)
    shown = f"{n:,} of {of:,}" if found.wanted.query else f"{of:,}"
    query = (Span("  filter ", "dim"), Span(beginning(found.wanted.query), "mark")) if found.wanted.query else ()
    return [
        line(Span("neurons of the corpus", "title"), Span(f"  {shown}", "dim"), *query),
        line(Span(f"by {_WORDS[found.wanted.by]}, dead ones last", "dim")),
    ]


def _often(often: OftenOn) -> str:
    return beginning(often.text_with_share())
