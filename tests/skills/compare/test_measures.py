"""Similarities equal those of scipy and scikit-learn, in one bank and in several as one vector."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats
from scipy.spatial import distance
from sklearn.metrics.pairwise import cosine_similarity

from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.skills.compare.engine import Block, Scope, measure
from neuron_signatures.skills.compare.measures import COLUMNS
from neuron_signatures.skills.compare.prepared import BACKGROUNDS, Prepared

N_A, N_B = 6, 9
MIN_SHARE = 0.3
TEXTS = np.arange(N_A + N_B)


def prepared(seed: int, n_units: int, *, layer: int = 0, sparse: bool = False) -> Prepared:
    """Many units have equal counts; the first unit fires in every text."""
    rng = np.random.default_rng(seed)
    fires = (rng.random((N_A + N_B, n_units)) < rng.random(n_units)).astype(np.float32)
    fires[:, 0] = 1
    fires[0, fires.sum(axis=0) == 0] = 1
    means = fires * np.round(rng.gamma(1, 1, fires.shape), 3).astype(np.float32)
    bank = Bank("sae", "res", layer, n_units)
    both = (sp.csr_array(fires), sp.csr_array(means)) if sparse else (fires, means)
    return Prepared(bank, np.arange(n_units), both[0], both[1], fires.mean(axis=0, dtype=np.float64), 0.8)


def block() -> Block:
    weights = np.zeros((1, 2, N_A + N_B), np.uint8)
    weights[0, 0, :N_A], weights[0, 1, N_A:] = 1, 1
    return Block(TEXTS, weights, np.array([[0, 1]]))


def found(banks: list[Prepared], scope: Scope, of: Block | None = None) -> np.ndarray:
    by_bank = {p.bank: p for p in banks}
    everything = measure([of or block()], list(by_bank), by_bank.__getitem__, min_share=MIN_SHARE, bar=silent("", 1))
    return next(m.values[0, 0] for m in everything if m.scope == scope)


def dense(matrix: np.ndarray | sp.csr_array) -> np.ndarray:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), np.float64)


def expected(banks: list[Prepared], background: str) -> dict[tuple[str, str], float]:
    """By scipy and scikit-learn, from the vectors of both groups."""
    fires, means = (np.concatenate([dense(getattr(p, name)) for p in banks], axis=1) for name in ("fires", "means"))
    share = np.concatenate([p.share for p in banks])
    keep = share <= 0.8 if background == "left_out" else np.ones(len(share), bool)
    weight = -np.log(share[keep]) if background == "idf" else np.ones(keep.sum())
    a, b = (fires[rows][:, keep].sum(axis=0) for rows in (slice(0, N_A), slice(N_A, None)))
    mean_a, mean_b = (means[rows][:, keep].mean(axis=0) for rows in (slice(0, N_A), slice(N_A, None)))
    set_a, set_b = a / N_A >= MIN_SHARE, b / N_B >= MIN_SHARE
    smaller = min(weight[set_a].sum(), weight[set_b].sum())
    out = {
        ("jaccard", "set"): 1 - distance.jaccard(set_a, set_b, weight),
        ("overlap", "set"): weight[set_a & set_b].sum() / smaller,
        ("spearman", "frequency"): math.nan if background == "idf" else stats.spearmanr(a / N_A, b / N_B).statistic,
    }
    for name, x, y in (("log1p_count", np.log1p(a), np.log1p(b)), ("mean", mean_a, mean_b)):
        x, y = x * weight, y * weight
        out["cosine", name] = cosine_similarity(x[None], y[None]).item()
        out["pearson", name] = stats.pearsonr(x, y).statistic
        out["dot", name] = float(x @ y)
    return out


def check(values: np.ndarray, banks: list[Prepared], tolerance: float = 1e-9) -> None:
    for i, background in enumerate(BACKGROUNDS):
        truth = expected(banks, background)
        for j, column in enumerate(COLUMNS):
            # means are float32, and products of them are summed in float32 by the matrix product
            rel = 1e-6 if column[1] == "mean" else tolerance
            assert values[i, j] == pytest.approx(truth[column], rel=rel, abs=rel, nan_ok=True), (background, column)


@pytest.mark.parametrize("seed", range(5))
def test_similarities_equal_those_of_the_libraries_with_ties(seed: int) -> None:
    bank = prepared(seed, 40)
    check(found([bank], Scope("sae", "res", 0)), [bank])


def test_a_sparse_bank_gives_the_same() -> None:
    assert found([prepared(1, 40, sparse=True)], Scope("sae", "res", 0)) == pytest.approx(
        found([prepared(1, 40)], Scope("sae", "res", 0)), rel=1e-6, nan_ok=True
    )


def test_several_banks_are_compared_as_one_long_vector() -> None:
    banks = [prepared(2, 30), prepared(3, 21, layer=1), prepared(4, 17, layer=2, sparse=True)]
    for scope in (Scope("sae", "res", None), Scope("sae", "", None)):
        check(found(banks, scope), banks)


def test_empty_sets_and_constant_vectors_have_no_similarity() -> None:
    """One unit that fires everywhere: it is constant, and leaving it out leaves no unit at all."""
    fires = np.ones((N_A + N_B, 3), np.float32)
    bank = Prepared(Bank("sae", "res", 0, 3), np.arange(3), fires, fires * 0.5, np.ones(3), 0.8)
    values = found([bank], Scope("sae", "res", 0))
    kept, left_out, idf = (dict(zip(COLUMNS, row, strict=True)) for row in values.tolist())
    assert kept["jaccard", "set"] == kept["overlap", "set"] == 1
    assert kept["cosine", "mean"] == pytest.approx(1)
    assert all(math.isnan(kept[c]) for c in COLUMNS if c[0] in ("pearson", "spearman"))
    assert all(math.isnan(v) for v in left_out.values())
    assert all(math.isnan(idf[c]) for c in COLUMNS if c[0] != "dot")


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws in chunks of one give what all at once give, in a bank and in two."""
    from neuron_signatures.skills.compare import engine

    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, (7, 4, N_A + N_B)).astype(np.uint8)
    of = Block(TEXTS, weights, np.array([[0, 1], [2, 3], [0, 3]]))
    banks = {p.bank: p for p in (prepared(5, 20), prepared(6, 11, layer=1))}

    def every() -> list[np.ndarray]:
        return [m.values for m in measure([of, of], list(banks), banks.__getitem__, min_share=0.2, bar=silent("", 1))]

    whole = every()
    monkeypatch.setattr(engine, "_CHUNK", 1)
    monkeypatch.setattr(engine, "_BATCH", 1)
    for a, b in zip(sorted(whole, key=str), sorted(every(), key=str), strict=True):
        assert a == pytest.approx(b, rel=1e-6, nan_ok=True)
