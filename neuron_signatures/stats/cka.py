"""Linear centred kernel alignment (CKA) of two sets of columns that were measured on the same rows.

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),    K = X X^T,  L = Y Y^T

Kornblith et al. 2019 (arXiv 1905.00414), with the biased estimator of HSIC, and with the unbiased one of Song et al.
2012 (JMLR 13, equation 5), which has no positive bias where rows are few and columns are many. Both are in terms of
the Gram matrices, also for fewer columns than rows: weights of rows and permutations of rows need these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int

SMALLEST = 4
"""Rows that the unbiased estimator needs."""


class Cka(NamedTuple):
    """Both estimators; NaN where undefined: fewer than four rows, or columns that do not vary."""

    biased: float
    debiased: float


class Grouped(NamedTuple):
    """Two Gram matrices without their diagonals, summed over groups of rows."""

    products: Float64[np.ndarray, "group group"]
    """Sum of K_ij L_ij over the rows i of one group and j of the other."""
    k: Float64[np.ndarray, "row group"]
    """Sum of K_ij over the rows j of a group."""
    m: Float64[np.ndarray, "row group"]
    groups: Int[np.ndarray, " row"]


def gram(x: Float[np.ndarray, "row column"]) -> Float64[np.ndarray, "row row"]:
    """X X^T of the centred columns, in float64."""
    centred = x.astype(np.float64)
    centred -= centred.mean(axis=0)
    product: np.ndarray = centred @ centred.T
    return product


def cka(k: Float64[np.ndarray, "row row"], m: Float64[np.ndarray, "row row"]) -> Cka:
    """Of two Gram matrices of centred columns. Exactly 1 for equal matrices: sqrt(x * x) is x in binary floats."""
    biased = _ratio(_dot(k, m), _dot(k, k), _dot(m, m))
    k, m = _hollow(k), _hollow(m)
    return Cka(biased, _ratio(_hsic(k, m), _hsic(k, k), _hsic(m, m)))


def permuted_cka(
    k: Float64[np.ndarray, "row row"], m: Float64[np.ndarray, "row row"], *, n_draws: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, " draw"]:  # fmt: skip
    """The debiased CKA with the rows of the second matrix in random order."""
    k, m = _hollow(k), _hollow(m)
    hkk, hmm = _hsic(k, k), _hsic(m, m)
    k_rows, m_rows = k.sum(1), m.sum(1)
    found = np.empty(n_draws)
    for draw in range(n_draws):
        order = rng.permutation(len(m))
        both = sum(float(row @ m[i][order]) for row, i in zip(k, order, strict=True))  # a row stays in the cache
        found[draw] = _ratio(_unbiased(both, k_rows, m_rows[order]), hkk, hmm)
    return found


def grouped(
    k: Float64[np.ndarray, "row row"], m: Float64[np.ndarray, "row row"], starts: Int[np.ndarray, " group"]
) -> Grouped:  # fmt: skip
    """`starts` are the first rows of the groups, which follow each other."""
    k, m = _hollow(k), _hollow(m)
    products = np.add.reduceat(np.add.reduceat(k * m, starts, axis=0), starts, axis=1)
    sizes = np.diff([*starts, len(k)])
    k_rows, m_rows = (np.add.reduceat(part, starts, axis=1) for part in (k, m))
    return Grouped(products, k_rows, m_rows, np.repeat(np.arange(len(starts)), sizes))


def weighted_hsic(sums: Grouped, weights: Float64[np.ndarray, "draw group"]) -> Float64[np.ndarray, " draw"]:
    """The unbiased HSIC with weights of the groups: the weighted means over pairs, triples and quadruples of distinct
    rows. A row that is drawn several times is never paired with itself. With equal weights, that of Song et al."""
    w, squared, s = weights, weights**2, sums.products
    both, one_squared = ((v @ s * w).sum(1) for v in (w, squared))
    both_squared = (squared @ s * squared).sum(1)
    rows, k, m = w[:, sums.groups], w @ sums.k.T, w @ sums.m.T
    kl = rows * k * m
    distinct = (rows * k).sum(1) * (rows * m).sum(1) - 4 * (rows * kl).sum(1) + 2 * both_squared
    p1, p2, p3, p4 = ((rows**power).sum(1) for power in (1, 2, 3, 4))
    pairs, triples = p1**2 - p2, p1**3 - 3 * p1 * p2 + 2 * p3
    quadruples = p1**4 - 6 * p1**2 * p2 + 3 * p2**2 + 8 * p1 * p3 - 6 * p4
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(both / pairs + distinct / quadruples - 2 * (kl.sum(1) - one_squared) / triples)


def weighted_cka(
    kl: Grouped, kk: Grouped, ll: Grouped, weights: Float64[np.ndarray, "draw group"]
) -> Float64[np.ndarray, " draw"]:
    """The debiased CKA with weights of the groups of rows; NaN where undefined."""
    hkl, hkk, hll = (weighted_hsic(sums, weights) for sums in (kl, kk, ll))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((hkk > 0) & (hll > 0), hkl / np.sqrt(hkk * hll), np.nan)


def _hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Unbiased, of matrices without diagonals; NaN for fewer than four rows."""
    return _unbiased(_dot(k, m), k.sum(1), m.sum(1))


def _unbiased(both: float, k_rows: np.ndarray, m_rows: np.ndarray) -> float:
    """From the sum of the products of all entries, and the sums of the rows."""
    n = len(k_rows)
    if n < SMALLEST:
        return float("nan")
    cross = float((k_rows * m_rows).sum())
    means = float(k_rows.sum()) * float(m_rows.sum()) / ((n - 1) * (n - 2))
    return (both + means - 2 * cross / (n - 2)) / (n * (n - 3))


def _dot(k: np.ndarray, m: np.ndarray) -> float:
    return float((k * m).sum())


def _ratio(both: float, first: float, second: float) -> float:
    """NaN unless both variances are positive."""
    return both / float(np.sqrt(first * second)) if first > 0 and second > 0 else float("nan")


def _hollow(matrix: np.ndarray) -> np.ndarray:
    """A copy without the diagonal."""
    found = matrix.copy()
    np.fill_diagonal(found, 0.0)
    return found
