"""One cluster: the tokens at which its members are active together, its members, and its n-grams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.clusters import frames
from neuron_signatures.dashboard.data.cached_ngrams import ngrams_of_cluster
from neuron_signatures.dashboard.data.cached_stage import corpus_table, stage_record
from neuron_signatures.dashboard.query.corpus_frames import EFFECT_HELP, ngrams_frame
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty, show_error, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.corpus_analysis import folder as corpus
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.stage_results import record_name
from neuron_signatures.views.at_large.commands import corpus_command
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd

MOST_MEMBERS = 1000
CLUSTERS_RECORD = f"{CORPUS_ANALYSIS_FOLDER.folder}/{record_name('clusters')}"


def cluster_panel(ctx: PageContext, clustering: str, cluster: int) -> None:
    left, middle, right = st.columns(3, gap="medium")
    with left:
        st.markdown("##### Tokens", help="The tokens at which the members are active together.")
        _tokens(ctx, clustering, cluster)
    with middle:
        st.markdown("##### Members", help="Nearest to the centre first.")
        _members(ctx, clustering, cluster)
    with right:
        st.markdown("##### N-grams", help="Of the corpus, by the mean effect over the members.")
        cluster_ngrams(ctx, clustering, cluster)


def _tokens(ctx: PageContext, clustering: str, cluster: int) -> None:
    rows = of_cluster(corpus_table(ctx, corpus.CLUSTER_TOKENS), clustering, cluster).sort_values("rank")
    if len(rows):
        table(frames.tokens_frame(rows), "cluster_tokens", help=frames.TOKENS_HELP, formats={"score": frames.THREE},
              at_most=360)  # fmt: skip
    else:
        st.caption("No token stands out.")


def _members(ctx: PageContext, clustering: str, cluster: int) -> None:
    rows = of_cluster(corpus_table(ctx, corpus.CLUSTER_NEURONS), clustering, cluster)
    rows = rows.sort_values("distance", kind="stable", na_position="last").head(MOST_MEMBERS)
    at = [NeuronAt(int(a), int(b)) for a, b in zip(rows["layer"], rows["neuron"], strict=True)]
    table(frames.members_frame(rows), "cluster_members", help={"neuron": "Click to open it."}, at_most=360,
          formats={"distance": frames.THREE}, on_row=lambda i: ctx.open_stored(at[i]))  # fmt: skip
    small(count_of(len(rows), "neuron"))


def cluster_ngrams(ctx: PageContext, clustering: str, cluster: int) -> None:
    """The n-grams of a cluster, or that there are none."""
    if "ngrams" not in CORPUS_ANALYSIS_FOLDER.finished(ctx.run_dir):
        st.caption("The n-grams of the corpus were not counted (mode ngrams).")
        return
    try:
        record = stage_record(ctx, CORPUS_ANALYSIS_FOLDER, "ngrams")
        changed = CLUSTERS_RECORD in CORPUS_ANALYSIS_FOLDER.outdated(ctx.run_dir, record)
        rows = [] if changed else ngrams_of_cluster(ctx, clustering, cluster)
    except (ProjectError, OSError) as e:
        show_error(e)
        return
    if rows:
        table(ngrams_frame(rows), "cluster_ngrams", help=EFFECT_HELP, at_most=360,
              formats={"effect": "%+.2f", "held out": "%+.2f"})  # fmt: skip
    elif changed or CLUSTERS_RECORD not in record.sources:
        empty("The n-grams were made before these clusters.", corpus_command(ctx.run_dir, "ngrams"))
    else:
        st.caption("No n-gram stands out.")


def of_cluster(rows: pd.DataFrame, clustering: str, cluster: int) -> pd.DataFrame:
    return rows[(rows["clustering"] == clustering) & (rows["cluster"] == cluster)]
