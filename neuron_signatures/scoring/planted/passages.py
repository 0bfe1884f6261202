"""Documents of the demo world as tokens, each in a part: the corpus of planted neurons."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from neuron_signatures.runs.records.names import PARTS, Part

_SHARES = 0.5, 0.2, 0.3
"""Of the parts, as in a corpus."""


@dataclass(frozen=True)
class Passages:
    """Tokens and part of each passage."""

    tokens: tuple[tuple[str, ...], ...]
    parts: tuple[Part, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        """Occurrences of each token."""
        return Counter(token for row in self.tokens for token in row)

    @cached_property
    def pairs(self) -> Counter[tuple[str, str]]:
        """Occurrences of each two neighbouring tokens."""
        return Counter(pair for row in self.tokens for pair in pairwise(row))


def demo_passages(n_documents: int, *, seed: int) -> Passages:
    """The distinct texts among the first documents of a seed, as tokens of the demo model."""
    from neuron_signatures.demo import model_dir
    from neuron_signatures.demo.world import documents
    from neuron_signatures.models.load import load_tokenizer
    from neuron_signatures.models.spec import ModelSpec
    from neuron_signatures.models.tokens import encode_text, token_strings

    tokenizer = load_tokenizer(ModelSpec(str(model_dir())))
    texts = dict.fromkeys(document.text for document in documents(seed, n_documents))
    ids = (encode_text(tokenizer, text, prepend_bos=False) for text in texts)
    tokens = tuple(tuple(token_strings(tokenizer, row)) for row in ids)
    drawn = np.random.default_rng([seed, 1]).choice(len(PARTS), size=len(tokens), p=_SHARES)
    return Passages(tokens, tuple(PARTS[i] for i in drawn))
