"""Whether the common circuit holds on prompts that it was not made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from neuron_signatures.circuits.common.members import Key, Member


class Held(NamedTuple):
    """How much of the common circuit is in one circuit; None without common neurons. Of a circuit that the common one
    was made of, the neurons count that are common to the others, and there is no null."""

    common_share: float | None
    """Share of the common neurons, at their roles, that are nodes of this circuit."""
    covered: float | None
    """Share of Σ|score| of this circuit's neurons that is of common neurons."""
    null_mean: float | None = None
    """The null of `common_share`: as many random neurons in each layer and role."""
    null_sd: float | None = None
    p: float | None = None
    n_null: int | None = None


def held_of(member: Member, common: Collection[Key], *, d_mlp: int, random: np.random.Generator, n_draws: int) -> Held:
    """Compare a circuit with the common neurons; with a null if it was held out."""
    if not common:
        return Held(None, None)
    n_shared = sum(key in member.neurons for key in common)
    total = sum(abs(node.score or 0.0) for node in member.neurons.values())
    shared = sum(abs(node.score or 0.0) for key, node in member.neurons.items() if key in common)
    share, covered = n_shared / len(common), shared / total if total else None
    if not member.held_out:
        return Held(share, covered)
    drawn = _random_shared(member, common, d_mlp, random, n_draws)
    p = float((1 + (drawn >= n_shared).sum()) / (1 + n_draws))
    spread = float(drawn.std(ddof=1) / len(common)) if n_draws > 1 else None
    return Held(share, covered, float(drawn.mean() / len(common)), spread, p, n_draws)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of the defined ones."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _random_shared(
    member: Member, common: Collection[Key], d_mlp: int, random: np.random.Generator, n_draws: int
) -> np.ndarray:
    """How many of random neurons are in the circuit: in each layer and role, as many as are common, without return."""
    wanted = Counter((key.layer, key.role) for key in common)
    there = Counter((key.layer, key.role) for key in member.neurons)
    drawn = np.zeros(n_draws)
    for place, n in wanted.items():
        n_there = there[place]
        drawn += random.hypergeometric(n_there, d_mlp - n_there, n, n_draws)
    return drawn
