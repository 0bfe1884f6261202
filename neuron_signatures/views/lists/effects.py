"""The single effects that a validation sampled, with the score of each metric for the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.results import effects_stem, table_name
from neuron_signatures.views.columns import read_columns

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

_PLACE = ("layer", "neuron", "ctx_idx")
_NUMBERS = ("effect", "weight")


class SampledEffects(NamedTuple):
    """Sampled (neuron, position) pairs whose effect and scores are finite."""

    layer: Int64[np.ndarray, " row"]
    neuron: Int64[np.ndarray, " row"]
    pos: Int64[np.ndarray, " row"]
    effect: Float64[np.ndarray, " row"]
    weight: Float64[np.ndarray, " row"]
    """Number of pairs that the pair stands for."""
    scores: dict[str, Float64[np.ndarray, " row"]]
    """By metric."""


def read_effects(run_dir: Path, stem: str, metrics: Sequence[str]) -> SampledEffects:
    """The effects of the validation `stem` and the scores of `metrics`.

    Raises `UsageError` if there is no such table, `BadRunError` if it is damaged.
    """
    own = [m for m in dict.fromkeys(metrics) if m not in (*_PLACE, *_NUMBERS)]
    table = read_columns(run_dir, effects_stem(stem), (*_PLACE, *_NUMBERS, *own))
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    if text := [name for name, values in columns.items() if values.dtype.kind not in "if"]:
        raise BadRunError(
            f"column {text[0]}: is text, not numbers", where=table_name(effects_stem(stem)), next_step="Make it again"
        )
    known = np.all([np.isfinite(columns[name].astype(np.float64)) for name in columns], axis=0)
    layer, neuron, pos = (columns[name][known].astype(np.int64) for name in _PLACE)
    effect, weight = (columns[name][known].astype(np.float64) for name in _NUMBERS)
    return SampledEffects(layer, neuron, pos, effect, weight, {m: columns[m][known] for m in own})
