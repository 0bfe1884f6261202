"""The table `specific_units`: how well each unit tells a class from the others, found on one half and tested on the
other, and `frequencies`: in what share of a class's texts units fire.

The unit of observation is the text, its value the unit's mean activation over the text's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.skills import columns
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.names import Half
from neuron_signatures.runs.skills.reader import Matrix, UnitStats
from neuron_signatures.skills.compare.prepared import columns as dense_columns
from neuron_signatures.skills.compare.prepared import fires
from neuron_signatures.skills.compare.request import Firing
from neuron_signatures.stats.auroc import areas
from neuron_signatures.stats.chance import benjamini_hochberg
from neuron_signatures.stats.ranks import column_ranks, mann_whitney

BINS: Final = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Edges of the histograms of `frequencies`."""
_VALUES: Final = 1 << 21
"""Values (texts times units) that are ranked at once."""


class Halves(NamedTuple):
    """Places of the chosen texts of each half in the run, and per class which of them it has."""

    find: Int64[np.ndarray, " find"]
    held_out: Int64[np.ndarray, " held_out"]
    in_find: Mapping[str, Bool[np.ndarray, " find"]]
    in_held_out: Mapping[str, Bool[np.ndarray, " held_out"]]


def halves_of(texts: pd.DataFrame, classes: Sequence[str]) -> Halves:
    """Raises `UsageError` for a class with fewer than two texts in a half."""
    at: dict[Half, np.ndarray] = {}
    for half in ("find", "held_out"):
        at[half] = np.flatnonzero((texts["half"] == half).to_numpy() & texts["class"].isin(classes).to_numpy())
    of = texts["class"].to_numpy()
    member = {half: {name: of[rows] == name for name in classes} for half, rows in at.items()}
    for half, masks in member.items():
        for name, mask in masks.items():
            if mask.sum() < 2:
                what = f"has {int(mask.sum())} texts of {name}, and 2 are the fewest"
                raise UsageError(what, where=f"the half {half}", next_step="Collect more texts")
    return Halves(at["find"], at["held_out"], member["find"], member["held_out"])


def tables(
    banks: Sequence[Bank], load: Callable[[Bank], UnitStats], halves: Halves, firing: Firing, *, bar: Bar
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`specific_units` and `frequencies`. Units that are silent in all texts of `find` are not tested."""
    specific, frequencies = [], []
    for bank in banks:
        stats = load(bank)
        fired = fires(stats, firing)
        specific += _bank_rows(stats, fired, halves)
        frequencies += _histograms(bank, fired, halves)
        bar.advance(1)
    return _with_q_and_rank(pd.concat(specific, ignore_index=True)), pd.DataFrame(frequencies)


def _bank_rows(stats: UnitStats, fired: Matrix, halves: Halves) -> list[pd.DataFrame]:
    means = stats.mean
    active = np.asarray(means[halves.find].sum(axis=0)).ravel() > 0
    units = np.flatnonzero(active)
    step = max(1, _VALUES // max(1, len(halves.find) + len(halves.held_out)))
    found = []
    for start in range(0, len(units), step):
        some = units[start : start + step]
        found += _chunk_rows(stats.bank, some, dense_columns(means, some), dense_columns(fired, some), halves)
    return found


def _chunk_rows(
    bank: Bank, units: np.ndarray, means: np.ndarray, fired: np.ndarray, halves: Halves
) -> list[pd.DataFrame]:
    find, held = means[halves.find].astype(np.float64), means[halves.held_out].astype(np.float64)
    fired_find, fired_held = fired[halves.find].astype(bool), fired[halves.held_out].astype(bool)
    ranks, held_ranks = column_ranks(find), column_ranks(held)
    labels = [bank.label(unit) for unit in units.tolist()]
    found = []
    for name, inside in halves.in_find.items():
        tests = mann_whitney(ranks, inside[None])
        in_held = halves.in_held_out[name]
        tested = areas(held, in_held, held_ranks)
        found.append(pd.DataFrame({
            "source": bank.source, "site": bank.site, "layer": bank.layer, "unit": units, "label": labels,
            "class": name, "auroc": tests.auroc[0], "p": tests.p[0], "odds_ratio": odds_ratio(fired_find, inside),
            "share_in": fired_find[inside].mean(axis=0), "share_out": fired_find[~inside].mean(axis=0),
            "mean_in": find[inside].mean(axis=0), "mean_out": find[~inside].mean(axis=0),
            "held_out_auroc": tested.auroc, "held_out_low": tested.low, "held_out_high": tested.high,
            "held_out_odds_ratio": odds_ratio(fired_held, in_held),
        }))  # fmt: skip
    return found


def odds_ratio(fired: Bool[np.ndarray, "text unit"], inside: Bool[np.ndarray, " text"]) -> np.ndarray:
    """Odds of firing in the class over those in other texts, ½ added to each of the four counts (Haldane 1956)."""
    a, b = fired[inside].sum(axis=0) + 0.5, (~fired[inside]).sum(axis=0) + 0.5
    c, d = fired[~inside].sum(axis=0) + 0.5, (~fired[~inside]).sum(axis=0) + 0.5
    ratio: np.ndarray = (a / b) / (c / d)
    return ratio


def _with_q_and_rank(frame: pd.DataFrame) -> pd.DataFrame:
    """q over all units of all banks, per class; rank within source and class: AUROC, then odds ratio, then label."""
    frame["q"] = np.nan
    for _, rows in frame.groupby("class", sort=False).indices.items():
        frame.loc[rows, "q"] = benjamini_hochberg(frame["p"].to_numpy()[rows])
    frame["near"] = -frame["auroc"].round(12)
    frame["effect"] = -frame["odds_ratio"].round(9)
    frame = frame.sort_values(["source", "class", "near", "effect", "label"], kind="stable", ignore_index=True)
    frame["rank"] = frame.groupby(["source", "class"], sort=False).cumcount() + 1
    return frame[list(columns.SPECIFIC)]


def _histograms(bank: Bank, fired: Matrix, halves: Halves) -> list[dict[str, Any]]:
    rows = []
    for name in halves.in_find:
        texts = np.concatenate([halves.find[halves.in_find[name]], halves.held_out[halves.in_held_out[name]]])
        share = np.asarray(fired[texts].sum(axis=0, dtype=np.float64)).ravel() / len(texts)
        counts, _ = np.histogram(share, BINS)
        rows += [
            {"source": bank.source, "site": bank.site, "layer": bank.layer, "class": name, "low": low, "high": high,
             "n_units": int(n)}
            for low, high, n in zip(BINS, BINS[1:], counts, strict=False)
        ]  # fmt: skip
    return rows


def length_control(texts: pd.DataFrame, halves: Halves) -> dict[str, dict[str, float]]:
    """AUROC of the number of tokens for each class, on both halves: what a unit that only counts tokens would reach."""
    n_tokens = texts["n_tokens"].to_numpy().astype(np.float64)
    found: dict[str, dict[str, float]] = {}
    for name in halves.in_find:
        both = (("find", halves.find, halves.in_find), ("held_out", halves.held_out, halves.in_held_out))
        found[name] = {
            half: float(areas(n_tokens[rows][:, None], inside[name]).auroc[0]) for half, rows, inside in both
        }
    return found
