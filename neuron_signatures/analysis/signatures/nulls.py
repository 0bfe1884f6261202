"""Nulls of the classes: the same measurement with labels that say nothing about the activations.

- `shuffled`: each prompt's labels in random order. It also destroys which tokens are at the beginning and at the end.
- `of_other_prompts`: each prompt has the labels of another prompt of similar length, position by position. A neuron
  that responds to positions only is classified as often as with its own labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from neuron_signatures.analysis.signatures.labels import Labels

_MIN_DONORS, _MAX_DONORS = 5, 16


class NullCounts(NamedTuple):
    """Poles of one class over the draws of a null: mean, smallest and largest. None without a draw."""

    mean: float | None
    low: int | None
    high: int | None

    def precision(self, observed: int) -> float | None:
        """1 - mean / observed, at least 0: the share that this null does not explain. None if undefined."""
        return None if self.mean is None or not observed else max(0.0, 1 - self.mean / observed)

    def record(self, observed: int) -> dict[str, Any]:
        return {**self._asdict(), "precision": self.precision(observed)}


def null_counts(draws: Sequence[dict[str, int]], kind: str) -> NullCounts:
    """`draws` are class counts."""
    n = [d[kind] for d in draws]
    return NullCounts(float(np.mean(n)), min(n), max(n)) if n else NullCounts(None, None, None)


def choose_donors(lengths: Sequence[int]) -> list[Int64[np.ndarray, " _"]]:
    """For each prompt, the other prompts whose labels it can have: the 5 nearest in length, with all equally near.

    At most 16 (of equally near ones, the same random choice every time); fewer than 5 only in runs of fewer than 6
    prompts.
    """
    rng = np.random.default_rng(0)
    n = np.asarray(lengths)
    out = []
    for i, length in enumerate(n):
        away = np.abs(n - length)
        others = rng.permutation(np.delete(np.arange(len(n)), i))
        ranked = others[np.argsort(away[others], kind="stable")]
        near = ranked[:_MIN_DONORS][-1:]
        out.append(ranked[away[ranked] <= away[near].max(initial=0)][:_MAX_DONORS])
    return out


def aligned_to(length: int, other: int) -> Int64[np.ndarray, " pos"]:
    """For each position of a prompt of `length` tokens, a position of another of `other` tokens.

    The first half is aligned at the start, the second at the end; equal lengths are aligned throughout. A shorter
    prompt repeats tokens, a longer one loses some, both in the middle.
    """
    pos = np.arange(length)
    return np.where(pos < (length + 1) // 2, np.minimum(pos, other - 1), np.maximum(other - (length - pos), 0))


def shuffled(labels: Labels, rng: np.random.Generator) -> Labels:
    """The labels permuted within each prompt."""
    return labels._replace(prompts=[p.at(rng.permutation(len(p.key))) for p in labels.prompts])


def of_other_prompts(labels: Labels, donors: Sequence[Integer[np.ndarray, " _"]], rng: np.random.Generator) -> Labels:
    """Each prompt's labels replaced by those of one of its donors, drawn independently for each prompt."""
    taken = []
    for own, choices in zip(labels.prompts, donors, strict=True):
        other = labels.prompts[int(rng.choice(choices))]
        taken.append(other.at(aligned_to(len(own.key), len(other.key))))
    return labels._replace(prompts=taken)
