"""Which shares of attention heads are stored. On a real model every edge passes a little through hundreds of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from jaxtyping import Float
from torch import Tensor

from neuron_signatures.runs.circuits.graph import Edge, HeadShare

LEAST_SHARE: Final = 0.01
"""Share of an edge's |weight| from which that of a head is stored."""
MOST_HEADS: Final = 32
"""Heads of an edge that are stored at most: of an edge whose parts cancel, many are large beside its weight."""


class StoredHeads(NamedTuple):
    """`edges` are those given, with the sum of the shares that are left out."""

    heads: tuple[HeadShare, ...]
    edges: tuple[Edge, ...]
    n_left_out: int
    """Shares that are not 0 and not stored."""

    def facts(self) -> dict[str, Any]:
        """For the stage record."""
        return {
            "n_stored": len(self.heads), "n_left_out": self.n_left_out, "least_share": LEAST_SHARE,
            "most_per_edge": MOST_HEADS,
        }  # fmt: skip


def stored_heads(edges: Sequence[Edge], shares: Float[Tensor, "edge layer head"]) -> StoredHeads:
    """The largest shares of each edge: at least `LEAST_SHARE` of |weight|, and at most `MOST_HEADS`, in order of layer
    and head. Those of an edge and its `other_heads` sum to its row of `shares`."""
    n_heads = shares.shape[-1]
    found, with_rest, n_left_out = list[HeadShare](), list[Edge](), 0
    for edge, row in zip(edges, shares.flatten(1).double(), strict=True):
        order = row.abs().argsort(descending=True, stable=True)[:MOST_HEADS]
        large = (row[order].abs() >= LEAST_SHARE * abs(edge.weight)) & (row[order] != 0)
        kept = sorted(order[large].tolist())
        found += [HeadShare(edge.source, edge.target, i // n_heads, i % n_heads, float(row[i])) for i in kept]
        n_left_out += int((row != 0).sum()) - len(kept)
        with_rest.append(replace(edge, other_heads=float(row.sum() - row[kept].sum())))
    return StoredHeads(tuple(found), tuple(with_rest), n_left_out)
