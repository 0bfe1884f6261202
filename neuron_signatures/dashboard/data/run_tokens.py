"""All tokens of a run in one flat order, and their n-grams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.acts import counted

if TYPE_CHECKING:
    from jaxtyping import Bool, Int32, Int64

JOINT = " | "
"""Separator between the tokens of a displayed n-gram."""


class TokenKind(NamedTuple):
    """A distinct token; two ids may share the same text."""

    id: int
    token: str
    """Raw."""


@dataclass(frozen=True)
class TokenIndex:
    """The run's tokens, prompt after prompt; `flat` is the index in this order."""

    prompt: Int32[np.ndarray, " flat"]
    """Index in the run."""
    pos: Int32[np.ndarray, " flat"]
    code: Int32[np.ndarray, " flat"]
    """Index into `kinds`."""
    counts: Bool[np.ndarray, " flat"]
    kinds: tuple[TokenKind, ...]
    include_bos: bool

    @property
    def n_counted(self) -> int:
        return int(self.counts.sum())

    def token(self, flat: int) -> str:
        """Raw."""
        return self.kinds[int(self.code[flat])].token

    def gram(self, end: int, n: int) -> tuple[TokenKind, ...]:
        """The `n` tokens that end at `end` (inclusive)."""
        return tuple(self.kinds[int(self.code[flat])] for flat in range(end - n + 1, end + 1))


class Grams(NamedTuple):
    """The n-grams of included tokens within prompts; groups are in order of first occurrence."""

    n: int
    end: Int64[np.ndarray, " occurrence"]
    """Flat index of the last token, ascending."""
    group: Int64[np.ndarray, " occurrence"]
    first: Int64[np.ndarray, " group"]
    """The `end` of each group's first occurrence."""


def index_tokens(run: Run, *, include_bos: bool) -> TokenIndex:
    """The token index, from the manifest only. Without `include_bos` first positions are excluded."""
    codes: dict[TokenKind, int] = {}
    prompt, pos, code, counts = [], [], [], []
    for i, p in enumerate(run.prompts):
        prompt.append(np.full(p.seq_len, i, np.int32))
        pos.append(np.arange(p.seq_len, dtype=np.int32))
        kinds = map(TokenKind, p.token_ids, p.tokens)
        code.append(np.array([codes.setdefault(kind, len(codes)) for kind in kinds], np.int32))
        counts.append(counted(run, p, include_bos=include_bos))
    if not prompt:
        none = np.empty(0, np.int32)
        return TokenIndex(none, none, none, np.empty(0, bool), (), include_bos)
    flat = [np.concatenate(parts) for parts in (prompt, pos, code)]
    return TokenIndex(flat[0], flat[1], flat[2], np.concatenate(counts), tuple(codes), include_bos)


def gram_ends(index: TokenIndex, n: int) -> Int64[np.ndarray, " occurrence"]:
    """Flat index of the last token of every n-gram of `n` included tokens of the same prompt, ascending."""
    ends = np.arange(n - 1, len(index.code))
    whole = index.prompt[ends - n + 1] == index.prompt[ends]
    for back in range(n):
        whole &= index.counts[ends - back]
    found: np.ndarray = ends[whole]
    return found


def grams_of(index: TokenIndex, n: int) -> Grams:
    """Occurrences of all n-grams of `n` tokens."""
    ends = gram_ends(index, n)
    key = np.zeros(len(ends), np.int64)
    for back in range(n - 1, -1, -1):
        key = key * len(index.kinds) + index.code[ends - back]  # below 2**63 for three of two million tokens
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return Grams(n, ends, rank[inverse], ends[np.sort(first)])


def shown_gram(gram: tuple[TokenKind, ...]) -> str:
    """An n-gram for display; safe for a terminal, not for HTML."""
    return JOINT.join(visible(kind.token) for kind in gram)
