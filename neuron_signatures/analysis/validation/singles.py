"""Agreement of the scores of single neurons with the effects of ablating them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.validation.best import Best, best_single
from neuron_signatures.analysis.validation.truth import Truth, pair_scores
from neuron_signatures.stats.stratified import correlations, one_stratum, spearman_difference


class Singles:
    """Agreement of the scores of single neurons with their ablations."""

    def __init__(self, ranked: Sequence[Attribution], truth: Truth, seed: int) -> None:
        effects = pair_scores(truth.effects, truth.effects)
        self.rows = truth.sample.rows if truth.sample else np.flatnonzero(np.isfinite(effects))
        self._strata = truth.sample.strata if truth.sample else one_stratum(len(self.rows))
        self._effects = effects[self.rows]
        self._scores = {a.metric: pair_scores(a, truth.effects)[self.rows] for a in ranked}
        self._rng = np.random.default_rng(seed)
        self.found = correlations(list(self._scores.values()), self._effects, self._strata, self._rng)

    def best(self) -> Best:
        """Of the metrics except ablation, which is the truth."""
        of = {m: c.spearman.value for m, c in zip(self._scores, self.found, strict=True) if m != "ablation"}
        ranked = sorted(((m, v) for m, v in of.items() if v is not None), key=lambda pair: -pair[1])
        gap = None
        if len(ranked) > 1:
            a, b = (self._scores[m] for m, _ in ranked[:2])
            gap = spearman_difference(a, b, self._effects, self._strata, self._rng)
        return best_single(ranked, gap)
