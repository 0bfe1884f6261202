"""Vectors of the tokens of a corpus, from the tokens around them: no model is needed.

Positive pointwise mutual information of tokens and their neighbours, smoothed, and a truncated singular value
decomposition of it (Levy, Goldberg and Dagan 2015, "Improving distributional similarity with lessons learned from word
embeddings"). Tokens that stand among the same tokens, such as " Texas" and " Ohio", have similar vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64, Integer
from scipy import sparse  # type: ignore[import-untyped]

from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, Part
from neuron_signatures.stats.hashes import mixed

MAX_TOKENS: Final = 2_000_000
"""Tokens that vectors are fitted on; windows of a larger corpus are drawn."""
SPAN: Final = 4
"""Tokens on each side that are neighbours."""
_SMOOTHING: Final = 0.75
"""Power of the counts of neighbours, which keeps rare ones from having the largest information."""
_SALT: Final = 0x70C5


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """`ids` ascend. Vectors have a norm of 1, or 0 for a token that has no informative neighbours."""

    ids: Int32[np.ndarray, " token"]
    vectors: Float32[np.ndarray, "token dim"]
    idf: Float32[np.ndarray, " token"]
    """log of (windows / windows that have the token), smoothed by one window."""

    @property
    def dimensions(self) -> int:
        return int(self.vectors.shape[1])

    def place(self, ids: Integer[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The row of each id; -1 for one without a vector."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)


def fit_token_vectors(corpus: Corpus, *, dimensions: int, seed: int, part: Part = "explain") -> TokenVectors:
    """Vectors of all tokens in windows of one part. Fewer dimensions where there are fewer tokens."""
    flat, window = _tokens_of(corpus, part, seed)
    ids, code = np.unique(flat, return_inverse=True)
    if not len(ids):
        return TokenVectors(np.empty(0, np.int32), np.empty((0, 1), np.float32), np.empty(0, np.float32))
    counts = _neighbours(code, window, len(ids))
    idf = _idf(code, window, len(ids))
    return TokenVectors(ids.astype(np.int32), _reduced(_information(counts), dimensions, seed), idf)


def _tokens_of(corpus: Corpus, part: Part, seed: int) -> tuple[Int32[np.ndarray, " pos"], Int64[np.ndarray, " pos"]]:
    """Tokens of whole windows of the part, in corpus order, and the window of each."""
    own = np.flatnonzero(corpus.document_part[corpus.window_document] == PARTS.index(part))
    lengths = corpus.window_length[own].astype(np.int64)
    if lengths.sum() > MAX_TOKENS:
        order = np.argsort(mixed(own, seed, _SALT), kind="stable")
        own = np.sort(own[order[: int(np.searchsorted(np.cumsum(lengths[order]), MAX_TOKENS))]])
        lengths = corpus.window_length[own].astype(np.int64)
    rows = [corpus.token_ids(int(w)) for w in own]
    return np.concatenate([np.empty(0, np.int32), *rows]), np.repeat(own, lengths)


def _neighbours(code: Int64[np.ndarray, " pos"], window: Int64[np.ndarray, " pos"], n: int) -> Any:
    """How often each token stands within `SPAN` of each other one in the same window; symmetric."""
    total = sparse.csr_matrix((n, n), dtype=np.float64)
    for step in range(1, SPAN + 1):
        same = window[step:] == window[:-step]
        one = np.ones(int(same.sum()))
        total += sparse.csr_matrix((one, (code[:-step][same], code[step:][same])), shape=(n, n))
    return (total + total.T).tocsr()


def _idf(
    code: Int64[np.ndarray, " pos"], window: Int64[np.ndarray, " pos"], n: int
) -> Float32[np.ndarray, " token"]:  # fmt: skip
    pairs = np.unique(np.stack([window, code]), axis=1)
    n_windows = len(np.unique(window))
    found: np.ndarray = np.log((1 + n_windows) / (1 + np.bincount(pairs[1], minlength=n))).astype(np.float32)
    return found


def _information(counts: Any) -> Any:
    """Positive pointwise mutual information, sparse."""
    of_token = np.asarray(counts.sum(axis=1)).ravel()
    smooth = of_token**_SMOOTHING
    share = smooth / max(smooth.sum(), 1e-300)
    found = counts.tocoo()
    expected = of_token[found.row] * share[found.col]
    value = np.log(found.data / np.maximum(expected, 1e-300))
    kept = value > 0
    return sparse.csr_matrix((value[kept], (found.row[kept], found.col[kept])), shape=counts.shape)


def _reduced(information: Any, dimensions: int, seed: int) -> Float32[np.ndarray, "token dim"]:
    """Left singular vectors times the root of the singular values, each row of norm 1."""
    from sklearn.utils.extmath import randomized_svd

    k = max(1, min(dimensions, information.shape[0] - 1))
    if not information.nnz or information.shape[0] == 1:
        return np.zeros((information.shape[0], 1), np.float32)
    left, values, _ = randomized_svd(information, n_components=k, random_state=seed)
    return unit_rows(left * np.sqrt(values)).astype(np.float32)


def unit_rows(rows: Float[np.ndarray, "row dim"]) -> Float[np.ndarray, "row dim"]:
    """Rows divided by their norm; rows of zeros stay."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    found: np.ndarray = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 1e-12)
    return found
