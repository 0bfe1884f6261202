"""What the parts of a trace pass to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class NeuronAt(NamedTuple):
    """A neuron at a position of the prompt."""

    layer: int
    pos: int
    neuron: int


class EmbeddingAt(NamedTuple):
    """The embedding of the token at a position of the prompt."""

    pos: int


Source = NeuronAt | EmbeddingAt
Row = NeuronAt | None
"""What edges lead into: a neuron, or the target (None)."""


@dataclass(frozen=True)
class Incoming:
    """Direct edges into some rows, float32 on the CPU, with `columns` the neurons that are nodes.

    For each row, neurons + embeddings + rest + constant sum to `value` (the activation, or the target function).
    """

    neurons: Float[Tensor, "row column"]
    """(a_s - ā_s) ∂ã_t/∂a_s."""
    embeddings: Float[Tensor, "row pos"]
    rest: Float[Tensor, "row layer pos"]
    """The same sum over the neurons that are no columns, and every bias of the layer at the position where it is added:
    also of a row's own layer, as its attention's and norms' biases. The final norm's and the unembedding's are in the
    last layer, at the target position."""
    constant: Float[Tensor, " row"]
    """Σ ā_s ∂ã_t/∂a_s over all neurons; 0 for the reference zero."""
    absolute: Float[Tensor, " row"]
    """Σ|E| over every neuron singly, embeddings, biases and the constant."""
    value: Float[Tensor, " row"]
