"""Is this ranking true? Every metric against real ablations: single neurons, sets, and random controls.

A unit is one neuron of a measured layer, at all chosen positions together. Differences of two forward passes are
reported, so the model should be in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.estimators.ablation import SetMeaning, joint_ablation
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.validation.faithfulness import (
    Control,
    Correlation,
    changes,
    cmd,
    control,
    correlate,
    cpr,
    curve_sizes,
    layer_matched,
    normalised,
    takes_whole_layers,
    tolerance,
)
from neuron_signatures.models.capture import mlp_shape

log = logging.getLogger(__name__)

KEPT_SHARE = 0.8
CONTROL_SHARE = 0.01
# Sizes that are tried at once in the search for the smallest set: a large model has 100,000 between two points.
_GRID = 256


@dataclass(frozen=True)
class ValidationConfig:
    """`signed` ranks sets by the score instead of its absolute value; `batch` is ablated copies per forward pass."""

    n_random: int
    seed: int
    signed: bool
    batch: int


@dataclass(frozen=True)
class MetricValidation:
    """One metric. Curves run over `sizes`; `smallest` is the least k whose top-k keeps 80 % of the function, None if
    none on the curve does. `controls` are at 1 % of the units and at `smallest`."""

    metric: str
    correlation: Correlation
    sizes: tuple[int, ...]
    faithfulness: tuple[float, ...]
    completeness: tuple[float, ...]
    cpr: float
    cmd: float
    smallest: int | None
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class Validation:
    """All metrics on one target. `full` and `empty` are m(M) and m(∅) for `n_units` neurons; single effects are known
    for `n_measured` of them. `left_out` are metrics with undefined scores: they give no ranking to build sets from."""

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    n_units: int
    n_measured: int
    full: float
    empty: float
    metrics: tuple[MetricValidation, ...]
    left_out: tuple[str, ...]

    @property
    def defined(self) -> bool:
        """False where ablating every neuron changes nothing: then faithfulness is undefined."""
        return changes(empty=self.empty, full=self.full)


# The share of the function that the top k units keep, for several k.
ShareOf = Callable[[Sequence[int]], Float64[np.ndarray, " k"]]


class _Sets:
    """m of sets of units: flat indices layer · d_mlp + neuron, restricted to the measured layers."""

    def __init__(
        self,
        hf: PreTrainedModel,
        token_ids: Sequence[int],
        target: Target,
        layers: tuple[int, ...],
        positions: tuple[int, ...],
        baseline: Float[Tensor, "layer pos neuron"],
        batch: int,
    ) -> None:
        self._hf, self._token_ids, self._target, self._baseline = hf, token_ids, target, baseline
        self._layers, self._positions, self._batch = layers, positions, batch
        d_mlp = mlp_shape(hf).d_mlp
        self.units = np.concatenate([np.arange(layer * d_mlp, (layer + 1) * d_mlp) for layer in layers])
        self.layer_of = self.units // d_mlp

    def values(self, sets: Sequence[Int64[np.ndarray, " _"]], meaning: SetMeaning) -> Float64[np.ndarray, " set"]:
        """m of each set, given as indices into `units`: only it kept (`keep`), or only it ablated (`ablate`)."""
        found = joint_ablation(
            self._hf,
            self._token_ids,
            self._target,
            [torch.from_numpy(self.units[s]) for s in sets],
            baseline=self._baseline,
            positions=self._positions,
            meaning=meaning,
            layers=self._layers,
            batch=self._batch,
        )
        return found.double().numpy()


def validate(
    hf: PreTrainedModel,
    token_ids: Sequence[int],
    target: Target,
    attributions: Sequence[Attribution],
    effects: Attribution,
    *,
    baseline: Float[Tensor, "layer pos neuron"],
    config: ValidationConfig,
) -> Validation:
    """Compare each attribution with the ablation `effects`, and build and test sets from its ranking.

    `effects` says which layers and positions are measured; the attributions are restricted to them. It may be NaN for
    neurons that were not ablated alone; sets are of all neurons nevertheless. `baseline` has one entry per model layer
    and per position of `effects`.
    """
    sets = _Sets(hf, token_ids, target, effects.layers, effects.positions, baseline, config.batch)
    nothing, everything = np.array([], dtype=np.int64), np.arange(len(sets.units))
    empty, full = sets.values([nothing, everything], "keep")
    truth = unit_scores(effects, effects.layers, effects.positions)
    metrics, left_out = [], []
    for attribution in attributions:
        scores = unit_scores(attribution, effects.layers, effects.positions)
        if np.isnan(scores).any():
            left_out.append(attribution.metric)
            continue
        log.info("validating %s", attribution.metric)
        metrics.append(_validate_one(attribution.metric, scores, truth, sets, float(empty), float(full), config))
    return Validation(
        layers=effects.layers,
        positions=effects.positions,
        n_units=len(sets.units),
        n_measured=int(np.isfinite(truth).sum()),
        full=float(full),
        empty=float(empty),
        metrics=tuple(metrics),
        left_out=tuple(left_out),
    )


def unit_scores(
    attribution: Attribution, layers: tuple[int, ...], positions: tuple[int, ...]
) -> Float64[np.ndarray, " unit"]:
    """Scores of the measured units, summed over the positions; 0 at positions where the metric is 0 by definition."""
    rows = [attribution.layers.index(layer) for layer in layers]
    columns = [attribution.positions.index(p) for p in positions if p in attribution.positions]
    return attribution.scores[rows][:, columns].double().sum(1).reshape(-1).numpy()


def _validate_one(
    metric: str,
    scores: Float64[np.ndarray, " unit"],
    truth: Float64[np.ndarray, " unit"],
    sets: _Sets,
    empty: float,
    full: float,
    config: ValidationConfig,
) -> MetricValidation:
    order = ranking(scores, signed=config.signed)
    n = len(order)
    sizes = curve_sizes(n)

    def share(tops: Sequence[int], meaning: SetMeaning = "keep") -> Float64[np.ndarray, " k"]:
        return normalised(sets.values([order[:k] for k in tops], meaning).tolist(), empty=empty, full=full)

    kept, without = share(sizes), share(sizes, "ablate")
    smallest = smallest_size(sizes, kept.tolist(), share)
    rng = np.random.default_rng(config.seed)
    at_sizes = sorted({max(1, round(CONTROL_SHARE * n)), *([smallest] if smallest is not None else [])})
    if not changes(empty=empty, full=full):
        at_sizes = []
    controls = [_control(order[:k], float(share([k])[0]), sets, empty, full, config.n_random, rng) for k in at_sizes]
    return MetricValidation(
        metric=metric,
        correlation=correlate(scores, truth),
        sizes=tuple(sizes),
        faithfulness=tuple(kept.tolist()),
        completeness=tuple(without.tolist()),
        cpr=cpr(sizes, kept.tolist(), n),
        cmd=cmd(sizes, kept.tolist(), n),
        smallest=smallest,
        controls=tuple(controls),
    )


def _control(
    members: Int64[np.ndarray, " k"],
    observed: float,
    sets: _Sets,
    empty: float,
    full: float,
    n_random: int,
    rng: np.random.Generator,
) -> Control:
    """The set against layer-matched random sets; where only the set itself matches, it is not measured again."""
    if takes_whole_layers(members, sets.layer_of):
        return control(len(members), observed, [observed] * n_random, tolerance=0.0)
    random = sets.values(layer_matched(members, sets.layer_of, n_random, rng), "keep")
    values = normalised(random.tolist(), empty=empty, full=full)
    return control(len(members), observed, values.tolist(), tolerance=tolerance(empty=empty, full=full))


def ranking(scores: Float64[np.ndarray, " unit"], *, signed: bool) -> Int64[np.ndarray, " unit"]:
    """Units from the highest |score| (or score) down; ties in order of the units, NaN last."""
    key = scores if signed else np.abs(scores)
    return np.lexsort((np.arange(len(key)), -np.where(np.isnan(key), -np.inf, key)))


def smallest_size(
    sizes: Sequence[int], faithfulness: Sequence[float], share: ShareOf, *, bar: float = KEPT_SHARE
) -> int | None:
    """The least k whose top-k keeps `bar` of the function, between the first size of the curve that does and the one
    before; None if no size does.

    Every k between is tried where they are at most 256; else 256 evenly spread, then the same between the first of
    them that does and the one before, down to neighbours. The result is then the least k if faithfulness crosses the
    bar once there, and one of the crossings if it does so more often.
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
