"""All counted positions of a neuron's texts as flat arrays: the n-gram that ends there, activation and weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

LONGEST = 3
"""Tokens of the longest n-gram."""


@dataclass(frozen=True, eq=False)
class Positions:
    """Counted positions in the order of the windows. Row n - 1 of `codes` numbers the n-gram that ends there.

    Codes ascend with the tokens of the n-gram as texts; -1 where a window has too few tokens before the position.
    `weights`: of how many positions of the corpus each is the sample (see `weights_of`).
    """

    vocabulary: tuple[str, ...]
    tokens: Int64[np.ndarray, "longest pos"]
    """Places in the vocabulary of the last tokens up to the position: row 0 is the token itself."""
    codes: Int64[np.ndarray, "longest pos"]
    acts: Float64[np.ndarray, " pos"]
    weights: Float64[np.ndarray, " pos"]
    documents: Int64[np.ndarray, " pos"]

    def ngram(self, n: int, pos: int) -> tuple[str, ...]:
        """The n tokens that end at a position."""
        return tuple(self.vocabulary[i] for i in self.tokens[:n, pos][::-1])


def flat_positions(uniform: Sequence[Text], strongest: Sequence[Text], n_positions: int | None) -> Positions:
    """The positions of both, those of a window that is in both once, in an order that depends on the windows alone."""
    texts = _distinct([*strongest, *uniform])
    vocabulary = sorted({token for text in texts for token in text.tokens})
    place = {token: i for i, token in enumerate(vocabulary)}
    tokens = [_last_tokens(text.tokens, place)[:, text.counts] for text in texts]
    lengths = [int(text.counts.sum()) for text in texts]
    in_list = {text.window for text in strongest}
    listed = np.repeat(np.array([text.window in in_list for text in texts], bool), lengths)
    flat = np.concatenate([np.empty((LONGEST, 0), np.int64), *tokens], axis=1)
    acts = np.concatenate([np.empty(0), *(text.acts[text.counts] for text in texts)]).astype(np.float64)
    return Positions(
        tuple(vocabulary), flat, _codes(flat, len(vocabulary)), acts, _weights(listed, n_positions),
        np.repeat(np.array([text.document for text in texts], np.int64), lengths),
    )  # fmt: skip


def _distinct(texts: Iterable[Text]) -> list[Text]:
    """One text per window, by window; texts of equal number by their tokens."""
    found = {(text.window, text.tokens): text for text in texts}
    return [found[key] for key in sorted(found)]


def _last_tokens(tokens: Sequence[str], place: dict[str, int]) -> Int64[np.ndarray, "longest pos"]:
    """At each position the places of the token, of the one before, and so on; -1 before the first token."""
    ids = np.array([place[token] for token in tokens], np.int64)
    out = np.full((LONGEST, len(ids)), -1, np.int64)
    for back in range(min(LONGEST, len(ids))):
        out[back, back:] = ids[: len(ids) - back]
    return out


def _codes(tokens: Int64[np.ndarray, "longest pos"], n_vocabulary: int) -> Int64[np.ndarray, "longest pos"]:
    """Numbers of the n-grams, ascending by their tokens in reading order."""
    codes = np.empty_like(tokens)
    for n in range(1, LONGEST + 1):
        code = np.zeros(tokens.shape[1], np.int64)
        for back in reversed(range(n)):
            _, code = np.unique(code * n_vocabulary + np.maximum(tokens[back], 0), return_inverse=True)
        codes[n - 1] = np.where(tokens[n - 1] >= 0, code.reshape(-1), -1)
    return codes


def _weights(listed: np.ndarray, n_positions: int | None) -> Float64[np.ndarray, " pos"]:
    """Listed positions stand for themselves, the others together for the rest of the corpus."""
    n_listed, n_other = int(listed.sum()), int((~listed).sum())
    each = 1.0 if n_positions is None or not n_other else max(1.0, (n_positions - n_listed) / n_other)
    return np.where(listed, 1.0, each)
