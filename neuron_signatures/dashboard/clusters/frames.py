"""Tables of the view *Clusters*, with columns in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuron_signatures.runs.tokens import brief, visible

if TYPE_CHECKING:
    import pandas as pd

CLUSTERINGS_HELP = {
    "clustering": "Click to show its clusters.",
    "by": "What neurons are described by: activations on the corpus, output weights, or their strongest windows.",
    "noise": "Neurons in no cluster (HDBSCAN).",
    "stability": "Adjusted Rand index of clusterings of bootstrap samples with this one: 1 is the same, 0 is chance.",
    "low": "Lower end of the 95 % interval of the stability.",
    "high": "Upper end of the 95 % interval of the stability.",
    "null stability": "The same of shuffled data.",
    "silhouette": "How much nearer neurons are to their own cluster than to the next: 1 is apart, 0 is no clusters.",
    "null silhouette": "Mean over shuffled data.",
    "null sd": "Standard deviation over shuffled data.",
    "p": "Of the silhouette, one-sided.",
}
CLUSTERS_HELP = {
    "cluster": "Click to show its neurons and tokens.",
    "neurons": "Members.",
    "stability": "Of this cluster over the bootstrap samples.",
    "effect": "KL of the predictions, in nats, when all members are set to their means, over windows of the cluster.",
    "low": "Lower end of the 95 % interval of the effect.",
    "high": "Upper end of the 95 % interval of the effect.",
    "null": "Mean effect of as many random neurons of the same layers on the same windows.",
    "null sd": "Standard deviation over the random sets.",
    "p": "(1 + random sets with at least this effect) / (1 + random sets).",
}
TOKENS_HELP = {
    "token": "· is a space, ⏎ a line break.",
    "score": "Mean over members of the standardised activation at the token.",
    "count": "Occurrences in the corpus.",
}
THREE = "%.3g"


def clusterings_frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = rows.assign(clustering=[brief(str(n)) for n in rows["clustering"].fillna("")]).rename(columns={
        "basis": "by", "n_clusters": "clusters", "n_neurons": "neurons", "n_noise": "noise", "ari_mean": "stability",
        "ari_low": "low", "ari_high": "high", "null_ari_mean": "null stability", "null_mean": "null silhouette",
        "null_sd": "null sd", "n_null": "draws",
    })  # fmt: skip
    return frame[["clustering", "by", "clusters", "neurons", "noise", "stability", "low", "high", "null stability",
                  "silhouette", "null silhouette", "null sd", "p", "draws"]]  # fmt: skip


def clusters_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the columns of the effect if nothing was ablated."""
    frame = rows.assign(name=[visible(str(n)) for n in rows["name"].fillna("")]).rename(columns={
        "n_neurons": "neurons", "effect_low": "low", "effect_high": "high", "null_mean": "null", "null_sd": "null sd",
        "n_windows": "windows",
    })  # fmt: skip
    effect = ["effect", "low", "high", "null", "null sd", "p", "windows"] if frame["effect"].notna().any() else []
    return frame[["cluster", "name", "neurons", "silhouette", "stability", *effect]].reset_index(drop=True)


def tokens_frame(rows: pd.DataFrame) -> pd.DataFrame:
    shown = [visible(str(t)) for t in rows["token"].fillna("")]
    return rows.assign(token=shown)[["rank", "token", "score", "count"]].reset_index(drop=True)


def members_frame(rows: pd.DataFrame) -> pd.DataFrame:
    named = [f"L{layer}N{neuron}" for layer, neuron in zip(rows["layer"], rows["neuron"], strict=True)]
    frame = rows.assign(neuron=named)[["neuron", "distance"]].reset_index(drop=True)
    return frame if frame["distance"].notna().any() else frame[["neuron"]]
