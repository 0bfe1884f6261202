"""What `clusters` takes, before it is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neuron_signatures.corpus_analysis.choice import choose
from neuron_signatures.corpus_analysis.clusters.basis import WIDTH
from neuron_signatures.corpus_analysis.clusters.grouping import SHORT_LIST
from neuron_signatures.corpus_analysis.clusters.request import ClustersRequest
from neuron_signatures.corpus_analysis.clusters.stage import check, needs_model
from neuron_signatures.corpus_analysis.passes import choose_windows
from neuron_signatures.corpus_analysis.speed import matmul_speed, model_seconds
from neuron_signatures.runs.files import human_bytes, human_seconds
from neuron_signatures.runs.records.names import PARTS, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

_STEPS = 30
"""Iterations of k-means that are expected."""


@dataclass(frozen=True)
class ClustersForecast:
    """Neurons, tokens that the model runs, those of the effects among them, draws, operations, time and memory."""

    n_neurons: int
    model_tokens: int
    effect_tokens: int
    """An upper bound: every cluster in all of its windows."""
    n_clusters: int
    n_draws: int
    operations: float
    seconds: float | None
    """None if the records do not say how fast the model runs."""
    memory_bytes: int

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        took = "unknown time" if self.seconds is None else f"about {human_seconds(self.seconds)}"
        return [
            f"forecast: {self.n_neurons:,} neurons, up to {self.n_clusters} clusters, {self.n_draws} more clusterings",
            f"the model runs {self.model_tokens:,} tokens, {self.effect_tokens:,} of them for effects: {took}, "
            f"{human_bytes(self.memory_bytes)} of memory besides the model",
        ]


def forecast(request: ClustersRequest) -> ClustersForecast:
    """The forecast of a command, with a short measurement of this machine. Raises as the command."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        choice = choose(run, records, request.choice)
        check(request, run, records, choice)
        n, grouping = len(choice.chosen), request.grouping
        sizes = grouping.n_clusters or SHORT_LIST
        n_kmeans = (sum(sizes) if grouping.n_clusters else max(sizes)) if "kmeans" in grouping.methods else 0
        n_hdbscan = n // grouping.min_cluster_size if "hdbscan" in grouping.methods else 0
        n_clusters = len(grouping.bases) * (n_kmeans + n_hdbscan)
        described = _tokens(request, records, PARTS[0])
        model_tokens = described if needs_model(request, records, choice) else 0
        effect_tokens = 0
        if request.effect is not None:
            window = int(records.corpus.window_length.mean())
            per_window = window + (1 + request.effect.n_random) * request.effect.span
            effect_tokens = n_clusters * request.effect.n_windows * per_window
            model_tokens += _tokens(request, records, PARTS[1]) + effect_tokens
        draws = request.checks.n_bootstraps * 3 + request.checks.n_shuffles
        n_draws = len(grouping.bases) * len(grouping.methods) * draws
        grouped = sum(8.0 * n * WIDTH * k * _STEPS for k in sizes) + 2.0 * n * n * WIDTH * len(grouping.methods)
        operations = n_draws * grouped + 16.0 * described * n * WIDTH * request.checks.n_bootstraps
        model = model_seconds(records, model_tokens)
    seconds = None if model is None else model + operations / (0.1 * matmul_speed())
    memory = int(np.sum([3 * 4 * described * n, 8 * min(n, 10_000) ** 2]))
    return ClustersForecast(n, model_tokens, effect_tokens, n_clusters, n_draws, operations, seconds, memory)


def _tokens(request: ClustersRequest, records: Records, part: Part) -> int:
    windows = choose_windows(records.corpus, (part,), n_tokens=request.sample_tokens, seed=request.seed)
    return int(records.corpus.window_length[windows].sum())
