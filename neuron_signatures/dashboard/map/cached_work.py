"""Cached computations of the Map view, keyed by files and settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

from neuron_signatures.dashboard.data.neuron_stats import NeuronStats, TableStats, peaks_by_reading, stats_from_table
from neuron_signatures.dashboard.data.result_cache import cached, cached_large, progress_bar
from neuron_signatures.dashboard.data.run_tokens import TokenIndex, index_tokens
from neuron_signatures.dashboard.data.sample import Sample, draw_sample, record_of
from neuron_signatures.dashboard.map.clusters import (
    Clustering,
    Settings,
    Silhouette,
    Swept,
    TopToken,
    cluster,
    reduce_shuffled,
    silhouette,
    sweep,
    sweep_ks,
    top_tokens,
)
from neuron_signatures.dashboard.map.projection import ROWS, Reduced, Rows, largest_perplexity, pca, prepare, tsne
from neuron_signatures.dashboard.shell.page_context import PageContext

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32


class SampleSettings(NamedTuple):
    include_bos: bool
    max_neurons: int
    max_tokens: int
    rows: Rows
    seed: int


@dataclass(frozen=True)
class Grouped:
    """A clustering with its silhouette, and that of the shuffled sample under the same settings."""

    clustering: Clustering
    data: Silhouette
    shuffled: Silhouette


def index_of(ctx: PageContext, *, include_bos: bool) -> TokenIndex:
    return cached(lambda: index_tokens(ctx.run, include_bos=include_bos), "index", ctx.data_key, include_bos)


def table_of(ctx: PageContext, *, include_bos: bool) -> TableStats:
    """Statistics from the peaks stage, or the reason why they cannot be used."""
    key = ("table", ctx.data_key, ctx.results_key, include_bos)
    return cached(lambda: stats_from_table(ctx.run, include_bos=include_bos), *key)


def peaks_of(ctx: PageContext, *, include_bos: bool) -> NeuronStats:
    """Peaks from a pass over all activations."""

    def make() -> NeuronStats:
        with progress_bar("Reading all activations for the peaks of the neurons") as progress:
            return peaks_by_reading(ctx.run, include_bos=include_bos, progress=progress)

    return cached(make, "peaks", ctx.data_key, include_bos)


def sample_of(ctx: PageContext, s: SampleSettings, stats: NeuronStats) -> Sample:
    def make() -> Sample:
        index = index_of(ctx, include_bos=s.include_bos)
        with progress_bar("Reading the sampled tokens") as progress:
            return draw_sample(
                ctx.run, index, stats, max_neurons=s.max_neurons, max_tokens=s.max_tokens, seed=s.seed,
                progress=progress,
            )  # fmt: skip

    return cached_large(make, "sample", ctx.data_key, stats.source, s.include_bos, s.max_neurons, s.max_tokens, s.seed)


def reduced_of(ctx: PageContext, s: SampleSettings, sample: Sample) -> Reduced:
    def make() -> Reduced:
        with st.spinner("PCA", show_time=True):
            return pca(prepare(sample.acts, s.rows), s.rows, seed=s.seed)

    return cached(make, "pca", *_key(ctx, s, sample))


def tsne_of(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, perplexity: int
) -> Float32[np.ndarray, "neuron 2"]:
    """t-SNE coordinates; `perplexity` is reduced to the largest that the number of neurons allows."""

    def make() -> Float32[np.ndarray, "neuron 2"]:
        with st.spinner(f"t-SNE of {len(sample.at):,} neurons", show_time=True):
            return tsne(reduced, perplexity=perplexity, seed=s.seed)

    perplexity = min(perplexity, largest_perplexity(len(sample.at)))
    return cached(make, "tsne", perplexity, *_key(ctx, s, sample))


def grouped_of(ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, how: Settings) -> Grouped:
    def make() -> Grouped:
        with st.spinner(f"{how.method} of the activations and of shuffled activations", show_time=True):
            shuffled = shuffled_of(ctx, s, sample, reduced)
            found = cluster(reduced, how)
            null = cluster(shuffled, how)
            return Grouped(
                found, silhouette(reduced, found.labels, seed=s.seed), silhouette(shuffled, null.labels, seed=s.seed)
            )

    return cached(make, "clusters", *how, *_key(ctx, s, sample))


def swept_of(ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced) -> list[Swept]:
    def make() -> list[Swept]:
        shuffled = shuffled_of(ctx, s, sample, reduced)
        with progress_bar("Comparing numbers of clusters") as progress:
            return sweep(reduced, shuffled, sweep_ks(reduced.n_points), seed=s.seed, progress=progress)

    return cached(make, "sweep", *_key(ctx, s, sample))


def top_tokens_of(
    ctx: PageContext, s: SampleSettings, sample: Sample, clustering: Clustering, per_cluster: int
) -> list[TopToken]:
    def make() -> list[TopToken]:
        return top_tokens(sample, clustering.labels, per_cluster=per_cluster)

    return cached(make, "top", per_cluster, *clustering.settings, *_key(ctx, s, sample))


def shuffled_of(ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced) -> Reduced:
    return cached(lambda: reduce_shuffled(sample, reduced, seed=s.seed), "shuffled", *_key(ctx, s, sample))


def map_record(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, *, projection: str,
    perplexity: int | None, grouped: Grouped | None,
) -> dict[str, Any]:  # fmt: skip
    """The settings and results behind the figure, for an export."""
    m = ctx.run.manifest
    found = None if grouped is None else grouped.clustering
    return record_of(
        sample.record, run=ctx.run_dir.name, run_created_at_utc=m.created_at_utc, model=m.model_name,
        rows=ROWS[s.rows], projection=projection, pca_components=reduced.coords.shape[1],
        pca_variance_held=reduced.held, pca_explained=reduced.explained, pca_solver=reduced.solver,
        tsne_perplexity=perplexity,
        clusters=None if found is None or grouped is None else {
            "space": "the PCA components", **found.settings._asdict(), "note": found.note,
            "n_clusters": found.n_clusters, "n_noise": found.n_noise, "silhouette": grouped.data._asdict(),
            "silhouette_shuffled": grouped.shuffled._asdict(),
        },
    )  # fmt: skip


def _key(ctx: PageContext, s: SampleSettings, sample: Sample) -> tuple[Any, ...]:
    return (ctx.data_key, sample.record.neurons_by, *s)
