"""The strongest windows of all neurons of some layers, as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import PARTS, RECORDS, STRONGEST, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.stage_meta import AGAIN


def strongest_lists(
    records: Records, layers: Sequence[int], part: Part, key: str = "window"
) -> Int64[np.ndarray, "neuron pole rank"]:
    """Windows (or with `pos` the positions of their peaks) of each neuron and pole, strongest first; -1 after the end.

    Neurons are those of the layers in order, poles in the order of `POLES`. Raises `BadRunError` for a damaged list.
    """
    assert key in ("window", "pos")
    path = inside(records.path, f"{RECORDS}/{STRONGEST}")
    axis, found = PARTS.index(part), []
    with ArrayFile(path) as file:
        for layer in layers:
            window = file.read("window", records.layers.index(layer))[:, axis].astype(np.int64)
            there = window >= 0
            if (window >= records.corpus.n_windows).any():
                raise BadRunError("has a window that is not in the corpus", where=str(path), next_step=AGAIN)
            values = window if key == "window" else file.read(key, records.layers.index(layer))[:, axis]
            found.append(np.where(there, values, -1).astype(np.int64))
    return np.concatenate(found)
