"""Tests rankings against real ablations: single neurons, sets of top neurons, and random control sets.

Single effects are of (neuron, position) pairs, the rows of a ranking: of all, or of a sample of them. A set is of
neurons of the measured layers, at all chosen positions together. The results are differences of two forward passes, so
the model should be in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.report_text import number
from neuron_signatures.analysis.validation.best import MAX_P, Best, best_sets
from neuron_signatures.analysis.validation.curves import Curves, MetricValidation
from neuron_signatures.analysis.validation.faithfulness import is_scored
from neuron_signatures.analysis.validation.sets import NeuronSets
from neuron_signatures.analysis.validation.singles import Singles
from neuron_signatures.analysis.validation.truth import Truth, ValidationConfig, pair_scores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """The results of all metrics on one target. `full` and `empty` are m(M) and m(∅) for `n_units` neurons; single
    effects are known for `n_measured` of the `n_pairs` (neuron, position) pairs, drawn as a `sampled` part of them or
    chosen otherwise; `n_sets` sets were measured. `left_out` are metrics with undefined scores, which have no ranking.
    """

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    n_units: int
    n_pairs: int
    n_measured: int
    sampled: bool
    n_sets: int
    full: float
    empty: float
    min_effect: float
    metrics: tuple[MetricValidation, ...]
    left_out: tuple[str, ...]
    single: Best
    sets: Best

    @property
    def scored(self) -> bool:
        """Whether sets are scored: m(M) - m(∅) is at least `min_effect`."""
        return is_scored(empty=self.empty, full=self.full, min_effect=self.min_effect)


def validate(
    attributions: Sequence[Attribution], truth: Truth, sets: NeuronSets, config: ValidationConfig
) -> Validation:
    """Compare each attribution with the truth, and build and test sets from its ranking.

    The attributions are restricted to the layers and positions of the effects. Sets are of all neurons of these layers,
    whichever were ablated alone.
    """
    effects = truth.effects
    ranked, left_out = _with_rankings(attributions, effects)
    singles = Singles(ranked, truth, config.seed)
    for attribution, found in zip(ranked, singles.found, strict=True):
        log.info("%s: Spearman %s with single ablations", attribution.metric, number(found.spearman.value))
    empty, full = sets.ends("ends", truth.reference)
    curves = Curves(truth, sets, config, empty, full)
    metrics = tuple(curves.of(a, c) for a, c in zip(ranked, singles.found, strict=True))
    judged = [m for m in metrics if m.metric != "ablation"]
    return Validation(
        layers=effects.layers,
        positions=effects.positions,
        n_units=sets.n,
        n_pairs=effects.scores.numel(),
        n_measured=len(singles.rows),
        sampled=truth.sample is not None,
        n_sets=sets.n_measured,
        full=full,
        empty=empty,
        min_effect=config.min_effect,
        metrics=metrics,
        left_out=left_out,
        single=singles.best(),
        sets=best_sets(
            {m.metric: m.cmd for m in judged if m.cmd is not None},
            {m.metric: bool(m.controls) and m.controls[0].p <= MAX_P for m in judged},
            {m.metric: m.cmd_draws for m in judged},
        ),
    )


def _with_rankings(
    attributions: Sequence[Attribution], effects: Attribution
) -> tuple[list[Attribution], tuple[str, ...]]:
    undefined = [a.metric for a in attributions if np.isnan(pair_scores(a, effects)).any()]
    return [a for a in attributions if a.metric not in undefined], tuple(undefined)
