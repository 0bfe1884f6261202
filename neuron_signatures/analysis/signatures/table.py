"""The table of signatures: one row per neuron and pole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int32

from neuron_signatures.analysis.signatures.classes import CLASSES, Classified, Names
from neuron_signatures.analysis.signatures.labels import Labels
from neuron_signatures.analysis.signatures.metrics import Activity, TokenMetrics
from neuron_signatures.analysis.tokens.codes import text_column
from neuron_signatures.stats.proportions import Interval, ratio, wilson

COLUMNS = (
    "class", "name", "n_active", "n_tied_peaks", "max_peak", "median_peak", "median_peak_z", "median_sparsity",
    "mean_density", "mode_peak_token", "mode_peak_count", "main_consistency", "main_consistency_low",
    "main_consistency_high", "n_distinct_peaks", "concept", "concept_prompts", "peak_consistency",
    "peak_consistency_low", "peak_consistency_high", "func_vs_sem", "func_vs_sem_low", "func_vs_sem_high", "conf_sem",
    "conf_func", "target_token", "target_count", "seed_cosine", "seed_cosine_prompts",
)  # fmt: skip


class PoleResult(NamedTuple):
    """The results of one pole of a block of neurons."""

    depth: float
    activity: Activity
    tokens: TokenMetrics
    classified: Classified
    null: Classified
    cosine: Float32[np.ndarray, " neuron"]
    """Mean cosine with the seed prompt, NaN if none is defined."""
    n_cosines: Int32[np.ndarray, " neuron"]


def layer_frame(
    layer: int, first_neuron: int, poles: Sequence[PoleResult], labels: Labels, names: Names, z: float
) -> pd.DataFrame:
    """Rows of a block of neurons of one layer, starting at `first_neuron`; `poles` are `+` and `-`."""
    n = len(poles[0].cosine)
    order = np.arange(2 * n).reshape(2, n).T.ravel()  # neuron by neuron, `+` before `-`

    def both(get: Callable[[PoleResult], np.ndarray]) -> np.ndarray:
        return np.concatenate([get(p) for p in poles])[order]

    numbers = {name: both(get) for name, get in _numbers(z).items()}
    texts = {
        "class": text_column(both(lambda p: p.classified.kind), CLASSES),
        "name": text_column(both(lambda p: names.of(p.classified)), names.texts),
        "mode_peak_token": text_column(both(lambda p: p.tokens.token.value), labels.names),
        "concept": text_column(both(lambda p: p.tokens.concept), labels.concepts),
        "target_token": text_column(both(lambda p: p.tokens.target.value), labels.names),
    }
    head = {
        "layer": np.full(2 * n, layer, np.int32),
        "neuron": np.repeat(np.arange(first_neuron, first_neuron + n, dtype=np.int32), 2),
        "pole": text_column(np.tile([0, 1], n), ("+", "-")),
        "depth": np.full(2 * n, poles[0].depth, np.float32),
    }
    frame = pd.DataFrame({**head, **texts, **numbers})
    return frame[[*head, *COLUMNS]]


def _numbers(z: float) -> dict[str, Callable[[PoleResult], np.ndarray]]:
    """Numeric columns, as functions of a pole's result; shares have their Wilson intervals next to them."""
    out: dict[str, Callable[[PoleResult], np.ndarray]] = {
        "n_active": lambda p: p.activity.n_active,
        "n_tied_peaks": lambda p: p.activity.n_tied,
        "max_peak": lambda p: p.activity.max_peak,
        "median_peak": lambda p: p.activity.median_peak,
        "median_peak_z": lambda p: p.activity.median_peak_z,
        "median_sparsity": lambda p: p.activity.median_sparsity,
        "mean_density": lambda p: p.activity.mean_density,
        "mode_peak_count": lambda p: p.tokens.token.times,
        "n_distinct_peaks": lambda p: p.tokens.token.n_distinct,
        "concept_prompts": lambda p: p.tokens.concept_prompts,
        "conf_sem": lambda p: _float32(ratio(p.tokens.semantic.times, p.tokens.n_semantic)),
        "conf_func": lambda p: _float32(ratio(p.tokens.functional.times, p.tokens.n_functional)),
        "target_count": lambda p: p.tokens.target.times,
        "seed_cosine": lambda p: p.cosine,
        "seed_cosine_prompts": lambda p: p.n_cosines,
    }
    for name, get in _SHARES.items():
        out |= _share(name, get, z)
    return out


_SHARES: Final[dict[str, Callable[[PoleResult], tuple[np.ndarray, np.ndarray]]]] = {
    "main_consistency": lambda p: (p.tokens.token.times, p.activity.n_active),
    "peak_consistency": lambda p: (p.tokens.concept_hits, p.tokens.concept_prompts),
    "func_vs_sem": lambda p: (p.tokens.n_functional, p.activity.n_active),
}


def _share(
    name: str, get: Callable[[PoleResult], tuple[np.ndarray, np.ndarray]], z: float
) -> dict[str, Callable[[PoleResult], np.ndarray]]:
    def interval(p: PoleResult) -> Interval:
        part, whole = get(p)
        return wilson(part, whole, z)

    return {
        name: lambda p: _float32(ratio(*get(p))),
        f"{name}_low": lambda p: _float32(interval(p).low),
        f"{name}_high": lambda p: _float32(interval(p).high),
    }


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
