"""What a comparison takes, before it starts: operations, time and memory."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from neuron_signatures.drift.matches import MOST_DRAWS
from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.runs.files import human_bytes, human_seconds

_SIZE: Final = 512
# Seconds on one core of 2023: per activation and pair for the measures of single neurons, per entry of a matrix for one
# permutation of its tokens, and per (number of neurons)^2.5 for a one-to-one assignment.
_PER_ACTIVATION: Final = 2e-7
_PER_ENTRY: Final = 6e-9
_PER_ASSIGNMENT: Final = 1.5e-9


@dataclass(frozen=True)
class Forecast:
    n_runs: int
    n_pairs: int
    n_tokens: int
    """At most; repeated beginnings of prompts count once, and are known only when the runs are read."""
    n_layers: int
    d_mlp: int
    operations: float
    """Of the products of matrices."""
    seconds: float
    memory_bytes: int

    def line(self) -> str:
        return (
            f"compare  {self.n_runs} runs in {self.n_pairs} pairs, at most {self.n_tokens:,} tokens, "
            f"{self.n_layers} layers of {self.d_mlp:,} neurons: {self.operations:.1e} operations, about "
            f"{human_seconds(self.seconds)} and {human_bytes(self.memory_bytes)}, without the models"
        )

    def record(self) -> dict[str, Any]:
        return asdict(self)


def forecast(request: CompareRequest, *, n_tokens: int, n_layers: int, d_mlp: int) -> Forecast:
    """Times a product of small matrices. Dumping and loading models are not included."""
    drawn, with_reference = request.drawn, len(request.runs) - 1
    n_pairs = with_reference + max(0, with_reference - 1)
    tokens, cka = min(n_tokens, drawn.max_tokens), min(n_tokens, drawn.cka_tokens, drawn.max_tokens)
    n_products = n_pairs + (with_reference * min(drawn.n_draws, MOST_DRAWS) if request.matches else 0)
    operations = n_layers * (2.0 * tokens * d_mlp**2 * n_products + 4.0 * cka**2 * d_mlp * n_pairs)
    seconds = operations / _products_per_second() + n_layers * (
        n_pairs * (_PER_ACTIVATION * tokens * d_mlp + _PER_ENTRY * cka**2 * drawn.n_draws)
        + (with_reference * _PER_ASSIGNMENT * d_mlp**2.5 if request.matches else 0.0)
    )
    memory = 24 * tokens * d_mlp + 12 * d_mlp**2 + 80 * cka**2
    return Forecast(len(request.runs), n_pairs, tokens, n_layers, d_mlp, operations, round(seconds, 1), memory)


def _products_per_second() -> float:
    """Operations per second of a product in float32, the best of a few."""
    x = np.ones((_SIZE, _SIZE), np.float32)
    out, best = np.empty_like(x), np.inf
    for _ in range(5):
        started = time.perf_counter()
        np.matmul(x, x, out=out)
        best = min(best, time.perf_counter() - started)
    return 2.0 * _SIZE**3 / best
