"""How much work the statistics and the neighbours are: operations, time and memory, measured on one block."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from neuron_signatures.runs.files import human_bytes, human_seconds
from neuron_signatures.runs.weights.folder import Weight
from neuron_signatures.weights.model_weights import ModelWeights
from neuron_signatures.weights.neighbours import Search, compare, default_tile
from neuron_signatures.weights.panels import PANEL_BYTES
from neuron_signatures.weights.readout import TOKENS, make_readout
from neuron_signatures.weights.statistics import logit_moments

_NEURONS: Final = 512
_ROUNDS: Final = 3


@dataclass(frozen=True)
class Forecast:
    """Times are those of a block or a tile, scaled. `work_bytes` come on top of the weights."""

    n_neurons: int
    n_random: int
    vocab: int
    d_model: int
    kinds: tuple[Weight, ...]
    statistics_seconds: float
    neighbour_seconds: float
    weights_bytes: int
    work_bytes: int
    device: str

    @property
    def statistics_operations(self) -> float:
        """Multiplications and additions: scores, and the second moments of the unembedding."""
        return 2.0 * self.vocab * self.d_model * (self.n_neurons + self.n_random + self.d_model)

    @property
    def neighbour_operations(self) -> float:
        return float(len(self.kinds)) * self.n_neurons**2 * self.d_model

    def line(self) -> str:
        neighbours = (
            f"; neighbours by {', '.join(self.kinds)}: {_power(self.neighbour_operations)} operations, about "
            f"{human_seconds(self.neighbour_seconds)}"
            if self.kinds
            else ""
        )
        return (
            f"forecast: {self.n_neurons:,} neurons, {self.vocab:,} tokens: {_power(self.statistics_operations)} "
            f"operations, about {human_seconds(self.statistics_seconds)}{neighbours}; on {self.device}; "
            f"{human_bytes(self.weights_bytes)} of weights and {human_bytes(self.work_bytes)} for blocks"
        )

    def fields(self) -> dict[str, Any]:
        operations = {
            "statistics_operations": self.statistics_operations, "neighbour_operations": self.neighbour_operations,
        }  # fmt: skip
        return {**asdict(self), "kinds": list(self.kinds), **operations}


def forecast(
    weights: ModelWeights, *, n_layers: int, n_random: int, kinds: tuple[Weight, ...], top: int, weights_bytes: int
) -> Forecast:
    """Measures the time of one block of scores and one tile of cosines."""
    n, vocab = n_layers * weights.shape.d_mlp, len(weights.writes.head.weight)
    some = weights.writes.head.weight[:TOKENS]
    readout = make_readout(some, weights.writes.final, None)
    generator = torch.Generator().manual_seed(0)
    units = torch.randn(_NEURONS, weights.d_model, generator=generator).to(weights.device)
    units /= torch.linalg.vector_norm(units, dim=1, keepdim=True)
    scores = _best_time(lambda: logit_moments(units, readout).cpu()) / (_NEURONS * len(some))
    gram = _best_time(lambda: make_readout(some, weights.writes.final, None)) / len(some)
    per_panel = max(PANEL_BYTES, 4 * weights.shape.d_mlp * weights.d_model)
    return Forecast(
        n_neurons=n, n_random=n_random, vocab=vocab, d_model=weights.d_model, kinds=kinds,
        statistics_seconds=vocab * ((n + n_random) * scores + gram),
        neighbour_seconds=len(kinds) * _seconds_per_cosine(weights, top) * n * n / 2 if kinds else 0.0,
        weights_bytes=weights_bytes,
        work_bytes=2 * per_panel + 8 * 4 * weights.d_model**2 + n * (2 * top * 3 * 4 + 12 * 8),
        device=str(weights.device),
    )  # fmt: skip


def _seconds_per_cosine(weights: ModelWeights, top: int) -> float:
    tile = default_tile(weights.device)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(tile.rows + tile.columns, weights.d_model, generator=generator).to(weights.device)
    rows /= torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    found = Search(len(rows), top, weights.device)

    def one_tile() -> None:
        compare(rows[: tile.rows], rows[tile.rows :], 0, tile.rows, found, tile, lambda _: None)
        found.ids[:1].cpu()  # waits for the device

    return _best_time(one_tile) / (tile.rows * tile.columns)


def _best_time(run: Callable[[], object]) -> float:
    """The first run also prepares kernels."""
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _power(operations: float) -> str:
    exponent = math.floor(math.log10(max(operations, 1.0)))
    return f"{operations / 10**exponent:.1f}e{exponent}"
