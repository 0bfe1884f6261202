"""Cached computations of the Map view, keyed by files and settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from neuron_signatures.dashboard.data.neuron_stats import (
    NeuronStats,
    Progress,
    TableStats,
    peaks_by_reading,
    stats_from_table,
)
from neuron_signatures.dashboard.data.result_cache import cached, cached_with_bar
from neuron_signatures.dashboard.data.run_tokens import TokenIndex, index_tokens
from neuron_signatures.dashboard.data.sample import Sample, draw_sample
from neuron_signatures.dashboard.map import clusters
from neuron_signatures.dashboard.map.forecast import forecast, timed
from neuron_signatures.dashboard.map.projection import Reduced, Rows, largest_perplexity, pca, prepare, tsne
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

    clustering: clusters.Clustering
    data: clusters.Silhouette
    shuffled: clusters.Silhouette


def index_of(ctx: PageContext, *, include_bos: bool) -> TokenIndex:
    return cached(lambda: index_tokens(ctx.run, include_bos=include_bos), "index", ctx.data_key, include_bos)


def table_of(ctx: PageContext, *, include_bos: bool) -> TableStats:
    """Statistics from the peaks stage, or the reason why they cannot be used."""
    key = ("table", ctx.data_key, ctx.results_key, include_bos)
    return cached(lambda: stats_from_table(ctx.run, include_bos=include_bos), *key)


def peaks_of(ctx: PageContext, *, include_bos: bool) -> NeuronStats:
    """Peaks from a pass over all activations."""
    return cached_with_bar(
        "Reading all activations for the peaks of the neurons",
        lambda progress: peaks_by_reading(ctx.run, include_bos=include_bos, progress=progress),
        "peaks", ctx.data_key, include_bos,
    )  # fmt: skip


def sample_of(ctx: PageContext, s: SampleSettings, stats: NeuronStats) -> Sample:
    def make(progress: Progress) -> Sample:
        index = index_of(ctx, include_bos=s.include_bos)
        return draw_sample(
            ctx.run, index, stats, max_neurons=s.max_neurons, max_tokens=s.max_tokens, seed=s.seed, progress=progress
        )

    key = ("sample", ctx.data_key, stats.source, s.include_bos, s.max_neurons, s.max_tokens, s.seed)
    return cached_with_bar("Reading the sampled tokens", make, *key, large=True)


def reduced_of(ctx: PageContext, s: SampleSettings, sample: Sample) -> Reduced:
    return cached(
        lambda: pca(prepare(sample.acts, s.rows), s.rows, seed=s.seed), "pca", *_key(ctx, s, sample), spinner="PCA"
    )


def tsne_of(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, perplexity: int
) -> Float32[np.ndarray, "neuron 2"]:
    """t-SNE coordinates; `perplexity` is reduced to the largest that the number of neurons allows."""
    n = len(sample.at)
    perplexity = min(perplexity, largest_perplexity(n))

    def make() -> Float32[np.ndarray, "neuron 2"]:
        with timed("t-SNE", n):
            return tsne(reduced, perplexity=perplexity, seed=s.seed)

    text = f"t-SNE of {n:,} neurons{forecast('t-SNE', n)}"
    return cached(make, "tsne", perplexity, *_key(ctx, s, sample), spinner=text)


def grouped_of(
    ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced, how: clusters.Settings
) -> Grouped:
    def make() -> Grouped:
        with timed(how.method, n):
            shuffled = shuffled_of(ctx, s, sample, reduced)
            found, null = clusters.cluster(reduced, how), clusters.cluster(shuffled, how)
            pairs = ((reduced, found), (shuffled, null))
            return Grouped(found, *(clusters.silhouette(x, c.labels, seed=s.seed) for x, c in pairs))

    n = len(sample.at)
    text = f"{how.method} of the activations and of shuffled activations{forecast(how.method, n)}"
    return cached(make, "clusters", *how, *_key(ctx, s, sample), spinner=text)


def swept_of(ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced) -> list[clusters.Swept]:
    def make(progress: Progress) -> list[clusters.Swept]:
        shuffled = shuffled_of(ctx, s, sample, reduced)
        with timed("sweep", n):
            ks = clusters.sweep_ks(reduced.n_points)
            return clusters.sweep(reduced, shuffled, ks, seed=s.seed, progress=progress)

    n = len(sample.at)
    return cached_with_bar(f"Comparing numbers of clusters{forecast('sweep', n)}", make, "sweep", *_key(ctx, s, sample))


def top_tokens_of(
    ctx: PageContext, s: SampleSettings, sample: Sample, clustering: clusters.Clustering, per_cluster: int
) -> list[clusters.TopToken]:
    key = ("top", per_cluster, *clustering.settings, *_key(ctx, s, sample))
    return cached(lambda: clusters.top_tokens(sample, clustering.labels, per_cluster=per_cluster), *key)


def shuffled_of(ctx: PageContext, s: SampleSettings, sample: Sample, reduced: Reduced) -> Reduced:
    return cached(lambda: clusters.reduce_shuffled(sample, reduced, seed=s.seed), "shuffled", *_key(ctx, s, sample))


def _key(ctx: PageContext, s: SampleSettings, sample: Sample) -> tuple[Any, ...]:
    return (ctx.data_key, sample.record.neurons_by, *s)
