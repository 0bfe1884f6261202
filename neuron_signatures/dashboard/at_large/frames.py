"""Tables about one neuron at large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.at_large.neuron import AtLarge, Membership, NgramEffect
from neuron_signatures.views.coords import NeuronAt

_KINDS = {"activation": "activation", "windows": "windows"}
_MOST = 10
RELATED_HELP = {
    "by": "Weights: cosine. Activation: correlation on the corpus. Windows: Jaccard index of strongest windows.",
    "neuron": "Click to open it.",
    "null": "By chance the best value is at most this: 95th percentile (corpus), 99th percentile (weights).",
}
CLUSTER_HELP = {"cluster": "Click to open it.", "distance": "To the cluster's centre."}
NGRAM_HELP = {
    "effect": "(mean at the n-gram - mean of all positions) / standard deviation, on explain.",
    "held out": "The same on select, which had no part in the choice.",
}


class Related(NamedTuple):
    """A neuron that is like the one of the page."""

    by: str
    rank: int
    at: NeuronAt
    pole: str
    value: float | None
    null: float | None


def related(known: AtLarge, by: str) -> list[Related]:
    """Neighbours by weights, or similar neurons on the corpus; `by` is one of `kinds_of`."""
    if by in ("output", "input", "gate"):
        own = [Related(by, n.rank, n.at, "", n.cosine, n.null_high) for n in known.neighbours if n.weight == by]
    else:
        kind, _, pole = by.partition(" ")
        own = [Related(by, s.rank, s.at, s.other_pole, s.value, s.null_high) for s in known.similar
               if (s.kind, s.pole) == (kind, pole)]  # fmt: skip
    return sorted(own, key=lambda r: r.rank)[:_MOST]


def kinds_of(known: AtLarge) -> list[str]:
    """What related neurons there are: `output`, `activation`, `windows +`."""
    weights = [n.weight for n in known.neighbours if n.weight in ("output", "input", "gate")]
    similar = [f"{s.kind} {s.pole}".strip() for s in known.similar if s.kind in _KINDS]
    return list(dict.fromkeys([*similar, *weights]))


def related_frame(rows: Sequence[Related]) -> pd.DataFrame:
    frame = pd.DataFrame({
        "neuron": [f"{r.at.label}{r.pole}" for r in rows], "value": pd.array([r.value for r in rows], dtype="Float64"),
        "null": pd.array([r.null for r in rows], dtype="Float64"),
    })  # fmt: skip
    return frame if any(r.null is not None for r in rows) else frame.drop(columns="null")


def membership_frame(rows: Sequence[Membership]) -> pd.DataFrame:
    return pd.DataFrame({
        "clustering": [brief(m.clustering) for m in rows],
        "cluster": ["noise" if m.cluster < 0 else f"{m.cluster} {visible(m.name)}".strip() for m in rows],
        "neurons": pd.array([m.n_neurons for m in rows], dtype="Int64"),
        "distance": pd.array([m.distance for m in rows], dtype="Float64"),
    })  # fmt: skip


def ngram_frame(rows: Sequence[NgramEffect]) -> pd.DataFrame:
    return pd.DataFrame({
        "pole": [n.pole for n in rows], "n-gram": [visible(n.text) for n in rows],
        "effect": pd.array([n.effect for n in rows], dtype="Float64"),
        "held out": pd.array([n.held_out_effect for n in rows], dtype="Float64"),
        "count": pd.array([n.n for n in rows], dtype="Int64"),
    })  # fmt: skip
