"""Sets of the first neurons of a ranking: what they keep, and how random sets of their size compare."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.validation.controls import ENOUGH, Control, control, layer_matched, takes_whole_layers
from neuron_signatures.analysis.validation.faithfulness import cmd, cpr, curve_sizes, is_scored, normalised, tolerance
from neuron_signatures.analysis.validation.sets import NeuronSets, ranking, smallest_size
from neuron_signatures.analysis.validation.truth import Truth, ValidationConfig, aligned, unit_scores
from neuron_signatures.stats.stratified import Correlations

log = logging.getLogger(__name__)

CONTROL_SHARE = 0.01
N_RESAMPLED = 20
"""References from resampled prompts, for the spread of CMD."""
_SEARCHED = (32, 32, 32, 32)  # sizes that a search for the smallest set tries, in rounds; two for 100,000 neurons


@dataclass(frozen=True)
class MetricValidation:
    """The result of one metric. `faithfulness` and `completeness` have one value per entry of `sizes`; `smallest` is
    the least k whose top k neurons keep 80 % of m(M) - m(∅), None if no size of the curve does. `controls` are at 1 %
    of the neurons, first, and at `smallest`. `cmd_draws` are CMD with each resampled reference, None where that
    reference leaves no effect to share out. Where sets are not scored, there are no sizes, and `cpr` and `cmd` are
    None."""

    metric: str
    correlation: Correlations
    sizes: tuple[int, ...] = ()
    faithfulness: tuple[float, ...] = ()
    completeness: tuple[float, ...] = ()
    cpr: float | None = None
    cmd: float | None = None
    cmd_draws: tuple[float | None, ...] = ()
    smallest: int | None = None
    controls: tuple[Control, ...] = ()

    @property
    def cmd_spread(self) -> float | None:
        """Standard deviation of CMD over the resampled references; None for fewer than two."""
        known = [x for x in self.cmd_draws if x is not None]
        return float(np.std(known, ddof=1)) if len(known) > 1 else None


def set_groups(n_metrics: int, n: int, n_random: int, *, resampled: bool) -> tuple[list[int], list[int]]:
    """The fewest and the most sets that the rankings of `n_metrics` metrics over n neurons take, if sets are scored.

    Group by group: each group has forward passes of its own.
    """
    sizes, draws = len(curve_sizes(n)), N_RESAMPLED if resampled else 0
    always = [2, *[sizes, sizes, 1] * n_metrics, *[2, *[sizes] * n_metrics] * draws]
    return [*always, *[ENOUGH] * n_metrics], [*always, *[*_SEARCHED, n_random, 1, n_random] * n_metrics]


class Curves:
    """Sets of the top neurons of rankings, and random sets."""

    def __init__(self, truth: Truth, sets: NeuronSets, config: ValidationConfig, empty: float, full: float) -> None:
        self._truth, self._sets, self._config = truth, sets, config
        self._empty, self._full = empty, full
        self._sizes = curve_sizes(sets.n)

    def of(self, found: Attribution, correlation: Correlations) -> MetricValidation:
        name, sets, config = found.metric, self._sets, self._config
        if not is_scored(empty=self._empty, full=self._full, min_effect=config.min_effect):
            return MetricValidation(name, correlation)
        order = ranking(unit_scores(found, self._truth.effects), signed=config.signed)
        sizes = self._sizes
        kept = self._shares(f"{name}/keep", order, sizes)
        ablated = self._shares(f"{name}/ablate", order, sizes, keep=False)
        smallest = smallest_size(sizes, kept, lambda tops: np.array(self._shares(f"{name}/{tops}", order, tops)))
        at = dict.fromkeys(k for k in (max(1, round(CONTROL_SHARE * sets.n)), smallest) if k is not None)
        done = MetricValidation(
            metric=name,
            correlation=correlation,
            sizes=tuple(sizes),
            faithfulness=tuple(kept),
            completeness=tuple(ablated),
            cpr=cpr(sizes, kept, sets.n),
            cmd=cmd(sizes, kept, sets.n),
            cmd_draws=() if name == "ablation" else tuple(self._cmd_draws(found)),
            smallest=smallest,
            controls=tuple(self._control(name, order, k) for k in at),
        )
        first = done.controls[0]
        log.info("%s: CMD %.3f; %d random sets at k = %d, p %.4f", name, done.cmd, first.n_random, first.k, first.p)
        return done

    def _shares(
        self, name: str, order: Int64[np.ndarray, " unit"], tops: Sequence[int], *, keep: bool = True
    ) -> list[float]:
        """Faithfulness (or completeness) of the top k, for each k."""
        members = (self._sets.top(order, k) for k in tops)
        values = self._sets.measure(name, members, "keep" if keep else "ablate", self._truth.reference)
        return [float(f) for f in normalised(list(values), empty=self._empty, full=self._full)]

    def _control(self, name: str, order: Int64[np.ndarray, " unit"], k: int) -> Control:
        """The set against layer-matched random sets. If the set is the only match, none is measured."""
        members = self._sets.top(order, k)
        (observed,) = self._shares(f"{name}/top {k}", order, [k])
        n = self._config.n_random
        if takes_whole_layers(members):
            return Control(k, observed, observed, 0.0, observed, observed, n_random=0, exceeded=0, p=1.0, z=None)
        rng = np.random.default_rng([self._config.seed, k, *name.encode()])
        values = self._sets.measure(f"{name}/random {k}", layer_matched(members, rng), "keep", self._truth.reference)
        span = self._full - self._empty
        random = ((value - self._empty) / span for value in values)
        noise = tolerance(empty=self._empty, full=self._full)
        return control(k, observed, random, n_random=n, tolerance=noise)

    def _cmd_draws(self, found: Attribution) -> list[float | None]:
        """CMD with each resampled reference, which both the scores and the ablations use."""
        if self._truth.resampled is None:
            return []
        return [self._cmd_with(found, i, reference) for i, reference in enumerate(self._truth.resampled)]

    def _cmd_with(
        self, found: Attribution, draw: int, reference: Float[Tensor, "model_layer pos neuron"]
    ) -> float | None:
        sets = self._sets
        empty, full = sets.ends(f"ends {draw}", reference)
        if not is_scored(empty=empty, full=full, min_effect=self._config.min_effect):
            return None
        scores = _scores_by(found, self._truth.reference, reference)
        units = aligned(found, self._truth.effects, scores).sum(1).reshape(-1).numpy()
        order = ranking(units, signed=self._config.signed)
        members = (sets.top(order, k) for k in self._sizes)
        values = list(sets.measure(f"{found.metric}/reference {draw}", members, "keep", reference))
        return cmd(self._sizes, normalised(values, empty=empty, full=full).tolist(), sets.n)


def _scores_by(
    found: Attribution, old: Float[Tensor, "model_layer pos neuron"], new: Float[Tensor, "model_layer pos neuron"]
) -> Float[Tensor, "layer pos neuron"]:
    """The scores by another reference: (a - ā)·g. Of ig, g is the mean gradient on its path from the old reference."""
    rows = list(found.layers)
    if found.per_act is not None:
        return (found.acts - new[rows]) * found.per_act
    distance = found.acts - old[rows]
    return torch.where(distance == 0, 0.0, found.scores * (found.acts - new[rows]) / distance)
