"""The neurons that are like one neuron, by weights and on the corpus, as one list."""

from __future__ import annotations

from typing import Final, NamedTuple

from neuron_signatures.views.at_large.neuron import AtLarge
from neuron_signatures.views.coords import NeuronAt

BY: Final = ("activation", "windows +", "windows -", "output", "input", "gate")
"""What they are compared by, those of the corpus first."""


class Related(NamedTuple):
    """One of them. `by` is one of `BY`; `null` is a high percentile of the best |value| by chance."""

    by: str
    rank: int
    at: NeuronAt
    pole: str
    value: float | None
    null: float | None


def related_of(known: AtLarge) -> list[Related]:
    """All of them, in the order of `BY` and then by rank."""
    rows = [Related(n.weight, n.rank, n.at, "", n.cosine, n.null_high) for n in known.neighbours]
    rows += [Related(f"{s.kind} {s.pole}".strip(), s.rank, s.at, s.other_pole, s.value, s.null_high)
             for s in known.similar]  # fmt: skip
    return sorted((r for r in rows if r.by in BY), key=lambda r: (BY.index(r.by), r.rank))
