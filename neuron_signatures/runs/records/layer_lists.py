"""The windows in which a neuron is strong, as arrays: what is grouped."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from neuron_signatures.runs.records.evidence import NEARLY_ZERO
from neuron_signatures.runs.records.names import Part
from neuron_signatures.runs.records.reader import Records

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
    lists = records.strongest_lists([layer], part, k=n_windows)
    strength = lists.value * _SIGNS[:, None]
    strong = (strength > 0) & (strength > NEARLY_ZERO * strength[..., :1])
    return LayerLists(lists.window, lists.pos, lists.value, strong)
