"""The windows in which a neuron is strong, as arrays: what is grouped."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.evidence import NEARLY_ZERO
from neuron_signatures.runs.records.names import PARTS, RECORDS, STRONGEST, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.stage_meta import AGAIN

_SIGNS: Final = np.array([1, -1], np.float32)


class LayerLists(NamedTuple):
    """The strongest windows of each neuron and pole of a layer, by rank. Only entries with `strong` are of use: the
    peak has the sign of the pole and is more than a tenth of the first one (`NEARLY_ZERO`)."""

    window: Int64[np.ndarray, "neuron pole rank"]
    pos: Int64[np.ndarray, "neuron pole rank"]
    value: Float32[np.ndarray, "neuron pole rank"]
    strong: Bool[np.ndarray, "neuron pole rank"]


def layer_lists(records: Records, layer: int, part: Part, *, n_windows: int) -> LayerLists:
    """At most `n_windows` of each list. Raises `BadRunError` for a damaged file."""
    path, row, axis = inside(records.path, f"{RECORDS}/{STRONGEST}"), records.layers.index(layer), PARTS.index(part)
    with ArrayFile(path) as file:
        window, pos, value = (file.read(key, row)[:, axis, :, :n_windows] for key in ("window", "pos", "value"))
    there = window >= 0
    corpus = records.corpus
    known = np.where(there, window, 0)
    wrong = (window >= corpus.n_windows).any() or not np.isfinite(value[there]).all()
    if wrong or (there & ((pos < 0) | (pos >= corpus.window_length[known]))).any():
        what = "has a window or position that is not in the corpus, or a value that is not finite"
        raise BadRunError(what, where=str(path), next_step=AGAIN)
    strength = np.where(there, value * _SIGNS[:, None], 0)
    strong = there & (strength > 0) & (strength > NEARLY_ZERO * strength[..., :1])
    return LayerLists(window.astype(np.int64), pos.astype(np.int64), value, strong)
