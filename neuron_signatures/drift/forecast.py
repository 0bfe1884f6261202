"""What a comparison takes, before it starts: operations, memory, and the time of these on this machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from neuron_signatures.drift.matches import MOST_DRAWS
from neuron_signatures.drift.request import CompareRequest
from neuron_signatures.runs.files import human_bytes, human_seconds

_SIZE: Final = 512
_PER_VALUE: Final = 60
"""Bytes read and written per value of a matrix or an activation, over all passes."""


@dataclass(frozen=True)
class Forecast:
    n_runs: int
    n_pairs: int
    n_tokens: int
    """At most; repeated beginnings of prompts count once, and are known only when the runs are read."""
    n_layers: int
    d_mlp: int
    operations: float
    seconds: float
    memory_bytes: int

    def line(self) -> str:
        return (
            f"compare  {self.n_runs} runs in {self.n_pairs} pairs, at most {self.n_tokens:,} tokens, "
            f"{self.n_layers} layers of {self.d_mlp:,} neurons: {self.operations:.1e} operations, about "
            f"{human_seconds(self.seconds)}, {human_bytes(self.memory_bytes)} of memory"
        )

    def record(self) -> dict[str, Any]:
        return asdict(self)


def forecast(request: CompareRequest, *, n_tokens: int, n_layers: int, d_mlp: int) -> Forecast:
    """Times a product of small matrices and a pass over memory. Loading models and dumping are not included."""
    drawn, n_runs = request.drawn, len(request.runs)
    to_reference, next_to = n_runs - 1, max(0, n_runs - 2)
    tokens, cka = min(n_tokens, drawn.max_tokens), min(n_tokens, drawn.cka_tokens, drawn.max_tokens)
    products = 1 + (min(drawn.n_draws, MOST_DRAWS) if request.matches else 0)
    correlations = 2.0 * tokens * d_mlp**2 * (to_reference * products + next_to)
    grams = (to_reference + next_to) * 4.0 * cka**2 * d_mlp
    passes = (to_reference + next_to) * (6.0 * tokens * d_mlp + drawn.n_draws * (2.0 * cka**2 + 4.0 * d_mlp))
    assigned = (to_reference if request.matches else 0) * 20.0 * d_mlp**2.5
    operations = n_layers * (correlations + grams + passes + assigned)
    products_per_second, bytes_per_second = _speed()
    seconds = n_layers * (
        (correlations + 2 * grams) / products_per_second + (_PER_VALUE * passes + 8 * assigned) / bytes_per_second
    )
    memory = 4 * tokens * d_mlp * 6 + (8 * d_mlp**2 if request.matches else 4 * d_mlp**2) + 8 * cka**2 * 10
    return Forecast(
        n_runs, to_reference + next_to, tokens, n_layers, d_mlp, operations, round(seconds, 1), memory
    )  # fmt: skip


def _speed() -> tuple[float, float]:
    """Operations per second of a float32 product, and bytes per second of a copy."""
    x = np.ones((_SIZE, _SIZE), np.float32)
    started = time.perf_counter()
    for _ in range(4):
        x @ x
    product = 4 * 2.0 * _SIZE**3 / (time.perf_counter() - started)
    values = np.ones(1 << 22)
    started = time.perf_counter()
    values.copy()
    return product, 2.0 * values.nbytes / (time.perf_counter() - started)
