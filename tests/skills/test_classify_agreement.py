"""Kappa and AUROC of raters, their intervals, and what chance gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from synthetic_skills import RES, unit

from neuron_signatures.skills.classify.agreed import agreement_rows, raters_of
from neuron_signatures.skills.classify.controls import control_rows
from neuron_signatures.skills.classify.items import ExplainedUnit, Pair
from neuron_signatures.skills.classify.rating import Rating
from neuron_signatures.stats.agreement import agreement, separation

CLASSES = ("empathy", "knowledge", "mathematics", "programming")
answers = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


def agree(a, b, *, cluster=None, n_null=200, n_draws=400):
    a, b = np.asarray(a), np.asarray(b)
    cluster = np.arange(len(a)) if cluster is None else np.asarray(cluster)
    rng = np.random.default_rng(0)
    return agreement(a, b, cluster, n_categories=3, n_draws=n_draws, n_null=n_null, rng=rng)


@given(answers)
def test_kappa_is_that_of_scikit_learn(pairs):
    a, b = map(np.array, zip(*pairs, strict=True))
    found = agree(a, b, n_null=2, n_draws=2)
    if len({*a, *b}) == 1:
        assert found.kappa is None and found.agreement == 1
        return
    assert found.kappa == pytest.approx(cohen_kappa_score(a, b, labels=[0, 1, 2]), abs=1e-12)
    assert found.agreement == pytest.approx(np.mean(a == b))


def test_known_values():
    found = agree([0] * 25 + [1] * 25, [0] * 20 + [1] * 5 + [0] * 10 + [1] * 15)  # 20, 5, 10, 15 of a textbook
    assert (found.agreement, found.chance) == (pytest.approx(0.7), pytest.approx(0.5))
    assert found.kappa == pytest.approx(0.4)
    assert found.low < 0.4 < found.high and found.p == pytest.approx(1 / 201, abs=0.02)


def test_independent_raters_are_at_chance():
    rng = np.random.default_rng(1)
    p = [agree(rng.integers(0, 3, 60), rng.integers(0, 3, 60), n_draws=10).p for _ in range(40)]
    assert 0.3 < np.mean(p) < 0.7 and min(p) > 0.0


def test_clusters_widen_the_interval():
    rng = np.random.default_rng(2)
    a = np.repeat(rng.integers(0, 2, 20), 10)
    b = np.where(np.repeat(rng.random(20) < 0.7, 10), a, 1 - a)
    alone, grouped = agree(a, b), agree(a, b, cluster=np.repeat(np.arange(20), 10))
    assert alone.kappa == grouped.kappa
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_undefined_is_none():
    assert agree([], []) == (0, None, None, None, None, None, None, None)
    one = agree([1, 1], [1, 1])
    assert (one.agreement, one.kappa, one.low, one.p) == (1.0, None, None, None)
    rng = np.random.default_rng(0)
    none = separation(np.array([0.1, 0.2]), np.array([1, 1]), np.arange(2), n_draws=10, rng=rng)
    assert none == (2, None, None, None)


def test_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    yes, values = rng.integers(0, 2, 80), rng.integers(0, 9, 80).astype(float)
    found = separation(values, yes, np.arange(80) // 4, n_draws=200, rng=rng)
    assert found.auroc == pytest.approx(roc_auc_score(yes, values))
    assert found.low < found.auroc < found.high


def pairs_of(n: int) -> list[Pair]:
    """Unit i has the own class i modulo 4."""
    units = [ExplainedUnit(unit(RES, i), f"text {i}", CLASSES[i % 4]) for i in range(n)]
    return [Pair(u, u, name) for u in units for name in CLASSES]


def said(pairs, rater, answer_of, sample=0):
    return [Rating(p, rater, sample, answer_of(p), 0.9) for p in pairs]


def is_own(p: Pair) -> str:
    return "yes" if p.name == p.unit.own_class else "no"


def test_samples_models_and_hand_labels_are_compared():
    pairs = pairs_of(8)
    ratings = [
        *said(pairs, "local:a", is_own), *said(pairs, "local:a", lambda p: "no", sample=1),
        *said(pairs, "openai:b", is_own), *said(pairs[:16], "hand", is_own), *said(pairs, "activations", is_own),
        *(Rating(p, "embedding", confidence=float(is_own(p) == "yes")) for p in pairs),
        *(Rating(p, "auroc", confidence=0.5) for p in pairs),
        Rating(pairs[0], "openai:b", 1, status="unparsable"),
    ]  # fmt: skip
    rows = {
        (r["rater_a"], r["rater_b"]): r for r in agreement_rows(raters_of(ratings), CLASSES, seed=0) if not r["class"]
    }
    assert rows["local:a #0", "local:a #1"]["kappa"] == pytest.approx(0.0)
    assert rows["local:a", "openai:b"]["n"] == 32
    assert rows["openai:b", "hand"]["kappa"] == pytest.approx(1.0) and rows["openai:b", "hand"]["n"] == 16
    assert rows["embedding", "hand"]["auroc"] == 1.0 and rows["auroc", "openai:b"]["auroc"] == 0.5
    assert ("auroc", "activations") not in rows and ("openai:b #0", "hand") not in rows
    # a yes and a no of two samples are together uncertain, which is neither yes nor no
    assert rows["embedding", "local:a"]["auroc"] is None and rows["embedding", "local:a"]["n"] == 24


def test_the_null_of_many_permutations_needs_every_pair():
    pairs = pairs_of(8)
    (row,) = control_rows(said(pairs, "local:a", is_own), seed=0)
    assert (row["value"], row["null"], row["statistic"]) == (1.0, "permuted", "share_yes")
    assert row["null_mean"] == pytest.approx(1 / 4, abs=0.02) and row["p"] < 0.01
    own = [p for p in pairs if p.name == p.unit.own_class]
    assert control_rows(said(own, "local:a", is_own), seed=0) == []


def test_a_rater_who_always_says_yes_is_at_its_null():
    (row,) = control_rows(said(pairs_of(8), "local:a", lambda p: "yes"), seed=0)
    assert (row["value"], row["null_mean"], row["p"]) == (1.0, 1.0, 1.0)


def test_one_shuffled_set_is_the_null_where_only_own_classes_were_asked():
    own = [p for p in pairs_of(8) if p.name == p.unit.own_class]
    other = [Pair(p.unit, own[(i + 1) % 8].unit, p.name) for i, p in enumerate(own)]
    ratings = [*said(own, "local:a", is_own), *said(other, "local:a", lambda p: "no")]
    (row,) = control_rows(ratings, seed=0)
    assert (row["null"], row["value"], row["null_mean"], row["p"]) == ("one_set", 1.0, 0.0, None)


def test_failed_answers_are_left_out():
    ratings = said(pairs_of(8), "local:a", is_own)
    failed = [
        Rating(r.pair, r.rater, r.sample, status="unparsable") if i % 5 == 0 else r for i, r in enumerate(ratings)
    ]
    (row,) = control_rows(failed, seed=0)
    assert row["value"] == 1.0 and 0.1 < row["null_mean"] < 0.4
