"""The lower half of the Map view: provenance of the figure, clusters, and the tokens of each cluster."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data.exports import downloads_with_record
from neuron_signatures.dashboard.data.neuron_sets import NeuronSet
from neuron_signatures.dashboard.data.sample import Sample
from neuron_signatures.dashboard.map.cached_work import Grouped, SampleSettings, swept_of, top_tokens_of, tsne_of
from neuron_signatures.dashboard.map.clusters import Clustering, TopToken, sweep_ks
from neuron_signatures.dashboard.map.figures import sweep_figure
from neuron_signatures.dashboard.map.projection import ROWS, Reduced
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, table
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.tokens import encodable, visible

CLUSTER_SET = "map_cluster_set"
"""Session key of the cluster passed to the Query view: the data key and a `NeuronSet`."""
_TOP_TOKENS = 10


def provenance(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, grouped: Grouped | None,
    perplexity: int | None,
) -> None:  # fmt: skip
    r = sample.record
    left_out = [f"{n:,} {what}" for n, what in ((r.n_constant, "constant"), (r.n_nonfinite, "not finite")) if n]
    explained = "none" if reduced.held is None else f"{reduced.held:.1%}"
    pairs = [
        ("neurons", f"{r.n_neurons:,} of {r.n_neurons_of:,}, by {r.neurons_by}"
                    + (f"; left out: {', '.join(left_out)}" if left_out else "")),
        ("tokens", f"{r.n_tokens:,} of {r.n_tokens_of:,}, {r.tokens_by}; first positions {r.bos}"),
        ("rows", f"{s.rows}: {ROWS[s.rows]}"),
        ("PCA", f"{reduced.coords.shape[1]} components explain {explained} of the variance ({reduced.solver})"),
    ]  # fmt: skip
    seed = str(s.seed)
    if perplexity is not None:
        clipped = perplexity < int(st.session_state["ui_map_perplexity"])
        seed += f"; perplexity {perplexity}" + (f", the maximum for {r.n_neurons:,} neurons" if clipped else "")
    facts([*pairs, ("seed", seed)])
    _exports(ctx, s, sample, reduced, grouped, perplexity)


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
    clusters = None
    if grouped is not None:
        found = grouped.clustering
        frame["cluster"] = found.labels
        clusters = {
            "space": "the PCA components", **found.settings._asdict(), "note": found.note,
            "n_clusters": found.n_clusters, "n_noise": found.n_noise, "silhouette": grouped.data._asdict(),
            "silhouette_shuffled": grouped.shuffled._asdict(),
        }  # fmt: skip
    record = {
        **asdict(sample.record), "rows": ROWS[s.rows], "projection": "PCA" if perplexity is None else "t-SNE",
        "pca_components": reduced.coords.shape[1], "pca_variance_held": reduced.held,
        "pca_explained": reduced.explained, "pca_solver": reduced.solver, "tsne_perplexity": perplexity,
        "clusters": clusters,
    }  # fmt: skip
    downloads_with_record(ctx, frame, record, "map", "the sample")


def clusters_panel(ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, grouped: Grouped) -> None:
    import pandas as pd

    found = grouped.clustering
    st.subheader("Clusters")
    _scores(grouped, reduced)
    if found.settings.method == "k-means" and sweep_ks(reduced.n_points):
        sweep_help = "k-means with k from 2 to 20, and the same on shuffled data."
        if st.toggle("Compare numbers of clusters", key="ui_map_sweep", help=sweep_help):
            chart(ctx, sweep_figure(swept_of(ctx, s, sample, reduced)), "map_sweep")
            st.caption("Where the two lines are close, the clusters are no better than those of shuffled data.")
    if found.n_clusters == 0:
        empty(
            "HDBSCAN finds no dense group: every neuron is noise.", why="Try a lower minimum cluster size, or k-means."
        )
        return
    best = top_tokens_of(ctx, s, sample, found, _TOP_TOKENS)
    rows = []
    for c in range(found.n_clusters):
        members = np.flatnonzero(found.labels == c)
        layers = spans(sorted({sample.at[i].layer for i in members}))
        words = "  ".join(visible(t.token) for t in best if t.cluster == c)
        rows.append({"cluster": c, "neurons": len(members), "layers": layers, "top tokens": words})
    if found.n_noise:
        rows.append({"cluster": None, "neurons": found.n_noise, "layers": "", "top tokens": "noise (in no cluster)"})
    table(
        pd.DataFrame(rows).astype({"cluster": "Int64"}), "map_clusters",
        on_row=lambda row: st.session_state.update(ui_map_cluster=row),
        help={"top tokens": "Distinct tokens with the largest mean standardised activation over the cluster."},
    )  # fmt: skip
    if st.session_state.get("ui_map_cluster") not in range(found.n_clusters):
        st.session_state["ui_map_cluster"] = 0
    c = st.selectbox("Cluster", range(found.n_clusters), key="ui_map_cluster", width=260)
    _cluster(ctx, sample, found, best, int(c))


def _scores(grouped: Grouped, reduced: Reduced) -> None:
    """The silhouettes of the data and of the shuffled sample."""
    left, right, rest = st.columns([1, 1, 2.4], vertical_alignment="center")
    for where, label, score, help in (
        (left, "silhouette", grouped.data, "Mean over neurons of (b - a) / max(a, b): a is the mean distance within "
         "the cluster, b to the nearest other one. 1: well separated, 0: touching, below 0: mixed."),
        (right, "of shuffled activations", grouped.shuffled, "The same clustering after each neuron's activations "
         "were shuffled independently over the tokens, which removes shared structure."),
    ):  # fmt: skip
        where.metric(label, "undefined" if score.value is None else f"{score.value:+.3f}", help=help)
    settings = grouped.clustering.settings
    size = f"k = {settings.k}" if settings.method == "k-means" else f"minimum size {settings.min_size}"
    pairs = [("method", f"{settings.method}, {size}, in the {reduced.coords.shape[1]} PCA components, not the figure")]
    pairs += [("silhouette", grouped.data.why)]
    pairs += [("shuffled", grouped.shuffled.why)]
    pairs += [("note", grouped.clustering.note)] if grouped.clustering.note else []
    with rest:
        facts(pairs)


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
        table(frame, "map_cluster_tokens", help={
            "n": "Occurrences among the sampled tokens.",
            "mean z": "Mean over the cluster's neurons and the occurrences of the activations standardised per neuron.",
            "mean act": "The same for raw activations.",
        })  # fmt: skip
    with right:
        peak_at = sample.peak_tokens
        frame = pd.DataFrame({
            "neuron": [at.label for at in neurons], "peak |act|": sample.peak[members],
            "token at the peak": [visible(peak_at[i]) for i in members],
        })  # fmt: skip
        table(frame, "map_cluster_neurons", on_row=lambda i: ctx.open_neuron(neurons[i]), height=388, help={
            "neuron": "Click to open it.", "peak |act|": "Over all included tokens of the run.",
        })  # fmt: skip


def _ask(ctx: PageContext, cluster: NeuronSet) -> None:
    st.session_state[CLUSTER_SET] = (ctx.data_key, cluster)
    st.session_state["ui_query_kind"] = "tokens"
    st.session_state["ui_query_set"] = "cluster"
    ctx.choose(view=View.QUERY)
