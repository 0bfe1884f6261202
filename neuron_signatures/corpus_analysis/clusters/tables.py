"""The tables of clusterings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from neuron_signatures.corpus_analysis.choice import Pairs
from neuron_signatures.corpus_analysis.clusters.effect import Effect
from neuron_signatures.corpus_analysis.clusters.grouping import NOISE, Found, centres
from neuron_signatures.corpus_analysis.clusters.stability import Stability
from neuron_signatures.corpus_analysis.clusters.tokens import TokenScores
from neuron_signatures.runs.corpus_analysis.folder import (
    CLUSTER_NEURONS,
    CLUSTER_TOKENS,
    CLUSTERINGS,
    CLUSTERS,
    TABLES,
    Basis,
    Method,
)
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.tokens import visible

_NAMED_BY = 3


@dataclass(frozen=True, eq=False)
class Clustering:
    """One way to group the neurons. `features` are rows of length 1; `effects` are empty without effects."""

    basis: Basis
    method: Method
    found: Found
    features: Float64[np.ndarray, "neuron dim"]
    stability: Stability
    tokens: list[TokenScores]
    effects: Sequence[Effect] = ()

    @property
    def name(self) -> str:
        """Such as `activations-kmeans-20`."""
        size = f"-{self.found.n_clusters}" if self.method == "kmeans" else ""
        return f"{self.basis}-{self.method}{size}"


def make_tables(found: Sequence[Clustering], neurons: Pairs, corpus: Corpus) -> dict[str, pd.DataFrame]:
    """All tables by their stems."""
    strings = _strings(found, corpus)
    rows: dict[str, list[dict[str, Any]]] = {CLUSTERINGS: [], CLUSTERS: [], CLUSTER_TOKENS: []}
    members = []
    for clustering in found:
        rows[CLUSTERINGS].append(_clustering_row(clustering))
        members.append(_member_rows(clustering, neurons))
        for cluster, tokens in enumerate(clustering.tokens):
            rows[CLUSTERS].append(_cluster_row(clustering, cluster, strings))
            rows[CLUSTER_TOKENS] += [
                {"clustering": clustering.name, "cluster": cluster, "rank": rank, "token_id": token,
                 "token": strings[token], "score": score, "count": count}
                for rank, (token, score, count) in enumerate(zip(*(a.tolist() for a in tokens), strict=True), start=1)
            ]  # fmt: skip
    made = {stem: pd.DataFrame(r, columns=list(TABLES[stem].columns)) for stem, r in rows.items()}
    return made | {CLUSTER_NEURONS: pd.concat(members, ignore_index=True)}


def _clustering_row(clustering: Clustering) -> dict[str, Any]:
    found, stability = clustering.found, clustering.stability
    aris = stability.aris[~np.isnan(stability.aris)]
    nulls = stability.null_silhouettes[~np.isnan(stability.null_silhouettes)]
    low, high = np.percentile(aris, [2.5, 97.5]) if len(aris) else (np.nan, np.nan)
    return {
        "clustering": clustering.name, "basis": clustering.basis, "method": clustering.method,
        "n_clusters": found.n_clusters, "n_neurons": len(found.labels),
        "n_noise": int((found.labels == NOISE).sum()), "ari_mean": _mean(aris), "ari_low": float(low),
        "ari_high": float(high), "n_bootstraps": len(aris), "null_ari_mean": _mean(stability.null_aris),
        "silhouette": found.silhouette, "null_mean": _mean(nulls), "null_sd": _spread(nulls),
        "p": stability.p(found.silhouette), "n_null": len(stability.null_silhouettes),
    }  # fmt: skip


def _cluster_row(clustering: Clustering, cluster: int, strings: dict[int, str]) -> dict[str, Any]:
    found, tokens = clustering.found, clustering.tokens[cluster]
    effect = clustering.effects[cluster] if clustering.effects else Effect(None, None, None, 0, np.zeros(0))
    name = ", ".join(visible(strings[token]) for token in tokens.token_id[:_NAMED_BY].tolist())
    return {
        "clustering": clustering.name, "cluster": cluster, "name": name or f"cluster {cluster}",
        "n_neurons": int((found.labels == cluster).sum()), "silhouette": found.of_cluster(cluster),
        "stability": float(clustering.stability.clusters[cluster]), "effect": _or_nan(effect.mean),
        "effect_low": _or_nan(effect.low), "effect_high": _or_nan(effect.high), "n_windows": effect.n_windows,
        "null_mean": _mean(effect.null), "null_sd": _spread(effect.null), "p": effect.p, "n_null": len(effect.null),
    }  # fmt: skip


def _member_rows(clustering: Clustering, neurons: Pairs) -> pd.DataFrame:
    labels = clustering.found.labels
    distance = np.full(len(labels), np.nan)
    for cluster, centre in enumerate(centres(clustering.features, labels)):
        mine = labels == cluster
        distance[mine] = np.linalg.norm(clustering.features[mine] - centre, axis=1)
    return pd.DataFrame({
        "clustering": clustering.name, "layer": neurons[:, 0], "neuron": neurons[:, 1], "cluster": labels,
        "distance": distance,
    })  # fmt: skip


def _strings(found: Sequence[Clustering], corpus: Corpus) -> dict[int, str]:
    """The raw strings of all tokens that describe a cluster."""
    ids = sorted({int(i) for clustering in found for tokens in clustering.tokens for i in tokens.token_id})
    return dict(zip(ids, corpus.strings(ids), strict=True))


def _mean(values: np.ndarray) -> float:
    """Of those that are defined; NaN without any."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _spread(values: np.ndarray) -> float:
    """The standard deviation of draws; NaN for fewer than two."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
