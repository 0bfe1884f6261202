"""Tests rankings against real ablations: single neurons, sets of top neurons, and random control sets.

A unit is one neuron of a measured layer, at all chosen positions together. The results are differences of two
forward passes, so the model should be in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.ablation import SetMeaning, joint_ablation
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.validation.faithfulness import (
    Control,
    Correlation,
    cmd,
    control,
    correlate,
    cpr,
    curve_sizes,
    is_scored,
    layer_matched,
    normalised,
    takes_whole_layers,
    tolerance,
)
from neuron_signatures.models.capture import mlp_shape

log = logging.getLogger(__name__)

KEPT_SHARE = 0.8
CONTROL_SHARE = 0.01
# Sizes tried at once in the search for the smallest set: a large model has 100,000 between two points of the curve.
_GRID = 256


@dataclass(frozen=True)
class ValidationConfig:
    """`signed` ranks sets by the score instead of its absolute value; `batch` is ablated copies per forward pass; sets
    are scored only if m(M) - m(∅) is at least `min_effect`, in the unit of the function."""

    n_random: int
    seed: int
    signed: bool
    batch: int
    min_effect: float


@dataclass(frozen=True)
class MetricValidation:
    """The result of one metric. `faithfulness` and `completeness` have one value per entry of `sizes`; `smallest` is
    the least k whose top k neurons keep 80 % of m(M) - m(∅), None if no size of the curve does. `controls` are at 1 %
    of the units and at `smallest`. Where sets are not scored, there are no sizes, and `cpr` and `cmd` are None."""

    metric: str
    correlation: Correlation
    sizes: tuple[int, ...]
    faithfulness: tuple[float, ...]
    completeness: tuple[float, ...]
    cpr: float | None
    cmd: float | None
    smallest: int | None
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class Validation:
    """The results of all metrics on one target. `full` and `empty` are m(M) and m(∅) for `n_units` neurons; single
    effects are known for `n_measured` of them. `left_out` are metrics with undefined scores: they have no ranking."""

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    n_units: int
    n_measured: int
    full: float
    empty: float
    min_effect: float
    metrics: tuple[MetricValidation, ...]
    left_out: tuple[str, ...]

    @property
    def scored(self) -> bool:
        """Whether sets are scored: m(M) - m(∅) is at least `min_effect`."""
        return is_scored(empty=self.empty, full=self.full, min_effect=self.min_effect)


# The share of the function that the top k units keep, for each k.
ShareOf = Callable[[Sequence[int]], Float64[np.ndarray, " k"]]


class _Sets:
    """m of sets of units: flat indices layer · d_mlp + neuron, restricted to the measured layers."""

    def __init__(
        self, problem: Problem, layers: tuple[int, ...], reference: Float[Tensor, "layer pos neuron"], batch: int
    ) -> None:
        self._problem, self._layers, self._reference, self._batch = problem, layers, reference, batch
        d_mlp = mlp_shape(problem.hf).d_mlp
        self.units = np.concatenate([np.arange(layer * d_mlp, (layer + 1) * d_mlp) for layer in layers])
        self.layer_of = self.units // d_mlp
        nothing, everything = np.array([], dtype=np.int64), np.arange(len(self.units))
        self.empty, self.full = self._values([nothing, everything], "keep").tolist()

    def shares(self, sets: Sequence[Int64[np.ndarray, " _"]], meaning: SetMeaning) -> Float64[np.ndarray, " set"]:
        """Faithfulness (`keep`) or completeness (`ablate`) of each set, given as indices into `units`."""
        return normalised(self._values(sets, meaning).tolist(), empty=self.empty, full=self.full)

    def _values(self, sets: Sequence[Int64[np.ndarray, " _"]], meaning: SetMeaning) -> Float64[np.ndarray, " set"]:
        found = joint_ablation(
            self._problem,
            [torch.from_numpy(self.units[s]) for s in sets],
            reference=self._reference,
            meaning=meaning,
            layers=self._layers,
            batch=self._batch,
        )
        return found.double().numpy()


def validate(
    problem: Problem,
    attributions: Sequence[Attribution],
    effects: Attribution,
    *,
    reference: Float[Tensor, "layer pos neuron"],
    config: ValidationConfig,
) -> Validation:
    """Compare each attribution with the ablation `effects`, and build and test sets from its ranking.

    The attributions are restricted to the layers of `effects` and the problem's positions. Effects are NaN for neurons
    that were not ablated alone; the sets are still of all neurons.
    """
    sets = _Sets(problem, effects.layers, reference, config.batch)
    truth = unit_scores(effects, effects.layers, problem.positions)
    metrics, left_out = [], []
    for attribution in attributions:
        scores = unit_scores(attribution, effects.layers, problem.positions)
        if np.isnan(scores).any():
            left_out.append(attribution.metric)
            continue
        log.info("validating %s", attribution.metric)
        metrics.append(_validate_one(attribution.metric, scores, truth, sets, config))
    return Validation(
        layers=effects.layers,
        positions=problem.positions,
        n_units=len(sets.units),
        n_measured=int(np.isfinite(truth).sum()),
        full=sets.full,
        empty=sets.empty,
        min_effect=config.min_effect,
        metrics=tuple(metrics),
        left_out=tuple(left_out),
    )


def unit_scores(
    attribution: Attribution, layers: tuple[int, ...], positions: tuple[int, ...]
) -> Float64[np.ndarray, " unit"]:
    """Scores of the measured units, summed over the positions; positions that the attribution lacks count as 0."""
    rows = [attribution.layers.index(layer) for layer in layers]
    columns = [attribution.positions.index(p) for p in positions if p in attribution.positions]
    return attribution.scores[rows][:, columns].double().sum(1).reshape(-1).numpy()


def _validate_one(
    metric: str,
    scores: Float64[np.ndarray, " unit"],
    truth: Float64[np.ndarray, " unit"],
    sets: _Sets,
    config: ValidationConfig,
) -> MetricValidation:
    correlation = correlate(scores, truth)
    if not is_scored(empty=sets.empty, full=sets.full, min_effect=config.min_effect):
        return MetricValidation(metric, correlation, (), (), (), None, None, None, ())
    order = ranking(scores, signed=config.signed)
    n = len(order)
    sizes = curve_sizes(n)

    def share(tops: Sequence[int], meaning: SetMeaning = "keep") -> Float64[np.ndarray, " k"]:
        return sets.shares([order[:k] for k in tops], meaning)

    faithfulness, completeness = share(sizes).tolist(), share(sizes, "ablate").tolist()
    smallest = smallest_size(sizes, faithfulness, share)
    rng = np.random.default_rng(config.seed)
    at_sizes = sorted({max(1, round(CONTROL_SHARE * n)), *([smallest] if smallest is not None else [])})
    controls = [_control(order[:k], float(share([k])[0]), sets, config.n_random, rng) for k in at_sizes]
    return MetricValidation(
        metric=metric,
        correlation=correlation,
        sizes=tuple(sizes),
        faithfulness=tuple(faithfulness),
        completeness=tuple(completeness),
        cpr=cpr(sizes, faithfulness, n),
        cmd=cmd(sizes, faithfulness, n),
        smallest=smallest,
        controls=tuple(controls),
    )


def _control(
    members: Int64[np.ndarray, " k"],
    observed: float,
    sets: _Sets,
    n_random: int,
    rng: np.random.Generator,
) -> Control:
    """The set against layer-matched random sets. If the set is the only match, it is not measured again."""
    if takes_whole_layers(members, sets.layer_of):
        return control(len(members), observed, [observed] * n_random, tolerance=0.0)
    random = sets.shares(layer_matched(members, sets.layer_of, n_random, rng), "keep")
    return control(len(members), observed, random.tolist(), tolerance=tolerance(empty=sets.empty, full=sets.full))


def ranking(scores: Float64[np.ndarray, " unit"], *, signed: bool) -> Int64[np.ndarray, " unit"]:
    """Units in descending order of |score| (or of the score); ties in order of the units, NaN last."""
    key = scores if signed else np.abs(scores)
    return np.lexsort((np.arange(len(key)), -np.where(np.isnan(key), -np.inf, key)))


def smallest_size(
    sizes: Sequence[int], faithfulness: Sequence[float], share: ShareOf, *, bar: float = KEPT_SHARE
) -> int | None:
    """The least k whose top k keeps `bar` of the function; None if no size of the curve does.

    The search starts between the first size of the curve that reaches the bar and the size before it. It tries every k
    between them, or 256 evenly spaced ones if there are more, and continues around the first that reaches the bar.
    The result is the least k if faithfulness crosses the bar once in this range, else one of the crossings.
    """
    hits = [i for i, f in enumerate(faithfulness) if f >= bar]
    if not hits:
        return None
    low, high = (sizes[hits[0] - 1] if hits[0] else 0), sizes[hits[0]]
    while high - low > 1:
        n = min(high - low, _GRID)
        tried = np.unique(np.linspace(low + 1, high, n).round().astype(int)).tolist()
        values = share(tried)
        first = next((i for i, f in enumerate(values) if f >= bar), len(tried) - 1)
        low, high = (tried[first - 1] if first else low), tried[first]
    return int(high)
