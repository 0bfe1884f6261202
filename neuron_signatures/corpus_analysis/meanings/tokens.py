"""The tokens that set a group of windows apart from the neuron's other windows and from the corpus."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64

from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, Part

MOST: Final = 8
_AT_ONCE: Final = 1 << 20


class TokenShares(NamedTuple):
    """Share of each token among all of a part; `ids` ascend."""

    ids: Int64[np.ndarray, " token"]
    share: Float64[np.ndarray, " token"]

    def of(self, ids: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """0 for a token that the part does not have."""
        if not len(self.ids):
            return np.zeros(len(ids))
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, self.share[at], 0.0)


def token_shares(corpus: Corpus, part: Part) -> TokenShares:
    """Over the windows of a part; tokens in two windows count twice."""
    counts: dict[int, int] = {}
    own = np.flatnonzero(corpus.document_part[corpus.window_document] == PARTS.index(part))
    for start in range(0, len(own), max(1, _AT_ONCE // corpus.meta.sequence_length)):
        chosen = own[start : start + max(1, _AT_ONCE // corpus.meta.sequence_length)]
        ids, n = np.unique(np.concatenate([corpus.token_ids(int(w)) for w in chosen]), return_counts=True)
        for token, count in zip(ids.tolist(), n.tolist(), strict=True):
            counts[token] = counts.get(token, 0) + count
    ids, n = np.array(sorted(counts), np.int64), np.array([counts[t] for t in sorted(counts)], np.float64)
    return TokenShares(ids, n / max(1.0, n.sum()))


def apart_tokens(
    around: Int32[np.ndarray, "window token"],
    own: Int64[np.ndarray, " member"],
    shares: TokenShares,
    *,
    most: int = MOST,
) -> list[int]:
    """Token ids of a group, the most telling first: by s·log(s / b), where s is the share of the group's contexts that
    have the token, and b the larger of the share of the neuron's other contexts and the one that chance would give."""
    has = [set(row[row >= 0].tolist()) for row in around]
    ids = np.array(sorted(set().union(*(has[i] for i in own.tolist()))), np.int64)
    if not len(ids):
        return []
    matrix = np.array([[t in row for t in ids.tolist()] for row in has])
    inside = np.zeros(len(has), bool)
    inside[own] = True
    share = matrix[inside].mean(axis=0)
    other = matrix[~inside].mean(axis=0) if (~inside).any() else np.zeros(len(ids))
    length = (around[inside] >= 0).sum(axis=1).mean()
    base = np.maximum(other, 1 - (1 - shares.of(ids)) ** length)
    score = share * np.log(share / np.maximum(base, 1e-9))
    repeated = matrix[inside].sum(axis=0) > 1
    score = np.where(repeated | (inside.sum() < 2), score, -np.inf)
    order = np.lexsort((ids, -score))[:most]
    return [int(ids[i]) for i in order if score[i] > 0]
