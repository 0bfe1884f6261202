"""Map view: neurons as points, close if they are active at the same tokens; clusters and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data.cached_reads import ranked
from neuron_signatures.dashboard.data.neuron_stats import NeuronStats
from neuron_signatures.dashboard.data.sample import Sample
from neuron_signatures.dashboard.map import cached_work, figures
from neuron_signatures.dashboard.map.controls import controls
from neuron_signatures.dashboard.map.panels import clusters_panel, provenance
from neuron_signatures.dashboard.map.projection import Reduced, largest_perplexity
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import stage_2
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.ranked import RankedList

if TYPE_CHECKING:
    from jaxtyping import Int64
    from streamlit.delta_generator import DeltaGenerator

T = TypeVar("T")
_MOST_BYTES = 500_000_000
"""Activations up to this size are read without a confirmation if the peaks stage has not run."""


def render(ctx: PageContext) -> None:
    settings, how, colour_selector = controls()
    stats = _stats(ctx, settings)
    if stats is None:
        return
    if cached_work.index_of(ctx, include_bos=settings.include_bos).n_counted == 0:
        empty("This run has only first positions, which are excluded.", why="Under Settings, they can be included.")
        return
    sample = cached_work.sample_of(ctx, settings, stats)
    if len(sample.at) < 2:
        _too_few(sample)
        return
    reduced = cached_work.reduced_of(ctx, settings, sample)
    grouped = None if how is None or len(sample.at) < 3 else cached_work.grouped_of(ctx, settings, sample, reduced, how)
    perplexity = _figure(ctx, settings, sample, reduced, grouped, colour_selector)
    provenance(ctx, settings, sample, reduced, grouped, perplexity)
    if grouped is not None:
        clusters_panel(ctx, settings, sample, reduced, grouped)
    elif how is not None:
        st.caption("Clusters need at least three neurons.")


def _stats(ctx: PageContext, s: cached_work.SampleSettings) -> NeuronStats | None:
    """Peaks of the neurons; None if a long pass over the activations still needs a confirmation."""
    found = cached_work.table_of(ctx, include_bos=s.include_bos)
    if found.stats is not None:
        return found.stats
    size = ctx.run.nbytes()
    if size > _MOST_BYTES and st.session_state.get("map_read_all") != ctx.data_key:
        empty(
            "The map shows the neurons with the largest peaks, which have not been computed yet.",
            stage_2(ctx.run_dir),
            why=f"{found.why} The command stores them; the alternative is to read {size / 1e9:.1f} GB now.",
        )
        st.button("Read all activations", on_click=lambda: st.session_state.update(map_read_all=ctx.data_key))
        return None
    return cached_work.peaks_of(ctx, include_bos=s.include_bos)


def _too_few(sample: Sample) -> None:
    r = sample.record
    what = f"{'Only one' if sample.at else 'No'} neuron varies over these tokens."
    reasons = f"{count_of(r.n_constant, 'neuron')} with the same activation at every token"
    if r.n_nonfinite:
        reasons += f", {r.n_nonfinite:,} with NaN or infinite activations"
    if r.n_tokens == 1:
        reasons += "; a single token gives no pattern to compare"
    empty(f"{what} A map needs two.", why=f"{reasons}.")


def _figure(
    ctx: PageContext, s: cached_work.SampleSettings, sample: Sample, reduced: Reduced,
    grouped: cached_work.Grouped | None, colour_selector: DeltaGenerator,
) -> int | None:  # fmt: skip
    """Draw the map; returns the perplexity of t-SNE, None for PCA."""
    labels = None if grouped is None else grouped.clustering.labels
    colours = _colours(ctx, sample, labels, colour_selector)
    hover = figures.hover_texts(sample, sample.peak_tokens, labels)
    points, titles, perplexity = reduced.coords[:, :2], figures.pca_titles(reduced), None
    if st.session_state["ui_map_projection"] == "t-SNE":
        if largest_perplexity(len(sample.at)) < 1 or reduced.held is None:
            st.caption("t-SNE needs at least four distinct neurons; PCA is shown instead.")
        else:
            perplexity = min(int(st.session_state["ui_map_perplexity"]), largest_perplexity(len(sample.at)))
            points = cached_work.tsne_of(ctx, s, sample, reduced, perplexity)
            titles = ("t-SNE 1 (no unit)", "t-SNE 2 (no unit)")
    figure = figures.scatter(points, sample, colours, hover, titles, selected=ctx.at, units=perplexity is None)
    chart(ctx, figure, "map_chart", opens=View.NEURON)
    warning = "" if perplexity is None else " In t-SNE, distances between groups and their sizes are not meaningful."
    st.caption(
        f"Each point is a neuron; nearby neurons are active at the same tokens. Click a point to open it.{warning}"
    )
    return perplexity


def _colours(
    ctx: PageContext, sample: Sample, labels: Int64[np.ndarray, " neuron"] | None, where: DeltaGenerator
) -> figures.Colours:
    listed = ctx.listed
    signatures = next((r for r in ctx.lists if r.kind == "signatures" and not r.problem), None)
    options = ["layer", "peak |act|", "token at the peak"]
    options = (["cluster"] if labels is not None else []) + options
    options += ["signature class"] if signatures else []
    options += ["score in the selected list"] if listed else []
    if st.session_state.get("ui_map_colour") not in options:
        st.session_state["ui_map_colour"] = options[0]
    chosen = where.selectbox("Colour", options, key="ui_map_colour")
    if chosen == "cluster" and labels is not None:
        return figures.by_cluster(labels)
    if chosen == "layer":
        return figures.by_number("layer", np.array([at.layer for at in sample.at], float), whole=True)
    if chosen == "peak |act|":
        return figures.by_number("peak |act|", sample.peak.astype(float))
    if chosen == "signature class" and signatures:
        found = ranked(ctx.run_dir, ctx.results_key, signatures)
        coded = found.coded("class")
        classes = _of_first_row(found, [coded.texts[c] for c in coded.code])  # of the pole with the larger peak
        return figures.by_word("signature class", [classes.get(at) for at in sample.at])
    if chosen == "score in the selected list" and listed:
        found = ranked(ctx.run_dir, ctx.results_key, listed)
        scores = _of_first_row(found, found.score.tolist())
        return figures.by_number("score", np.array([scores.get(at, np.nan) for at in sample.at]), signed=True)
    return figures.by_word("token at the peak", sample.peak_tokens)


def _of_first_row(found: RankedList, values: list[T]) -> dict[NeuronAt, T]:
    """Each neuron's value in its first row."""
    at = map(NeuronAt, found.layer.tolist(), found.neuron.tolist())
    return dict(reversed([*zip(at, values, strict=True)]))
