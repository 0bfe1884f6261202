"""The Query view on the whole corpus: the neurons and clusters of an n-gram, the n-grams of a neuron or a cluster, and
contrasts of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from neuron_signatures.dashboard.clusters.cluster_panel import cluster_ngrams
from neuron_signatures.dashboard.data import cached_ngrams
from neuron_signatures.dashboard.data.cached_stage import contrast_table, corpus_table, stage_record
from neuron_signatures.dashboard.query import corpus_frames as frames
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty, facts, show_error, show_lines, small, table
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.corpus_analysis import folder as corpus
from neuron_signatures.runs.corpus_analysis.folder import CONTRAST, CORPUS_ANALYSIS_FOLDER, contrast_folder
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import POLES
from neuron_signatures.runs.stage_summaries import list_contrasts
from neuron_signatures.runs.tokens import brief, escape, visible
from neuron_signatures.views.at_large.commands import corpus_command
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pandas as pd

_TEXT, _NGRAM, _CONTRAST = "ui_corpus_query_text", "ui_corpus_query_ngram", "ui_corpus_query_contrast"
_CLUSTERING, _CLUSTER = "ui_corpus_query_clustering", "ui_corpus_query_cluster"
_WIDE = {"n-gram": 140}
_EFFECTS = {"effect": "%+.2f", "held out": "%+.2f", "mean": "%.3g"}


def ask_corpus(ctx: PageContext) -> None:
    """One question at a time; errors are shown in place of the answer."""
    kind = st.radio("Question about the corpus", list(_ASK), key="ui_corpus_query_kind", horizontal=True,
                    label_visibility="collapsed")  # fmt: skip
    try:
        _ASK[kind](ctx)
    except (ProjectError, OSError) as e:
        show_error(e)


def _has_ngrams(ctx: PageContext) -> bool:
    if "ngrams" not in CORPUS_ANALYSIS_FOLDER.finished(ctx.run_dir):
        empty("The n-grams of the corpus have not been counted yet.", corpus_command(ctx.run_dir, "ngrams"))
        return False
    record = stage_record(ctx, CORPUS_ANALYSIS_FOLDER, "ngrams")
    show_lines("Made before these changed. Run the analysis again.",
               CORPUS_ANALYSIS_FOLDER.outdated(ctx.run_dir, record))  # fmt: skip
    return True


def _of_ngram(ctx: PageContext) -> None:
    if not _has_ngrams(ctx):
        return
    known = corpus_table(ctx, corpus.NGRAMS)
    typed = st.text_input("N-gram of up to three tokens", key=_TEXT, placeholder="part of it, such as: of the")
    found = frames.matching(known, typed)
    if not len(found):
        st.caption("No n-gram that is frequent enough has this text.")
        return
    numbers = [int(n) for n in found["ngram"]]
    if st.session_state.get(_NGRAM) not in numbers:
        st.session_state[_NGRAM] = numbers[0]
    left, middle, right = st.columns([5, 5, 4], gap="medium")
    with left:
        small(f"{count_of(len(known), 'n-gram')}, {len(found):,} shown, the best match and the most frequent first")
        table(frames.found_frame(found), "corpus_ngrams", help=frames.NGRAM_HELP, widths=_WIDE, at_most=430,
              on_row=lambda i: st.session_state.update({_NGRAM: numbers[i]}))  # fmt: skip
    own = found[found["ngram"] == st.session_state[_NGRAM]].iloc[0]
    with middle:
        _neurons(ctx, own)
    with right:
        _clusters(ctx, int(own["ngram"]))


def _neurons(ctx: PageContext, own: pd.Series) -> None:
    small(f"Neurons of '{visible(str(own['text'] or ''))}', {count_of(int(own['count']), 'position')}")
    rows = cached_ngrams.neurons_of(ctx, int(own["ngram"]))
    at = [NeuronAt(r.layer, r.neuron) for r in rows]
    if rows:
        table(frames.neurons_frame(rows), "corpus_ngram_neurons", help=frames.EFFECT_HELP, formats=_EFFECTS,
              at_most=430, on_row=lambda i: ctx.open_stored(at[i]))  # fmt: skip
    else:
        st.caption("No neuron stands out.")


def _clusters(ctx: PageContext, ngram: int) -> None:
    small("Clusters that have it among their first")
    rows = cached_ngrams.clusters_of(ctx, ngram)
    if not rows:
        st.caption("None.")
        return
    shown = frames.clusters_frame(rows, _cluster_names(ctx))
    table(shown, "corpus_ngram_clusters", help={"cluster": "Click to open it."}, formats=_EFFECTS, at_most=430,
          on_row=lambda i: ctx.open_cluster(rows[i].clustering, rows[i].cluster))  # fmt: skip


def _cluster_names(ctx: PageContext) -> dict[tuple[str, int], str]:
    """Empty if the clusters are not there any more."""
    if "clusters" not in CORPUS_ANALYSIS_FOLDER.finished(ctx.run_dir):
        return {}
    rows = corpus_table(ctx, corpus.CLUSTERS)
    keys = zip(rows["clustering"].fillna(""), rows["cluster"], strict=True)
    return {(str(k), int(c)): str(n) for (k, c), n in zip(keys, rows["name"].fillna(""), strict=True)}


def _of_neuron(ctx: PageContext) -> None:
    if not _has_ngrams(ctx):
        return
    small(f"The n-grams at which {ctx.at.label}, the selected neuron, is farthest from its mean.")
    for pole, column in zip(POLES, st.columns(2, gap="medium"), strict=True):
        rows = cached_ngrams.ngrams_of_neuron(ctx, ctx.at, pole)
        with column:
            st.markdown(f"##### At {pole}")
            if rows:
                table(frames.ngrams_frame(rows), f"corpus_neuron_ngrams_{pole}", help=frames.EFFECT_HELP,
                      formats=_EFFECTS, at_most=430)  # fmt: skip
            else:
                st.caption("None stands out.")


def _of_cluster(ctx: PageContext) -> None:
    if not _has_ngrams(ctx):
        return
    rows = corpus_table(ctx, corpus.CLUSTER_NGRAMS)
    clusterings = sorted(set(rows["clustering"].dropna()))
    if not clusterings:
        st.caption("The n-grams were made without clusters.")
        return
    names = _cluster_names(ctx)
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_corpus_query"):
        clustering = st.selectbox("Clustering", clusterings, key=_CLUSTERING, format_func=escape)
        numbers = sorted(set(rows[rows["clustering"] == clustering]["cluster"].tolist()))
        if st.session_state.get(_CLUSTER) not in numbers:
            st.session_state[_CLUSTER] = numbers[0]
        labels = {c: f"{c} {visible(names.get((clustering, c), ''))}".strip() for c in numbers}
        cluster = st.selectbox("Cluster", numbers, key=_CLUSTER, format_func=labels.__getitem__)
        st.button("Open", key="corpus_query_cluster", on_click=lambda: ctx.open_cluster(clustering, int(cluster)))
    cluster_ngrams(ctx, clustering, int(cluster))


def _contrasts(ctx: PageContext) -> None:
    names = list_contrasts(ctx.run_dir)
    if not names:
        sides = ("--a", "token: is", "--b", "token: of")
        empty("No positions of the corpus have been contrasted yet.", corpus_command(ctx.run_dir, CONTRAST, *sides))
        return
    name = st.selectbox("Contrast", names, key=_CONTRAST, format_func=escape)
    record = stage_record(ctx, contrast_folder(name), CONTRAST)
    show_lines("Made before these changed. Run the analysis again.",
               contrast_folder(name).outdated(ctx.run_dir, record))  # fmt: skip
    show_lines("The stage warned:", record.warnings)
    facts([(k, brief(v)) for k, v in frames.contrast_facts(record.settings, record.facts)])
    rows = contrast_table(ctx, name)
    first = rows.sort_values("rank").head(frames.MOST)
    at = [NeuronAt(int(a), int(b)) for a, b in zip(first["layer"], first["neuron"], strict=True)]
    table(frames.contrast_frame(first), "corpus_contrast", help=frames.CONTRAST_HELP, at_most=460,
          formats=frames.CONTRAST_FORMATS, on_row=lambda i: ctx.open_stored(at[i]))  # fmt: skip
    significant = int((rows["q"] <= 0.05).sum())
    small(f"{len(first):,} of {count_of(len(rows), 'neuron')}; {significant:,} have q <= 0.05.")


_ASK: dict[str, Callable[[PageContext], None]] = {
    "Neurons and clusters of an n-gram": _of_ngram, "N-grams of the selected neuron": _of_neuron,
    "N-grams of a cluster": _of_cluster, "Contrasts": _contrasts,
}  # fmt: skip
