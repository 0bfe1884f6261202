"""The neurons of a corpus in the order of a number of the records, with a filter."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.filters import Compare, Place, Text, parse
from neuron_signatures.views.neurons.poles import Poles
from neuron_signatures.views.records.often import Often, OftenOn

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float64, Int64

OrderBy = Literal["kurtosis", "largest", "rate_above", "mean"]
ORDERS: tuple[OrderBy, ...] = ("kurtosis", "largest", "rate_above", "mean")
_COMPARE = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal}


class CorpusNeuron(NamedTuple):
    """One neuron; moments are of the part explain, `largest` is of the whole corpus. None where undefined."""

    at: NeuronAt
    state: str
    mean: float | None
    std: float | None
    kurtosis: float | None
    max: float | None
    min: float | None
    largest: float | None
    rate_above: float | None
    """Share of the tokens at which |activation| is at least a tenth of the largest."""
    often_pos: OftenOn
    often_neg: OftenOn


class CorpusNeurons:
    """All recorded neurons."""

    def __init__(self, table: pa.Table) -> None:
        """Of `Records.neurons()`."""
        self._table = table
        self._often = Often(table)
        self._alive = np.array([s == "alive" for s in table["state"].to_pylist()], bool)
        self._layer, self._neuron = (np.asarray(table[c].to_numpy(), np.int64) for c in ("layer", "neuron"))

    def __len__(self) -> int:
        return len(self._layer)

    def order(self, by: OrderBy, query: str = "") -> Int64[np.ndarray, " row"]:
        """Rows that match, the largest |number| first, undefined ones last, and after them neurons that are dead or
        nearly dead; ties by layer and neuron.

        The query is that of ranked lists: a bound compares the number, a text the tokens at the peaks of both poles.
        Raises `UsageError` if it is invalid.
        """
        values = self._numbers(by)
        rows = np.flatnonzero(self._matching(values, query))
        ordered: np.ndarray = rows[np.lexsort((-np.abs(values[rows]), ~self._alive[rows]))]
        return ordered

    def row(self, i: int) -> CorpusNeuron:
        found = self._table.slice(i, 1).to_pylist()[0]
        at = NeuronAt(int(self._layer[i]), int(self._neuron[i]))
        often = (self._often.of(Poles.one(at, negative=negative)) for negative in (False, True))
        numbers = (found[name] for name in ("mean", "std", "kurtosis", "max", "min", "largest", "rate_above"))
        defined: list[Any] = [None if x is None or math.isnan(x) else x for x in numbers]
        return CorpusNeuron(at, found["state"], *defined, *often)

    def _matching(self, values: Float64[np.ndarray, " row"], query: str) -> Bool[np.ndarray, " row"]:
        keep = np.ones(len(self), bool)
        for term in parse(query):
            if isinstance(term, Compare):
                keep &= _COMPARE[term.sign](values, term.limit)
            elif isinstance(term, Place):
                keep &= (self._layer == term.layer) & (term.neuron is None or self._neuron == term.neuron)
            else:
                keep &= self._with_text(term)
        return keep

    def _with_text(self, term: Text) -> Bool[np.ndarray, " row"]:
        if term.field not in ("any", "often"):
            return np.zeros(len(self), bool)
        sides = (Poles(self._layer, self._neuron, np.full(len(self), negative)) for negative in (False, True))
        found: np.ndarray = np.any([self._often.matching(side, term.pattern) for side in sides], axis=0)
        return found

    def _numbers(self, name: str) -> Float64[np.ndarray, " row"]:
        return np.asarray(self._table[name].to_numpy(), np.float64)
