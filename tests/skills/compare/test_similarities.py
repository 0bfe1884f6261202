"""Nulls, intervals and the separation of classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from skills_made import Made, made

from neuron_signatures.runs.progress import silent
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.skills.compare.draws import comparison, parts_of, separation_blocks
from neuron_signatures.skills.compare.groups import choose_groups
from neuron_signatures.skills.compare.prepared import Prepared, prepare
from neuron_signatures.skills.compare.request import Firing, Resampling
from neuron_signatures.skills.compare.similarities import tables

BANK = (Bank("sae", "res", 0, 20),)
FEW = Resampling(n_draws=60, n_permutations=60, n_halves=10)


def compared(what: Made, resampling: Resampling = FEW, **firing: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    how = Firing(**firing)  # type: ignore[arg-type]
    groups = choose_groups(what.texts, None)

    def load(bank: Bank) -> Prepared:
        return prepare(what.stats(bank), groups.texts, how)

    return tables(groups, list(what.totals), load, resampling, min_share=how.min_share, bar=silent("", 1))


def headline(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[
        (frame["measure"] == "cosine") & (frame["vector"] == "mean") & (frame["background"] == "kept")
        & frame["layer"].isna() & (frame["site"] == "")
    ]  # fmt: skip


def with_labels(what: Made, rng: np.random.Generator) -> Made:
    """The same units with the classes permuted among the texts."""
    order = rng.permutation(len(what.texts))
    labels = what.texts[["class", "skill"]].iloc[order].reset_index(drop=True)
    return Made(what.texts.assign(**labels), what.totals, what.topk)


@pytest.mark.slow
def test_p_values_of_random_labels_are_uniform() -> None:
    """Of a similarity and of the separation, over 200 random labellings."""
    base, rng = made(n_per_class=8, classes=("arts", "biology"), banks=BANK, effect=0.0), np.random.default_rng(7)
    base.texts["skill"] = ""
    p_similar, p_separated = [], []
    for i in range(200):
        similar, separated = compared(with_labels(base, rng), Resampling(2, 99, 2, seed=i))
        p_similar.append(headline(similar[similar["level"] == "between"])["p"].item())
        p_separated.append(headline(separated)["p"].item())
    for p in (p_similar, p_separated):
        assert stats.kstest(p, "uniform").pvalue > 0.01
        assert 2 <= np.sum(np.array(p) <= 0.05) <= 20


def test_classes_with_units_of_their_own_are_separated() -> None:
    similar, separated = compared(made(effect=8.0), Resampling(100, 199, 20))
    row = headline(separated)
    assert (row["p"] == 1 / 200).all()
    assert (row["low"] > 0).all()
    assert row["difference"].to_numpy() == pytest.approx((row["within"] - row["between"]).to_numpy())
    between = headline(similar[similar["level"] == "between"])
    assert (between["p"] == 1 / 200).all()
    assert (between["value"] < between["null_mean"]).all()


def test_without_an_effect_nothing_is_separated() -> None:
    row = headline(compared(made(effect=0.0))[1])
    assert (row["p"] > 0.01).all()
    assert (row["low"] < 0).all() and (row["high"] > 0).all()


def test_values_do_not_depend_on_the_order_of_the_texts() -> None:
    """Draws are random, values are not."""
    what = made()
    order = np.random.default_rng(3).permutation(len(what.texts))
    moved = Made(
        what.texts.iloc[order].reset_index(drop=True),
        {bank: m[order] for bank, m in what.totals.items()}, {bank: m[order] for bank, m in what.topk.items()},
    )  # fmt: skip
    a, b = compared(what)[0], compared(moved)[0]
    keys = ["level", "class_a", "skill_a", "class_b", "skill_b", "source", "site", "layer", "measure", "vector"]
    pd.testing.assert_frame_equal(a[keys], b[keys])
    assert a["value"].to_numpy() == pytest.approx(b["value"].to_numpy(), rel=1e-5, nan_ok=True)


def test_the_same_command_gives_the_same_tables() -> None:
    for a, b in zip(compared(made()), compared(made()), strict=True):
        pd.testing.assert_frame_equal(a, b)


def test_intervals_contain_the_value() -> None:
    similar = compared(made())[0].dropna(subset=["value", "low", "high"])
    assert (similar["low"] <= similar["value"] + 1e-9).all()
    assert (similar["high"] >= similar["value"] - 1e-9).all()


def test_one_bank_is_in_memory_at_a_time() -> None:
    """No bank is kept when the next one is loaded."""
    import gc
    import weakref

    what = made()
    groups, alive, most = choose_groups(what.texts, None), [], 0

    def load(bank: Bank) -> Prepared:
        nonlocal most
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        loaded = prepare(what.stats(bank), groups.texts, Firing())
        alive.append(weakref.ref(loaded))
        return loaded

    tables(groups, list(what.totals), load, FEW, min_share=0.1, bar=silent("", 1))
    assert len(alive) == 2 * len(what.totals)
    assert most <= 1  # the one that is about to be replaced


def test_a_definition_of_firing_changes_the_sets() -> None:
    found = {}
    for how in ("threshold", "topk", "normalised"):
        rows = compared(made(), fires=how)[0]
        found[how] = rows[(rows["measure"] == "jaccard") & (rows["level"] == "between")]["value"].to_numpy()
    assert not np.array_equal(found["threshold"], found["topk"])
    assert not np.array_equal(found["threshold"], found["normalised"])


def test_draws_of_a_comparison_are_what_they_are_called() -> None:
    a, b = np.arange(7), np.arange(7, 18)
    how = Resampling(5, 6, 4)
    block, parts = comparison(a, b, ("arts", "biology"), how), parts_of(how)
    weights = block.weights
    assert (weights[0, 0] == np.r_[np.ones(7), np.zeros(11)]).all() and (weights[0].sum(axis=0) == 1).all()
    assert (weights[parts.bootstrap, 0].sum(axis=1) == 7).all() and (weights[parts.bootstrap, 0, 7:] == 0).all()
    assert (weights[parts.permuted].sum(axis=1) == 1).all() and (weights[parts.permuted, 0].sum(axis=1) == 7).all()
    halves = weights[parts.halves]
    assert (halves[:4, :, :7].sum(axis=1) == 1).all() and (halves[:4, :, 7:] == 0).all()
    assert (halves[4:, :, 7:].sum(axis=1) == 1).all() and (halves[4:, :, :7] == 0).all()


def test_draws_of_the_separation_split_each_class_in_half() -> None:
    groups = [np.arange(6), np.arange(6, 14)]
    observed, bootstrap, permuted = (b.weights for b in separation_blocks(groups, Resampling(5, 6, 4)))
    for weights, n in ((observed, 2), (bootstrap, 10), (permuted, 12)):
        assert weights.shape == (n, 4, 14)
        assert (weights[:, :2].sum(axis=(1, 2)) == 6).all() and (weights[:, 2:].sum(axis=(1, 2)) == 8).all()
        assert ((weights > 0).sum(axis=1) <= 1).all()  # no text is in two halves
    assert (observed[:, :2, 6:] == 0).all() and (bootstrap[:, :2, 6:] == 0).all()
    assert (permuted[:, :2, 6:] > 0).any()
