"""The strongest windows of all neurons of some layers, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import PARTS, RECORDS, STRONGEST, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.stage_meta import AGAIN


@dataclass(frozen=True, eq=False)
class StrongestLists:
    """Lists by neuron, pole (in the order of `POLES`) and rank. `window` is -1 after the end of a list."""

    window: Int64[np.ndarray, "neuron pole rank"]
    pos: Int64[np.ndarray, "neuron pole rank"]
    """Where each window has its peak."""
    value: Float64[np.ndarray, "neuron pole rank"]
    """The activation there."""


def strongest_lists(records: Records, layers: Sequence[int], part: Part) -> StrongestLists:
    """The lists of the neurons of these layers, in order. Raises `BadRunError` for a window that is not there."""
    path = inside(records.path, f"{RECORDS}/{STRONGEST}")
    axis, found = PARTS.index(part), []
    with ArrayFile(path) as file:
        for layer in layers:
            row = records.layers.index(layer)
            window, pos, value = (file.read(key, row)[:, axis] for key in ("window", "pos", "value"))
            if (window >= records.corpus.n_windows).any():
                raise BadRunError("has a window that is not in the corpus", where=str(path), next_step=AGAIN)
            found.append((window, pos, value))
    window, pos, value = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    there = window >= 0
    return StrongestLists(
        np.where(there, window, -1).astype(np.int64), np.where(there, pos, 0).astype(np.int64),
        np.where(there, value, 0).astype(np.float64),
    )  # fmt: skip
