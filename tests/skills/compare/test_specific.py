"""Units that are specific for a class: found on one half, tested on the other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from skills_made import CLASSES, Made, made
from sklearn.metrics import roc_auc_score

from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.skills.columns import SPECIFIC
from neuron_signatures.skills.compare.request import Firing
from neuron_signatures.skills.compare.specific import BINS, halves_of, length_control, tables
from neuron_signatures.stats.chance import benjamini_hochberg

HELD_OUT = [name for name in SPECIFIC if name.startswith("held_out")]
FOUND = [name for name in SPECIFIC if name not in HELD_OUT]


def specific(what: Made) -> pd.DataFrame:
    halves = halves_of(what.texts, CLASSES)
    return tables(list(what.totals), what.stats, halves, Firing(), bar=silent("", 1))[0]


def means(what: Made, row: pd.Series) -> np.ndarray:
    bank = next(b for b in what.totals if (b.source, b.site, b.layer) == (row["source"], row["site"], row["layer"]))
    return what.totals[bank][:, row["unit"]] / what.texts["n_tokens"].to_numpy()


def test_numbers_are_those_of_scipy_and_scikit_learn() -> None:
    what = made(n_per_class=60)
    table = specific(what)
    for _, row in table.sample(25, random_state=0).iterrows():
        x, of = means(what, row), (what.texts["class"] == row["class"]).to_numpy()
        find = (what.texts["half"] == "find").to_numpy()
        a, b = x[find & of], x[find & ~of]
        assert row["auroc"] == pytest.approx(roc_auc_score(of[find], x[find]), abs=1e-9)
        assert row["p"] == pytest.approx(stats.mannwhitneyu(a, b, method="asymptotic").pvalue, rel=1e-6)
        assert row["held_out_auroc"] == pytest.approx(roc_auc_score(of[~find], x[~find]), abs=1e-9)
        assert row["mean_in"] == pytest.approx(a.mean(), rel=1e-5)


def test_q_is_over_all_units_of_a_class() -> None:
    table = specific(made())
    for _, rows in table.groupby("class"):
        assert rows["q"].to_numpy() == pytest.approx(benjamini_hochberg(rows["p"].to_numpy()))
        ordered = rows.sort_values("p")
        by_hand = ordered["p"] * len(rows) / np.arange(1, len(rows) + 1)
        assert ordered["q"].to_numpy() == pytest.approx(by_hand[::-1].cummin()[::-1].to_numpy())


def test_random_labels_find_nothing() -> None:
    """A false discovery in at most a few of 20 labellings, at q ≤ 0.05."""
    base, rng, with_one = made(effect=0.0, n_per_class=30), np.random.default_rng(5), 0
    for _ in range(20):
        order = rng.permutation(len(base.texts))
        texts = base.texts.assign(**{"class": base.texts["class"].to_numpy()[order]})
        with_one += bool((specific(Made(texts, base.totals, base.topk))["q"] <= 0.05).any())
    assert with_one <= 6


def test_units_of_a_class_are_first_and_hold_out() -> None:
    table = specific(made(n_per_class=60, effect=10.0))
    first = table[table["rank"] == 1]
    assert {(r["class"], r["unit"]) for _, r in first.iterrows()} == {("arts", 0), ("biology", 1), ("chess", 2)}
    assert (first["q"] < 1e-6).all() and (first["held_out_low"] > 0.8).all()


def test_held_out_texts_do_not_change_what_is_found() -> None:
    what = made()
    poisoned = {bank: m.copy() for bank, m in what.totals.items()}
    held = (what.texts["half"] == "held_out").to_numpy()
    rng = np.random.default_rng(9)
    for m in poisoned.values():
        m[held] = rng.gamma(1, 5, m[held].shape)
    a, b = specific(what), specific(Made(what.texts, poisoned, what.topk))
    pd.testing.assert_frame_equal(a[FOUND], b[FOUND])
    assert not np.allclose(a["held_out_auroc"], b["held_out_auroc"])


def test_the_poles_of_a_neuron_are_two_units() -> None:
    table = specific(made())
    neurons = table[table["source"] == "neurons"]
    assert set(neurons["label"].str[-1]) == {"+", "-"}
    assert neurons.groupby(["class", "label"]).size().eq(1).all()


def test_ranks_are_within_source_and_class() -> None:
    table = specific(made())
    for _, rows in table.groupby(["source", "class"]):
        assert sorted(rows["rank"]) == list(range(1, len(rows) + 1))
        assert (np.diff(rows.sort_values("rank")["auroc"]) <= 1e-9).all()


def test_the_order_of_the_texts_changes_nothing() -> None:
    what = made()
    order = np.random.default_rng(3).permutation(len(what.texts))
    moved = Made(
        what.texts.iloc[order].reset_index(drop=True),
        {bank: m[order] for bank, m in what.totals.items()}, {bank: m[order] for bank, m in what.topk.items()},
    )  # fmt: skip
    pd.testing.assert_frame_equal(specific(what), specific(moved), rtol=1e-5)


def test_histograms_count_every_unit_once_per_class() -> None:
    what = made()
    table = tables(list(what.totals), what.stats, halves_of(what.texts, CLASSES), Firing(), bar=silent("", 1))[1]
    for (source, site, layer, _), rows in table.groupby(["source", "site", "layer", "class"]):
        bank = next(b for b in what.totals if (b.source, b.site, b.layer) == (source, site, layer))
        assert rows["n_units"].sum() == bank.width and len(rows) == len(BINS) - 1
        assert rows.set_index("low")["n_units"][0.0] >= 1  # the last unit is silent


def test_length_alone_can_tell_a_class() -> None:
    what = made()
    long = what.texts.assign(n_tokens=np.where(what.texts["class"] == "biology", 40, what.texts["n_tokens"]))
    control = length_control(long, halves_of(long, CLASSES))
    assert control["biology"] == {"find": 1.0, "held_out": 1.0}
    assert control["arts"]["held_out"] < 0.5
