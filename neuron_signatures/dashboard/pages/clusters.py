"""Clusters view: clusterings with their stability beside nulls, and the clusters, tokens and members of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.clusters import figures, frames
from neuron_signatures.dashboard.clusters.cluster_panel import cluster_panel
from neuron_signatures.dashboard.data.cached_stage import corpus_table, stage_record
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.shell.link import copy_link
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading
from neuron_signatures.dashboard.widgets.elements import chart, empty, show_error, show_lines, small, table
from neuron_signatures.runs.corpus_analysis import folder as corpus
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.at_large.commands import corpus_command

if TYPE_CHECKING:
    import pandas as pd

_FORMATS = dict.fromkeys(
    ("stability", "low", "high", "null stability", "silhouette", "null silhouette", "null sd", "effect", "null", "p"),
    frames.THREE,
)
_TINY = 0.01
"""Effects below it, in nats, are shown with an exponent."""
_FEW = 12
"""Clusters whose effects are shown unfolded."""


def render(ctx: PageContext) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        heading("Clusters", "neurons that are active, write or respond alike")
        copy_link(ctx)
    if "clusters" not in CORPUS_ANALYSIS_FOLDER.finished(ctx.run_dir):
        empty("The neurons of this run have not been clustered yet.", corpus_command(ctx.run_dir, "clusters"))
        return
    try:
        _render(ctx)
    except (ProjectError, OSError) as e:
        show_error(e)


def _render(ctx: PageContext) -> None:
    record = stage_record(ctx, CORPUS_ANALYSIS_FOLDER, "clusters")
    late = CORPUS_ANALYSIS_FOLDER.outdated(ctx.run_dir, record)
    show_lines("Made before these changed. Run the analysis again.", late)
    show_lines("The stage warned:", record.warnings)
    clusterings = corpus_table(ctx, corpus.CLUSTERINGS)
    names = [str(n) for n in clusterings["clustering"].fillna("")]
    if not names:
        st.caption("There is no clustering.")
        return
    table(frames.clusterings_frame(clusterings), "clusterings", help=frames.CLUSTERINGS_HELP, formats=_FORMATS,
          on_row=lambda i: ctx.open_cluster(names[i]))  # fmt: skip
    chosen = _chosen(ctx, names)
    rows = corpus_table(ctx, corpus.CLUSTERS)
    rows = rows[rows["clustering"] == chosen]
    rows = rows.sort_values("stability", ascending=False, kind="stable", na_position="last").reset_index(drop=True)
    st.markdown("#### Clusters")
    small(f"of {brief(chosen)}, the most stable first")
    if not len(rows):
        st.caption("This clustering has no cluster.")
        return
    numbers = [int(c) for c in rows["cluster"]]
    cluster = _cluster(ctx, chosen, numbers)
    _clusters(ctx, chosen, rows, numbers)
    own = rows[rows["cluster"] == cluster].iloc[0]
    name = visible(str(own["name"] or ""))
    st.markdown("#### One cluster")
    small(f"Cluster {cluster}{f': {name}' if name else ''}")
    cluster_panel(ctx, chosen, cluster)


def _chosen(ctx: PageContext, names: list[str]) -> str:
    """The clustering to show; a message if the address names another one."""
    wanted = ctx.selection.clustering
    if wanted and wanted not in names:
        show_lines("There is no such clustering; the first is shown.", [wanted])
    return wanted if wanted in names else names[0]


def _cluster(ctx: PageContext, clustering: str, numbers: list[int]) -> int:
    """The cluster to show: the one that is selected, else that of the selected neuron, else the first."""
    wanted = ctx.selection.cluster if ctx.selection.clustering in ("", clustering) else None
    if wanted is not None and wanted not in numbers:
        show_lines("There is no such cluster.", [str(wanted)])
        wanted = None
    if wanted is None:
        members = corpus_table(ctx, corpus.CLUSTER_NEURONS)
        own = members[(members["clustering"] == clustering) & (members["layer"] == ctx.at.layer)
                      & (members["neuron"] == ctx.at.neuron)]  # fmt: skip
        wanted = int(own["cluster"].iloc[0]) if len(own) else None
    return wanted if wanted in numbers else numbers[0]


def _clusters(ctx: PageContext, clustering: str, rows: pd.DataFrame, numbers: list[int]) -> None:
    tiny = (rows["effect"].abs().max() or 0.0) < _TINY
    formats = {**_FORMATS, **dict.fromkeys(("effect", "low", "high", "null", "null sd"), "%.1e")} if tiny else _FORMATS
    table(frames.clusters_frame(rows), "clusters", help=frames.CLUSTERS_HELP, formats=formats, at_most=360,
          on_row=lambda i: ctx.open_cluster(clustering, numbers[i]))  # fmt: skip
    with st.popover("Export"):
        downloads(rows, "clusters", "clusters_export")
    n_measured = int(rows["effect"].notna().sum())
    if not n_measured:
        small("The effect of ablating the clusters was not measured.")
        return
    with st.expander("Effects of the clusters beside those of random neurons", expanded=n_measured <= _FEW):
        chart(ctx, figures.effects(rows), "cluster_effects")
        if n_measured > figures.MOST:
            small(f"The {figures.MOST} with the largest effect; the table has {n_measured - figures.MOST:,} more.")
