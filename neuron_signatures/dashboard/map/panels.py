"""The lower half of the Map view: what the picture rests on, its clusters, and what each of them is about."""

from __future__ import annotations

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.data.neuron_sets import NeuronSet
from neuron_signatures.dashboard.data.sample import Sample, with_record
from neuron_signatures.dashboard.map.cached_work import (
    Grouped,
    SampleSettings,
    map_record,
    swept_of,
    top_tokens_of,
    tsne_of,
)
from neuron_signatures.dashboard.map.clusters import Clustering, TopToken, sweep_ks
from neuron_signatures.dashboard.map.figures import sweep_figure
from neuron_signatures.dashboard.map.projection import ROWS, Reduced
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, table
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.tokens import encodable, visible

CLUSTER_SET = "map_cluster_set"
"""Where the session keeps the cluster that the Query view was asked about: the data key and a `NeuronSet`."""
_TOP_TOKENS = 10


def provenance(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, grouped: Grouped | None,
    perplexity: int | None,
) -> None:  # fmt: skip
    r = sample.record
    left_out = [f"{n:,} {what}" for n, what in ((r.n_constant, "constant"), (r.n_nonfinite, "not finite")) if n]
    held = "none" if reduced.held is None else f"{reduced.held:.1%}"
    pairs = [
        ("neurons", f"{r.n_neurons:,} of {r.n_neurons_of:,}, by {r.neurons_by}"
                    + (f"; left out: {', '.join(left_out)}" if left_out else "")),
        ("tokens", f"{r.n_tokens:,} of {r.n_tokens_of:,}, {r.tokens_by}; the BOS {r.bos}"),
        ("rows", f"{s.rows}: {ROWS[s.rows]}"),
        ("PCA", f"{reduced.coords.shape[1]} components hold {held} of the variance ({reduced.solver})"),
        ("seed", f"{s.seed}{_perplexity(perplexity, r.n_neurons)}"),
    ]  # fmt: skip
    facts(pairs)
    _exports(ctx, s, sample, reduced, grouped, perplexity)


def _perplexity(used: int | None, n_neurons: int) -> str:
    """What t-SNE used, beside what the box may ask for; empty for PCA."""
    if used is None:
        return ""
    most = f", the most for {n_neurons:,} neurons" if used < int(st.session_state["ui_map_perplexity"]) else ""
    return f"; perplexity {used}{most}"


def _exports(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, grouped: Grouped | None,
    perplexity: int | None,
) -> None:  # fmt: skip
    import pandas as pd

    frame = pd.DataFrame(
        {
            "layer": [at.layer for at in sample.at], "neuron": [at.neuron for at in sample.at], "peak_abs": sample.peak,
            "peak_token": [encodable(t) for t in sample.peak_tokens],
            "pc1": reduced.coords[:, 0], "pc2": reduced.coords[:, 1],
        }
    )  # fmt: skip
    if perplexity is not None:
        points = tsne_of(ctx, s, sample, reduced, perplexity)
        frame["tsne1"], frame["tsne2"] = points[:, 0], points[:, 1]
    if grouped is not None:
        frame["cluster"] = grouped.clustering.labels
    record = map_record(
        ctx, s, sample, reduced, projection="PCA" if perplexity is None else "t-SNE", perplexity=perplexity,
        grouped=grouped,
    )  # fmt: skip
    with st.popover("Download"):
        downloads(with_record(frame, record), "map", "map_downloads")
        st.caption("The first row's `how` says what was sampled and how it was computed.")


def clusters_panel(ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, grouped: Grouped) -> None:
    import pandas as pd

    found = grouped.clustering
    st.subheader("Clusters")
    _scores(grouped, reduced)
    if found.settings.method == "k-means" and sweep_ks(reduced.n_points):
        st.toggle("Compare numbers of clusters", key="ui_map_sweep", help="k-means with k from 2 to 20, and a control.")
        if st.session_state["ui_map_sweep"]:
            chart(ctx, sweep_figure(swept_of(ctx, s, sample, reduced)), "map_sweep")
            st.caption("Where the two lines lie close, the clusters are no better than those of structure-free data.")
    if found.n_clusters == 0:
        empty("HDBSCAN finds no dense group: every neuron is noise.", why="Try a smaller smallest cluster, or k-means.")
        return
    best = top_tokens_of(ctx, s, sample, found, _TOP_TOKENS)
    rows = []
    for c in range(found.n_clusters):
        members = np.flatnonzero(found.labels == c)
        layers = spans(sorted({sample.at[i].layer for i in members}))
        words = "  ".join(visible(t.token) for t in best if t.cluster == c)
        rows.append({"cluster": c, "neurons": len(members), "layers": layers, "top tokens": words})
    if found.n_noise:
        rows.append({"cluster": None, "neurons": found.n_noise, "layers": "", "top tokens": "noise: in no cluster"})
    table(ctx, pd.DataFrame(rows).astype({"cluster": "Int64"}), "map_clusters", on_row=_choose_cluster, help={
        "top tokens": "Distinct tokens with the largest mean of the cluster's standardised activations.",
    })  # fmt: skip
    chosen = st.session_state.get("ui_map_cluster")
    if not isinstance(chosen, int) or not 0 <= chosen < found.n_clusters:
        st.session_state["ui_map_cluster"] = 0
    c = st.selectbox("Cluster", range(found.n_clusters), key="ui_map_cluster", width=260)
    _cluster(ctx, sample, found, best, int(c))


def _scores(grouped: Grouped, reduced: Reduced) -> None:
    """The silhouette beside that of the shuffled sample, without which it says little."""
    left, right, rest = st.columns([1, 1, 2.4], vertical_alignment="center")
    for where, label, score, help in (
        (left, "silhouette", grouped.data, "Mean over neurons of (b - a) / max(a, b): a is the mean distance within "
         "the cluster, b that to the nearest other one. 1: far apart, 0: touching, below 0: mixed."),
        (right, "of shuffled activations", grouped.shuffled, "The same clustering after each neuron's activations "
         "were shuffled over the tokens on their own: what data without shared structure gives."),
    ):  # fmt: skip
        where.metric(label, "undefined" if score.value is None else f"{score.value:+.3f}", help=help)
    settings = grouped.clustering.settings
    asked = f"k = {settings.k}" if settings.method == "k-means" else f"smallest cluster {settings.min_size}"
    pairs = [
        ("method", f"{settings.method}, {asked}, in the {reduced.coords.shape[1]} PCA components, not the picture")
    ]
    pairs += [("silhouette", grouped.data.why)]
    pairs += [("shuffled", grouped.shuffled.why)]
    pairs += [("note", grouped.clustering.note)] if grouped.clustering.note else []
    with rest:
        facts(pairs)


def _choose_cluster(row: int) -> None:
    st.session_state["ui_map_cluster"] = row


def _cluster(ctx: PageContext, sample: Sample, found: Clustering, best: list[TopToken], c: int) -> None:
    import pandas as pd

    members = np.flatnonzero(found.labels == c)
    members = members[np.argsort(-sample.peak[members], kind="stable")]
    neurons = [sample.at[i] for i in members]
    st.button(
        "Which n-grams excite this cluster?", on_click=_ask, key="map_ask",
        args=(ctx, NeuronSet(f"cluster {c} of the map", tuple(neurons))),
    )  # fmt: skip
    left, right = st.columns(2)
    with left:
        tokens = [t for t in best if t.cluster == c]
        frame = pd.DataFrame({
            "token": [visible(t.token) for t in tokens], "n": [t.n for t in tokens],
            "mean z": [t.mean_z for t in tokens], "mean act": [t.mean_act for t in tokens],
        })  # fmt: skip
        table(ctx, frame, "map_cluster_tokens", help={
            "n": "Occurrences among the sampled tokens.",
            "mean z": "Mean over the cluster's neurons and the occurrences of activations standardised per neuron.",
            "mean act": "The same of plain activations.",
        })  # fmt: skip
    with right:
        peak_at = sample.peak_tokens
        frame = pd.DataFrame({
            "neuron": [at.label for at in neurons], "peak |act|": sample.peak[members],
            "token at the peak": [visible(peak_at[i]) for i in members],
        })  # fmt: skip
        table(ctx, frame, "map_cluster_neurons", neurons=neurons, height=388, help={
            "neuron": "A click opens it.", "peak |act|": "Over all tokens of the run that count.",
        })  # fmt: skip


def _ask(ctx: PageContext, cluster: NeuronSet) -> None:
    st.session_state[CLUSTER_SET] = (ctx.data_key, cluster)
    st.session_state["ui_query_kind"] = "tokens"
    st.session_state["ui_query_set"] = "cluster"
    ctx.choose(view=View.QUERY)
