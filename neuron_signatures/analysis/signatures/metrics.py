"""Metrics per neuron over the prompts: how often a pole is active, and which tokens its peaks are on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from neuron_signatures.analysis.signatures.labels import Labels
from neuron_signatures.analysis.signatures.pole_stats import PolePeaks, Scale, quantile_of_sorted
from neuron_signatures.analysis.tokens.codes import Modes, modes, small_int

IQR_OF_A_UNIT_NORMAL = 1.349


class Activity(NamedTuple):
    """Metrics over the prompts in which the pole is active; NaN if there is none or a scale is undefined."""

    active: Bool[np.ndarray, "prompt neuron"]
    n_active: Int32[np.ndarray, " neuron"]
    n_tied: Int32[np.ndarray, " neuron"]
    """Active prompts whose peak value occurs at more than one position."""
    max_peak: Float32[np.ndarray, " neuron"]
    """Over all prompts, active or not."""
    median_peak: Float32[np.ndarray, " neuron"]
    median_peak_z: Float32[np.ndarray, " neuron"]
    """(median peak - median v) / (IQR / 1.349), with median and IQR over all tokens of the run; NaN if IQR is 0."""
    median_sparsity: Float32[np.ndarray, " neuron"]
    """Median of (peak - mean) / peak."""
    mean_density: Float32[np.ndarray, " neuron"]


class TokenMetrics(NamedTuple):
    """Metrics over the peaks on different texts; values are indices of keys, -1 for none.

    `concept` has the highest share of hits: prompts whose peak is on the concept, of the prompts that contain it (ties:
    contained in more prompts, then listed first). `concept_hits` is the number of hits. -1 if no concept qualifies.
    """

    n: Int32[np.ndarray, " neuron"]
    """Number of peaks on different texts."""
    token: Modes
    semantic: Modes
    functional: Modes
    target: Modes
    n_functional: Int32[np.ndarray, " neuron"]
    n_semantic: Int32[np.ndarray, " neuron"]
    concept: Int32[np.ndarray, " neuron"]
    concept_hits: Int32[np.ndarray, " neuron"]
    concept_prompts: Int32[np.ndarray, " neuron"]


def activity(p: PolePeaks, scale: Scale, *, sign: int, above: float, share: float) -> Activity:
    """Activity of a pole, active in a prompt if its peak is above `above` and at least `share` of its largest peak."""
    highest = np.fmax.reduce(p.peak, axis=0)
    active = (p.peak > above) & (p.peak >= np.float32(share) * highest)
    with np.errstate(invalid="ignore", divide="ignore"):
        sparsity = np.where(p.peak > 0, (p.peak - p.mean) / p.peak, np.nan)
        median_peak = masked_median(p.peak, active)
        iqr = scale.q75 - scale.q25
        z = (median_peak - sign * scale.median) / np.where(iqr > 0, iqr / np.float32(IQR_OF_A_UNIT_NORMAL), np.nan)
    n_active = active.sum(axis=0, dtype=np.int32)
    density = np.where(active, p.density, 0).sum(axis=0, dtype=np.float32) / np.where(n_active > 0, n_active, np.nan)
    return Activity(
        active=active,
        n_active=n_active,
        n_tied=(active & p.tied).sum(axis=0, dtype=np.int32),
        max_peak=highest,
        median_peak=median_peak,
        median_peak_z=z.astype(np.float32),
        median_sparsity=masked_median(sparsity, active),
        mean_density=density.astype(np.float32),
    )


def token_metrics(
    pos: Int32[np.ndarray, "prompt neuron"],
    active: Bool[np.ndarray, "prompt neuron"],
    counted: Bool[np.ndarray, "prompt neuron"],
    labels: Labels,
    *,
    min_concept_prompts: int,
) -> TokenMetrics:
    """The tokens that the peaks at `pos` are on, over the prompts of `counted` (see `first_of_text`).

    An inactive prompt has no peak, and is a miss for its concepts. An active one that is not counted is left out.
    """
    n_prompts, n = pos.shape
    codes = small_int(len(labels.names))
    token, semantic, functional, target = (np.empty((n_prompts, n), codes) for _ in range(4))
    hits = np.zeros((len(labels.concepts), n), np.int32)
    n_containing = labels.n_containing
    containing = np.repeat(n_containing[:, None], n, axis=1)
    for i, label in enumerate(labels.prompts):
        at, on = pos[i], counted[i]
        repeated = active[i] & ~on
        key, is_functional = label.key[at], label.functional[at]
        token[i] = np.where(on, key, -1)
        semantic[i] = np.where(is_functional, -1, token[i])
        functional[i] = np.where(is_functional, token[i], -1)
        target[i] = np.where(on, label.target[at], -1)
        for concept, hit in label.concepts.items():
            hits[concept] += hit[at] & on
            containing[concept] -= repeated
    order = [int(c) for c in np.argsort(-n_containing, kind="stable")]
    best, best_hits, best_n = _best_concept(hits, containing, order, min_concept_prompts)
    return TokenMetrics(
        n=counted.sum(axis=0, dtype=np.int32),
        token=modes(token),
        semantic=modes(semantic),
        functional=modes(functional),
        target=modes(target),
        n_functional=(functional >= 0).sum(axis=0, dtype=np.int32),
        n_semantic=(semantic >= 0).sum(axis=0, dtype=np.int32),
        concept=best,
        concept_hits=best_hits,
        concept_prompts=best_n,
    )


def masked_median(
    values: Float32[np.ndarray, "prompt neuron"], mask: Bool[np.ndarray, "prompt neuron"]
) -> Float32[np.ndarray, " neuron"]:
    """Median over the prompts selected by the mask; NaN if there are none."""
    ranked = np.ascontiguousarray(np.where(mask, values, np.nan).T.astype(np.float32))
    ranked.sort(axis=1)  # NaN last
    return quantile_of_sorted(ranked, len(values) - np.isnan(ranked).sum(axis=1), 0.5)


def _best_concept(
    hits: Int32[np.ndarray, "concept neuron"],
    containing: Int32[np.ndarray, "concept neuron"],
    order: Sequence[int],
    least: int,
) -> tuple[Int32[np.ndarray, " neuron"], Int32[np.ndarray, " neuron"], Int32[np.ndarray, " neuron"]]:
    n = hits.shape[1]
    best, best_hits, best_n = np.full(n, -1, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int32)
    best_share = np.full(n, -1.0)
    for c in order:
        share = np.where(containing[c] >= max(least, 1), hits[c] / np.maximum(containing[c], 1), -1.0)
        better = share > best_share
        best[better] = c
        best_share[better], best_hits[better], best_n[better] = share[better], hits[c, better], containing[c, better]
    return best, best_hits, best_n
