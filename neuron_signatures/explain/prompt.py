"""A prompt for a language model, with what it was made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from neuron_signatures.llm.chat import Message


@dataclass(frozen=True)
class Prompt:
    """What a model is asked about one pole of a neuron."""

    messages: tuple[Message, ...]
    version: str
    """Of the instructions and the layout, such as `contrastive-1`."""
    evidence: tuple[int, ...]
    """Numbers of the windows that it shows, in the order of the prompt; those that had no place are not among them."""
    max_tokens: int
    """Of the answer."""
    n_dropped: int = 0
    """Pieces of evidence that would have exceeded the limit of tokens."""

    @property
    def sha256(self) -> str:
        """Of the exact messages."""
        return hashlib.sha256(json.dumps([list(m) for m in self.messages]).encode()).hexdigest()
