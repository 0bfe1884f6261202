"""The neurons that tell two sides of a run apart: one value per prompt and side, a rank test per neuron.

The run is read once, layer by layer, without the model. The null repeats all tests with other labels of the prompts
(unpaired: permuted; paired: each difference reversed with probability ½).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64

from neuron_signatures.analysis.contrast.choose import DesignChoice, Sides, Unit, choose_sides
from neuron_signatures.analysis.tokens.positions import Counted, counted_prompts
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity
from neuron_signatures.stats.chance import benjamini_hochberg
from neuron_signatures.stats.effect_sizes import cohens_d, paired_d
from neuron_signatures.stats.ranks import RankTests, column_ranks, mann_whitney, signed_rank

Reduce = Literal["mean", "max", "last"]
RankBy = Literal["d", "auroc", "difference"]
_BLOCK = 2048  # neurons that are ranked at once


@dataclass(frozen=True)
class ContrastConfig:
    """`a` and `b` are of the grammar; `b` None is what `a` leaves. `reduce` makes one value of a prompt's positions:
    their mean, the value with the largest magnitude, or that of the last position."""

    a: str
    b: str | None = None
    reduce: Reduce = "mean"
    design: DesignChoice = "auto"
    max_q: float = 0.05
    n_null: int = 20
    seed: int = 0
    rank_by: RankBy = "d"
    first_pos: int | None = None
    """See `counted_prompts`."""
    include_bos: bool = False


@dataclass(frozen=True)
class ContrastResult:
    """`frame` has one row per neuron of the stored layers, ordered by (layer, neuron)."""

    run: dict[str, Any]
    """Its `run_identity`."""
    frame: pd.DataFrame
    config: ContrastConfig
    counted: Counted
    sides: Sides
    null_counts: list[int]
    """Number of neurons with q ≤ `max_q` in each draw of the null."""

    @property
    def n_found(self) -> int:
        return int((self.frame["q"] <= self.config.max_q).sum())

    @property
    def n_tested(self) -> int:
        return int(self.frame["p"].notna().sum())


class _Layer(NamedTuple):
    mean_a: Float64[np.ndarray, " neuron"]
    mean_b: Float64[np.ndarray, " neuron"]
    d: Float64[np.ndarray, " neuron"]
    tests: RankTests
    """The first labelling is the observed one; NaN where a value is not finite."""


def analyze_contrast(run: Run, config: ContrastConfig, *, progress: ProgressOf = silent) -> ContrastResult:
    """Compare the sides over every stored neuron. A neuron with a NaN or infinite value has null cells.

    Raises `UsageError` for sides that cannot be compared, `BadRunError` for a broken file.
    """
    counted = counted_prompts(run, first_pos=config.first_pos, include_bos=config.include_bos)
    sides = choose_sides(counted, config.a, config.b, config.design)
    labels = _labellings(sides, config)
    layers = []
    with progress("layers", len(run.layers)) as bar:
        for layer in run.layers:
            layers.append(_one_layer(run, sides, config, labels, layer))
            bar.advance(1)
    p = np.concatenate([x.tests.p for x in layers], axis=1)
    q = benjamini_hochberg(p[0])
    null = [int((benjamini_hochberg(draw) <= config.max_q).sum()) for draw in p[1:]]
    return ContrastResult(run_identity(run), _frame(run, layers, p[0], q, config), config, counted, sides, null)


def parse_rank_by(text: str | None) -> RankBy:
    """The score that ranks; raises `UsageError` for another text."""
    for name in get_args(RankBy):
        if text in (name, None):
            return name  # type: ignore[no-any-return]
    raise UsageError(f"{text!r} ranks no contrast", where="--rank_by", next_step=f"Use {', '.join(get_args(RankBy))}")


def _labellings(sides: Sides, config: ContrastConfig) -> np.ndarray:
    """The observed labelling and `n_null` random ones: signs of differences, or which units are in A."""
    rng = np.random.default_rng([config.seed, len(sides.a), len(sides.b)])
    if sides.design == "paired":
        draws = rng.choice([-1.0, 1.0], (config.n_null, len(sides.a)))
        return np.concatenate([np.ones((1, len(sides.a))), draws])
    observed = np.arange(len(sides.a) + len(sides.b)) < len(sides.a)
    return np.stack([observed, *(rng.permutation(observed) for _ in range(config.n_null))])


def _one_layer(run: Run, sides: Sides, config: ContrastConfig, labels: np.ndarray, layer: int) -> _Layer:
    a, b = _values(run, sides, layer, config.reduce)
    n = a.shape[1]
    parts = [_block(a[:, i : i + _BLOCK], b[:, i : i + _BLOCK], sides, labels) for i in range(0, n, _BLOCK)]
    tests = RankTests(
        np.concatenate([x.tests.auroc for x in parts], axis=1), np.concatenate([x.tests.p for x in parts], axis=1)
    )
    mean_a, mean_b, d = (np.concatenate([getattr(x, f) for x in parts]) for f in ("mean_a", "mean_b", "d"))
    return _Layer(mean_a, mean_b, d, tests)


def _values(
    run: Run, sides: Sides, layer: int, reduce: Reduce
) -> tuple[Float32[np.ndarray, "a neuron"], Float32[np.ndarray, "b neuron"]]:
    """One value per unit and neuron. A prompt on both sides is read once."""
    of_b = {u.prompt.probe_id: i for i, u in enumerate(sides.b)}
    a = np.empty((len(sides.a), run.manifest.d_mlp), np.float32)
    b = np.empty((len(sides.b), run.manifest.d_mlp), np.float32)
    for i, unit in enumerate(sides.a):
        acts = run.acts(unit.prompt, layer=layer)
        a[i] = reduced(acts, unit, reduce)
        own = of_b.pop(unit.prompt.probe_id, None)
        if own is not None:
            b[own] = reduced(acts, sides.b[own], reduce)
    for own in of_b.values():
        b[own] = reduced(run.acts(sides.b[own].prompt, layer=layer), sides.b[own], reduce)
    return a, b


def reduced(acts: Float32[np.ndarray, "pos neuron"], unit: Unit, reduce: Reduce) -> Float32[np.ndarray, " neuron"]:
    """The value of a unit. `max` keeps the sign, and prefers the first of equal magnitudes."""
    chosen = acts[list(unit.positions)]
    if reduce == "mean":
        mean: np.ndarray = chosen.mean(axis=0)
        return mean
    if reduce == "last":
        last: np.ndarray = chosen[-1]
        return last
    peak: np.ndarray = np.take_along_axis(chosen, np.abs(chosen).argmax(axis=0)[None], axis=0)[0]
    return peak


def _block(
    a: Float32[np.ndarray, "a neuron"], b: Float32[np.ndarray, "b neuron"], sides: Sides, labels: np.ndarray
) -> _Layer:
    finite = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
    a, b = (np.where(finite, x, 0).astype(np.float64) for x in (a, b))
    if sides.design == "paired":
        tests, d = signed_rank(a - b, labels), paired_d(a - b)
    else:
        tests, d = mann_whitney(column_ranks(np.concatenate([a, b])), labels), cohens_d(a, b).d
    mean_a, mean_b, d = (np.where(finite, x, np.nan) for x in (a.mean(axis=0), b.mean(axis=0), d))
    return _Layer(mean_a, mean_b, d, RankTests(*(np.where(finite, x, np.nan) for x in tests)))


def _frame(
    run: Run, layers: Sequence[_Layer], p: Float64[np.ndarray, " row"], q: Float64[np.ndarray, " row"],
    config: ContrastConfig,
) -> pd.DataFrame:  # fmt: skip
    """Columns as in docs/poc2.md; `score` is the signed score that ranks."""
    n = run.manifest.d_mlp
    a, b, d = (np.concatenate([getattr(x, f) for x in layers]) for f in ("mean_a", "mean_b", "d"))
    auroc = np.concatenate([x.tests.auroc[0] for x in layers])
    larger = np.where(np.abs(a) >= np.abs(b), a, b)
    scores = {"d": d, "auroc": auroc - 0.5, "difference": a - b}
    return pd.DataFrame(
        {
            "layer": np.repeat(np.array(run.layers, np.int32), n),
            "neuron": np.tile(np.arange(n, dtype=np.int32), len(run.layers)),
            "pole": np.where(larger < 0, "-", "+"),
            "score": scores[config.rank_by],
            "auroc": auroc,
            "d": d,
            "mean_a": a,
            "mean_b": b,
            "p": p,
            "q": q,
        }
    )
