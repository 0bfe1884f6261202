"""Tokenises the texts of a corpus, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase as TokenizerBase


def encode_documents(tokenizer: TokenizerBase, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of each text, as int32, without BOS.

    As `models.tokens.encode_text`, except that special tokens written in a text (`<|endoftext|>` in a README) are
    tokenised as ordinary text: a corpus is data, and must not end a document in the middle of a window.
    """
    if not texts:
        return []
    ids = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False, return_attention_mask=False
    )["input_ids"]
    return [np.asarray(i, np.int32) for i in ids]
