"""What `similar` takes, before it is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np

from neuron_signatures.corpus_analysis.activations import source_bytes
from neuron_signatures.corpus_analysis.choice import choose
from neuron_signatures.corpus_analysis.passes import choose_windows
from neuron_signatures.corpus_analysis.similar.correlate import CROSS_BYTES
from neuron_signatures.corpus_analysis.similar.request import SimilarRequest
from neuron_signatures.corpus_analysis.speed import matmul_speed, model_seconds
from neuron_signatures.runs.files import human_bytes, human_seconds
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run


@dataclass(frozen=True)
class SimilarForecast:
    """Numbers of neurons, tokens and readings of them; operations, time and memory of the correlations."""

    n_neurons: int
    n_candidates: int
    n_tokens: int
    n_readings: int
    """Of all tokens. Only the first runs the model if the activations are kept in memory."""
    cached: bool
    operations: float
    seconds: float | None
    """None if the records do not say how fast the model runs."""
    memory_bytes: int

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        took = "unknown time" if self.seconds is None else f"about {human_seconds(self.seconds)}"
        runs = 1 if self.cached else self.n_readings
        return [
            f"forecast: {self.n_neurons:,} neurons with {self.n_candidates:,} others on {self.n_tokens:,} tokens",
            f"the model runs {runs} times over the tokens, {self.operations:.1e} operations: {took}, "
            f"{human_bytes(self.memory_bytes)} of memory besides the model",
        ]


def forecast(request: SimilarRequest) -> SimilarForecast:
    """The forecast of a command, with a short measurement of this machine."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        choice = choose(run, records, request.choice)
        n_chosen, n_all = len(choice.chosen), len(choice.recorded)
        corpus = records.corpus
        tokens = 0
        if "activation" in request.kinds:
            windows = choose_windows(corpus, (PARTS[0],), n_tokens=request.sample_tokens, seed=request.seed)
            tokens = int(corpus.window_length[windows].sum())
        if request.candidates == "sampled":
            n_all = len([at for at in choice.recorded.tolist() if records.sampled(*at)])
        n_null = min(n_chosen, request.null_neurons) * request.n_draws
        size = source_bytes(n_all, tokens, request.overrides.dtype or records.meta.model_dtype)
        cached = request.candidates == "sampled" or size <= request.cache_bytes
        per_part = max(1, CROSS_BYTES // (8 * n_all))
        readings = 2 + ceil(n_chosen / per_part) + ceil(n_null / per_part) if tokens else 0
        operations = 2.0 * tokens * n_all * (n_chosen + n_null)
        runs = 0 if request.candidates == "sampled" else 1 if cached else readings
        model = model_seconds(records, tokens * runs)
    seconds = None if model is None else model + operations / matmul_speed()
    columns = min(per_part, max(n_chosen, n_null))
    memory = int(np.sum([size if cached else 0, 9 * columns * n_all, 4 * tokens * min(n_chosen, request.null_neurons)]))
    return SimilarForecast(n_chosen, n_all, tokens, readings, cached, operations, seconds, memory)
