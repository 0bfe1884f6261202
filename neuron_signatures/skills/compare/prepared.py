"""A bank as the comparison needs it: in which texts each unit fires, its mean activation there, and the backgrounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp  # type: ignore[import-untyped]
from jaxtyping import Float64, Int

from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.names import Background
from neuron_signatures.runs.skills.reader import Matrix, UnitStats
from neuron_signatures.skills.compare.request import Firing

BACKGROUNDS: Final[tuple[Background, ...]] = ("kept", "left_out", "idf")
_SPARSE_BELOW: Final = 0.05
"""Share of values above 0 below which a sparse product is faster than a dense one."""


@dataclass(frozen=True)
class Prepared:
    """The units of a bank that fire in at least one of the texts; rows are the chosen texts."""

    bank: Bank
    units: Int[np.ndarray, " unit"]
    """Their columns in the bank."""
    fires: Matrix
    """1 where a unit fires in a text, otherwise 0; float32."""
    means: Matrix
    """Mean activation over the tokens of each text, float32."""
    share: Float64[np.ndarray, " unit"]
    """Of all texts, in which the unit fires; above 0."""
    background_share: float

    @property
    def weights(self) -> Float64[np.ndarray, "background unit"]:
        """What each unit counts in each of `BACKGROUNDS`."""
        left_out = (self.share <= self.background_share).astype(np.float64)
        return np.stack([np.ones(len(self.share)), left_out, -np.log(np.minimum(self.share, 1.0))])


def fires(stats: UnitStats, firing: Firing) -> Matrix:
    """Whether each unit fires in each text, as 0 and 1 in float32, sparse where the peaks are."""
    if firing.fires == "topk":
        return _ones(stats.topk, np.zeros(stats.bank.width))
    if firing.fires == "threshold":
        return _ones(stats.peak, stats.threshold)
    largest = stats.peak.max(axis=0)
    highest = largest if isinstance(largest, np.ndarray) else largest.toarray().ravel()
    return _ones(stats.peak, firing.normalised_share * highest)


def prepare(stats: UnitStats, texts: Int[np.ndarray, " text"], firing: Firing) -> Prepared:
    """The bank on these texts. `normalised` is relative to the largest activation of all collected texts."""
    fired, means = _rows(fires(stats, firing), texts), _rows(stats.mean, texts)
    n_texts = np.asarray(fired.sum(axis=0, dtype=np.float64)).ravel()
    units = np.flatnonzero(n_texts > 0)
    fired, means = (_compact(m[:, units]) for m in (fired, means))
    return Prepared(stats.bank, units, fired, means, n_texts[units] / max(len(texts), 1), firing.background_share)


def weighted_sums(weights: np.ndarray, matrix: Matrix) -> Float64[np.ndarray, "draw unit"]:
    """`weights @ matrix`; the counts of a matrix of 0 and 1 are exact."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(weights.astype(np.float32) @ matrix, np.float64)
    product = matrix.T @ weights.T.astype(np.float32)
    return np.ascontiguousarray(product.T, dtype=np.float64)


def columns(matrix: Matrix, at: Int[np.ndarray, " column"] | slice) -> np.ndarray:
    """Some columns as a dense array."""
    part = matrix[:, at]
    dense: np.ndarray = part if isinstance(part, np.ndarray) else part.toarray()
    return dense


def _ones(values: Matrix, threshold: np.ndarray) -> Matrix:
    """1 where a value is above the threshold of its column, which is not negative."""
    if isinstance(values, np.ndarray):
        above: np.ndarray = (values > threshold).astype(np.float32)
        return above
    matrix = sp.csr_array(values, copy=True)
    matrix.data = (matrix.data > threshold[matrix.indices]).astype(np.float32)
    matrix.eliminate_zeros()
    return matrix


def _rows(matrix: Matrix, texts: Int[np.ndarray, " text"]) -> Matrix:
    return matrix if len(texts) == matrix.shape[0] else matrix[texts]


def _compact(matrix: Matrix) -> Matrix:
    """Dense, unless few values are above 0."""
    if isinstance(matrix, np.ndarray):
        return np.ascontiguousarray(matrix, np.float32)
    n = matrix.shape[0] * matrix.shape[1]
    if matrix.nnz >= _SPARSE_BELOW * n:
        dense: np.ndarray = matrix.toarray().astype(np.float32)
        return dense
    return sp.csr_array(matrix, dtype=np.float32)
