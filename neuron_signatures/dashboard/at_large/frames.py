"""Tables about one neuron at large."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.at_large.neuron import Membership, NgramEffect
from neuron_signatures.views.at_large.related import Related

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
