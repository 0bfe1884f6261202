"""Metrics per neuron over the prompts: how often a pole is active, and which tokens its peaks are on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer

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


class FlatLabels(NamedTuple):
    """Labels of all tokens, prompt by prompt, for fast access; the last entry (-1) stands for no peak."""

    labels: Labels
    semantic: Integer[np.ndarray, " token"]
    """Key, or -1 for a functional token; `functional` is the reverse."""
    functional: Integer[np.ndarray, " token"]
    target: Integer[np.ndarray, " token"]


def flat_labels(labels: Labels) -> FlatLabels:
    key, functional, target = (np.concatenate([p[i] for p in labels.prompts]) for i in range(3))
    columns = np.where(functional, -1, key), np.where(functional, key, -1), target
    code = small_int(len(labels.names))
    return FlatLabels(labels, *(np.append(c, -1).astype(code) for c in columns))


class CountedPeaks(NamedTuple):
    """Where the peaks of a pole are. `counted` are the active prompts with a text of their own (`first_of_text`)."""

    pos: Int32[np.ndarray, "prompt neuron"]
    active: Bool[np.ndarray, "prompt neuron"]
    counted: Bool[np.ndarray, "prompt neuron"]
    token: Integer[np.ndarray, "prompt neuron"]
    """Index into `FlatLabels`."""

    def of(self, neurons: Integer[np.ndarray, " some"]) -> CountedPeaks:
        return CountedPeaks(*(x[:, neurons] for x in self))


def counted_peaks(
    pos: Int32[np.ndarray, "prompt neuron"],
    active: Bool[np.ndarray, "prompt neuron"],
    counted: Bool[np.ndarray, "prompt neuron"],
    lengths: Sequence[int],
) -> CountedPeaks:
    """`lengths` are the numbers of counted tokens of the prompts."""
    ends = np.cumsum(lengths)
    token = (ends - np.asarray(lengths))[:, None] + pos
    return CountedPeaks(pos, active, counted, np.where(counted, token, ends[-1]))


def token_metrics(
    peaks: CountedPeaks, flat: FlatLabels, *, min_concept_prompts: int, class_only: int | None = None
) -> TokenMetrics:
    """The tokens that the peaks counted are on.

    An inactive prompt has no peak, and is a miss for its concepts. An active one that is not counted is left out. With
    `class_only`, the number of distinct peak tokens that a semantic pole can have, only what classes depend on is
    measured: no target, and no concept of poles with more tokens.
    """
    semantic, functional = (modes(x.take(peaks.token)) for x in (flat.semantic, flat.functional))
    target = _no_modes(peaks.pos.shape[1]) if class_only is not None else modes(flat.target.take(peaks.token))
    token = _of_both(semantic, functional)
    n = peaks.counted.sum(axis=0, dtype=np.int32)
    n_functional = (flat.functional >= 0).take(peaks.token).sum(axis=0, dtype=np.int32)
    which = np.flatnonzero(token.n_distinct <= (len(peaks.pos) if class_only is None else class_only))
    concept = np.full((3, len(n)), [[-1], [0], [0]], np.int32)
    if len(which):
        concept[:, which] = _best_concept(*_concept_hits(peaks.of(which), flat.labels), min_concept_prompts)
    return TokenMetrics(n, token, semantic, functional, target, n_functional, n - n_functional, *concept)


def _no_modes(n: int) -> Modes:
    none = np.zeros(n, np.int32)
    return Modes(none - 1, none, none)


def _of_both(a: Modes, b: Modes) -> Modes:
    """The modes of two sets of values without a common one together."""
    first = (a.times > b.times) | ((a.times == b.times) & (a.value < b.value))
    return Modes(np.where(first, a.value, b.value), np.maximum(a.times, b.times), a.n_distinct + b.n_distinct)


def _concept_hits(
    peaks: CountedPeaks, labels: Labels
) -> tuple[Int32[np.ndarray, "concept neuron"], Int32[np.ndarray, "concept neuron"], list[int]]:
    """Hits of each concept, the number of prompts with it, and the concepts, most widespread first."""
    n_containing = labels.n_containing
    containing = np.repeat(n_containing[:, None], peaks.pos.shape[1], axis=1)
    hits = np.zeros_like(containing)
    for label, at, active, on in zip(labels.prompts, peaks.pos, peaks.active, peaks.counted, strict=True):
        for concept, hit in label.concepts.items():
            hits[concept] += hit[at] & on
            containing[concept] -= active & ~on
    return hits, containing, [int(c) for c in np.argsort(-n_containing, kind="stable")]


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
) -> Int32[np.ndarray, "3 neuron"]:
    """Per neuron the best concept, its hits and the number of prompts with it."""
    n = hits.shape[1]
    best, best_hits, best_n = np.full(n, -1, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int32)
    best_share = np.full(n, -1.0)
    for c in order:
        share = np.where(containing[c] >= max(least, 1), hits[c] / np.maximum(containing[c], 1), -1.0)
        better = share > best_share
        best[better] = c
        best_share[better], best_hits[better], best_n[better] = share[better], hits[c, better], containing[c, better]
    return np.stack([best, best_hits, best_n])
