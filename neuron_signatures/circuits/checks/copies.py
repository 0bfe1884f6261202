"""How many copies of a prompt a forward pass of given size holds."""

from __future__ import annotations

from typing import Final

from transformers import PreTrainedModel

from neuron_signatures.circuits.checks.settings import COPIES
from neuron_signatures.models.capture import mlp_shape

_STREAMS: Final = 12
"""Tensors as wide as the residual stream that a layer of a pass holds at once."""
_MLPS: Final = 6
"""The same, as wide as the MLP."""
_LOGITS: Final = 6
"""The same, as wide as the vocabulary, after the last layer."""


def copies_within(hf: PreTrainedModel, n_tokens: int, max_memory: int) -> int:
    """How many copies of a prompt fit into a forward pass of about `max_memory` bytes; at least one."""
    config, shape = hf.config.get_text_config(), mlp_shape(hf)
    of_layer = n_tokens * (_STREAMS * config.hidden_size + _MLPS * shape.d_mlp + n_tokens * config.num_attention_heads)
    masks = shape.n_layers * n_tokens * shape.d_mlp  # of one byte
    of_copy: int = 4 * (of_layer + _LOGITS * config.vocab_size) + masks
    return max(1, min(COPIES, max_memory // of_copy))
