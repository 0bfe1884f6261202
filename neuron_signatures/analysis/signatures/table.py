"""The table of signatures: one row per neuron and pole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int32

from neuron_signatures.analysis.signatures.classes import CLASSES, REASONS, Classified, Names
from neuron_signatures.analysis.signatures.labels import Labels
from neuron_signatures.analysis.signatures.metrics import Activity, TokenMetrics
from neuron_signatures.analysis.tokens.codes import text_column
from neuron_signatures.stats.proportions import ratio, wilson


class MeanCosine(NamedTuple):
    """Mean cosine with the seed prompt over `n` prompts; NaN if no cosine is defined."""

    value: Float32[np.ndarray, " neuron"]
    n: Int32[np.ndarray, " neuron"]


class PoleResult(NamedTuple):
    """The results of one pole of a block of neurons."""

    depth: float
    activity: Activity
    tokens: TokenMetrics
    classified: Classified
    p: Float64[np.ndarray, " neuron"]
    """See `PositionRates.mode_p`."""
    target_p: Float64[np.ndarray, " neuron"]
    """See `TargetRates.target_p`."""
    cosine: MeanCosine


def layer_frame(
    layer: int, first_neuron: int, poles: Sequence[PoleResult], labels: Labels, names: Names, z: float
) -> pd.DataFrame:
    """Rows of a block of neurons of one layer, starting at `first_neuron`; `poles` are `+` and `-`."""
    n = len(poles[0].cosine.value)
    columns = [_pole_columns(p, names, z) for p in poles]
    # neuron by neuron, `+` before `-`
    rows: dict[str, Any] = {name: np.stack([c[name] for c in columns], axis=1).ravel() for name in columns[0]}
    texts = {
        "class": CLASSES,
        "reason": REASONS,
        "name": names.texts,
        "mode_peak_token": labels.names,
        "concept": labels.concepts,
        "target_token": labels.names,
    }
    head = {
        "layer": np.full(2 * n, layer, np.int32),
        "neuron": np.repeat(np.arange(first_neuron, first_neuron + n, dtype=np.int32), 2),
        "pole": text_column(np.tile([0, 1], n), ("+", "-")),
        "depth": np.full(2 * n, poles[0].depth, np.float32),
    }
    coded = {name: text_column(rows[name], values) for name, values in texts.items()}
    return pd.DataFrame({**head, **rows, **coded})


def _pole_columns(p: PoleResult, names: Names, z: float) -> dict[str, np.ndarray]:
    """The columns of one pole in order, with text as codes; shares have their Wilson intervals next to them."""
    a, t = p.activity, p.tokens
    return {
        "class": p.classified.kind,
        "name": names.of(p.classified),
        "reason": p.classified.reason,
        "n_active": a.n_active,
        "n_texts": t.n,
        "p": p.p,
        "q": np.full(len(p.p), np.nan),
        "n_tied_peaks": a.n_tied,
        "max_peak": a.max_peak,
        "median_peak": a.median_peak,
        "median_peak_z": a.median_peak_z,
        "median_sparsity": a.median_sparsity,
        "mean_density": a.mean_density,
        "mode_peak_token": t.token.value,
        "mode_peak_count": t.token.times,
        **_share("main_consistency", t.token.times, t.n, z),
        "n_distinct_peaks": t.token.n_distinct,
        "concept": t.concept,
        "concept_prompts": t.concept_prompts,
        **_share("peak_consistency", t.concept_hits, t.concept_prompts, z),
        **_share("func_vs_sem", t.n_functional, t.n, z),
        "conf_sem": _float32(ratio(t.semantic.times, t.n_semantic)),
        "conf_func": _float32(ratio(t.functional.times, t.n_functional)),
        "target_token": t.target.value,
        "target_count": t.target.times,
        "target_p": p.target_p,
        "target_q": np.full(len(p.p), np.nan),
        "seed_cosine": p.cosine.value,
        "seed_cosine_prompts": p.cosine.n,
    }


def _share(name: str, part: np.ndarray, whole: np.ndarray, z: float) -> dict[str, np.ndarray]:
    low, high = wilson(part, whole, z)
    return {name: _float32(ratio(part, whole)), f"{name}_low": _float32(low), f"{name}_high": _float32(high)}


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
