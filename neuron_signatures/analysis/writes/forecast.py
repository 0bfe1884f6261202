"""How much work `--mode write_scores` is: operations, time and memory, before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuron_signatures.analysis.writes.scores import VOCAB_BLOCK
from neuron_signatures.runs.files import human_bytes, human_seconds


@dataclass(frozen=True)
class WritesForecast:
    """`n_neurons` are those that are left to compute; `block_seconds` is the measured time of `block` neurons and
    `VOCAB_BLOCK` tokens."""

    n_neurons: int
    vocab: int
    d_model: int
    d_mlp: int
    block: int
    block_seconds: float
    weights: int
    device: str

    @property
    def operations(self) -> float:
        """Multiplications and additions of the products."""
        return 2.0 * self.n_neurons * self.vocab * self.d_model

    @property
    def seconds(self) -> float:
        return self.n_neurons / self.block * self.vocab / VOCAB_BLOCK * self.block_seconds

    @property
    def work_bytes(self) -> int:
        """Float32 values: a layer's output weights, and blocks of directions, of the unembedding, of scores (twice)."""
        tokens = min(VOCAB_BLOCK, self.vocab)
        return 4 * ((self.d_mlp + 2 * self.block + tokens) * self.d_model + 2 * self.block * tokens)

    def line(self) -> str:
        exponent = math.floor(math.log10(self.operations))
        return (
            f"forecast: {self.n_neurons:,} neurons, {self.vocab:,} tokens: "
            f"{self.operations / 10**exponent:.1f}e{exponent} operations in blocks of {self.block:,} neurons and "
            f"{min(VOCAB_BLOCK, self.vocab):,} tokens; about {human_seconds(self.seconds)} on {self.device}; "
            f"{human_bytes(self.weights)} of weights and {human_bytes(self.work_bytes)} for blocks"
        )
