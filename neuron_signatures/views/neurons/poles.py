"""Neurons with a sign of their activation, as one integer each, to look them up in the tables of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64

_LAYERS, _NEURONS = 1 << 20, 1 << 40


class Poles(NamedTuple):
    """One neuron and sign for each row of a list."""

    layer: Int64[np.ndarray, " row"]
    neuron: Int64[np.ndarray, " row"]
    negative: Bool[np.ndarray, " row"]

    def keys(self, *, signed: bool) -> Int64[np.ndarray, " row"]:
        """An integer for each neuron, or with `signed` for each pole; -1 for a number that no neuron has."""
        known = (self.layer >= 0) & (self.layer < _LAYERS) & (self.neuron >= 0) & (self.neuron < _NEURONS)
        layer, neuron = (np.where(known, v, 0).astype(np.int64) for v in (self.layer, self.neuron))
        layer <<= 42
        layer |= neuron << 1
        layer |= self.negative & signed
        return np.where(known, layer, -1)

    @classmethod
    def one(cls, at: NeuronAt, *, negative: bool) -> Poles:
        return cls(np.array([at.layer]), np.array([at.neuron]), np.array([negative]))


class KeyIndex:
    """Finds rows of a table by key. Of equal keys, the first row counts."""

    def __init__(self, keys: Int64[np.ndarray, " row"]) -> None:
        if (np.diff(keys) > 0).all():  # as our own tables are
            self._keys, self._rows = keys, np.arange(len(keys), dtype=np.int32)
        else:
            self._keys, rows = np.unique(keys, return_index=True)
            self._rows = rows.astype(np.int32)

    def rows(self, keys: Int64[np.ndarray, " wanted"]) -> Int64[np.ndarray, " wanted"]:
        """The row of each key; -1 for a key that the table does not have."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where((self._keys[at] == keys) & (keys >= 0), self._rows[at], -1)
