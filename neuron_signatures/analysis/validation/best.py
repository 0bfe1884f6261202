"""Which ranking is best, if the data separate it from the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuron_signatures.analysis.report_text import number
from neuron_signatures.stats.stratified import Difference

MAX_P = 0.05
"""A ranking whose set random sets match more often than this cannot be the best for sets."""
SINGLE_CRITERION = "highest Spearman, named if a paired bootstrap over neurons separates it from the next"
SETS_CRITERION = (
    f"least CMD of those that beat random sets (p <= {MAX_P}), named if it is the only one, or below the next with 19 "
    "of 20 references from resampled prompts"
)
_NEEDED = 0.95  # share of the resampled references


@dataclass(frozen=True)
class Best:
    """`name` is None if no ranking is best; `why` compares the first two, or says what is missing."""

    name: str | None
    why: str


def best_single(ranked: Sequence[tuple[str, float]], gap: Difference | None) -> Best:
    """From (metric, Spearman), best first, and the difference between the first two."""
    if len(ranked) < 2:
        return _alone(ranked)
    first, second = (f"{name} {number(value)}" for name, value in ranked[:2])
    if gap is None:
        return Best(None, f"{first} and {second}: their difference is undefined")
    interval = f"difference {gap.value:.2g}, 95 % interval {gap.low:.2g} to {gap.high:.2g}"
    if gap.low > 0:
        return Best(ranked[0][0], f"{first}, then {second} ({interval})")
    return Best(None, f"{first} and {second} are not separated ({interval})")


def best_sets(cmd: Mapping[str, float], beats: Mapping[str, bool], draws: Mapping[str, Sequence[float | None]]) -> Best:
    """From the CMD of each metric, whether its set beats random sets, and its CMD with each resampled reference."""
    ranked = sorted(((name, value) for name, value in cmd.items() if beats[name]), key=lambda pair: pair[1])
    if len(cmd) < 2:
        return _alone(list(cmd.items()))
    if not ranked:
        return Best(None, "no ranking beats random sets")
    if len(ranked) == 1:
        name, value = ranked[0]
        return Best(name, f"{name} {number(value)}, the only one that beats random sets")
    (best, a), (second, b) = ranked[:2]
    both = f"{best} {number(a)} and {second} {number(b)}"
    if not draws.get(best):
        return Best(None, f"{both}: the reference is no mean of prompts, so CMD has no spread")
    below = sum(x is not None and y is not None and x < y for x, y in zip(draws[best], draws[second], strict=True))
    n = len(draws[best])
    times = f"lower with {below} of {n} resampled references"
    if below >= _NEEDED * n:
        return Best(best, f"{best} {number(a)}, then {second} {number(b)} ({times})")
    return Best(None, f"{both} are not separated ({times})")


def _alone(ranked: Sequence[tuple[str, float]]) -> Best:
    if not ranked:
        return Best(None, "no ranking has a value")
    name, value = ranked[0]
    return Best(None, f"{name} {number(value)}, the only one compared")
