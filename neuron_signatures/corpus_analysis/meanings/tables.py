"""The rows of the tables of `meanings`."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int32, Int64

from neuron_signatures.corpus_analysis.meanings.groups import Distances, Measures, cohesion, members
from neuron_signatures.corpus_analysis.meanings.null import Null
from neuron_signatures.corpus_analysis.meanings.tokens import TokenShares, apart_tokens
from neuron_signatures.runs.corpus_analysis.folder import (
    CORPUS_ANALYSIS_FOLDER,
    MEANING_GROUPS,
    MEANING_WINDOWS,
    MEANINGS,
)
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.stats.chance import benjamini_hochberg

NAN = float("nan")


class ListOf(NamedTuple):
    """A neuron's strong windows of one pole, by rank from 1, and their contexts."""

    layer: int
    neuron: int
    pole: Pole
    rank: Int64[np.ndarray, " window"]
    window: Int64[np.ndarray, " window"]
    pos: Int64[np.ndarray, " window"]
    around: Int32[np.ndarray, "window token"]
    distances: Distances
    group: Int64[np.ndarray, " window"]

    @property
    def key(self) -> dict[str, Any]:
        return {"layer": self.layer, "neuron": self.neuron, "pole": self.pole}


class Rows:
    """Collects the rows of the three tables."""

    def __init__(self, corpus: Corpus, shares: TokenShares) -> None:
        self._corpus, self._shares = corpus, shares
        self._meanings: list[dict[str, Any]] = []
        self._groups: list[dict[str, Any]] = []
        self._windows: list[pd.DataFrame] = []

    def add(self, own: ListOf, found: Measures, null: Null | None, held_out: Measures | None) -> None:
        """A list with enough windows. Without a null its columns are undefined."""
        row = own.key | {
            "n_windows": found.n_windows, "n_groups": found.n_groups, "effective_number": found.effective_number,
            "within": found.within, "between": found.between, "statistic": found.diversity,
            "held_out_n_windows": held_out.n_windows if held_out else 0,
            "held_out_effective_number": held_out.effective_number if held_out else NAN,
            "held_out_statistic": held_out.diversity if held_out else NAN,
        }  # fmt: skip
        self._meanings.append(row | _null_cells(found.diversity, null))
        near = cohesion(own.distances, own.group)
        for number, at in enumerate(members(own.group)):
            ids = apart_tokens(own.around, at, self._shares)
            tokens = json.dumps(self._corpus.strings(ids))
            share = len(at) / len(own.group)
            self._groups.append(own.key | {"group": number, "n_windows": len(at), "share": share, "tokens": tokens,
                                           "cohesion": near[number]})  # fmt: skip
        columns = {"rank": own.rank, "window": own.window, "pos": own.pos, "group": own.group}
        self._windows.append(pd.DataFrame(own.key | columns))

    def add_short(self, layer: int, neuron: int, pole: Pole, n_windows: int) -> None:
        """A list with too few windows: its measures are undefined."""
        undefined = dict.fromkeys(
            ("effective_number", "within", "between", "statistic", "held_out_effective_number", "held_out_statistic"),
            NAN,
        )  # fmt: skip
        row = {"layer": layer, "neuron": neuron, "pole": pole, "n_windows": n_windows, "n_groups": 0}
        self._meanings.append(row | undefined | {"held_out_n_windows": 0} | _null_cells(NAN, None))

    def tables(self) -> dict[str, pd.DataFrame]:
        """By name; q-values are over all rows of MEANINGS with a p-value."""
        meanings = _frame(MEANINGS, self._meanings)
        meanings["q"] = benjamini_hochberg(meanings["p"].to_numpy(np.float64))
        windows = pd.concat(self._windows, ignore_index=True) if self._windows else _frame(MEANING_WINDOWS, [])
        return {MEANINGS: meanings, MEANING_GROUPS: _frame(MEANING_GROUPS, self._groups), MEANING_WINDOWS: windows}


def _null_cells(value: float, null: Null | None) -> dict[str, Any]:
    if null is None:
        return {"null_mean": NAN, "null_sd": NAN, "p": NAN, "n_null": 0, "null_effective_number": NAN, "q": NAN}
    drawn = null.diversity
    return {
        "null_mean": float(drawn.mean()), "null_sd": float(drawn.std(ddof=1)), "p": null.p(value),
        "n_null": len(drawn), "null_effective_number": float(null.effective_number.mean()), "q": NAN,
    }  # fmt: skip


def _frame(stem: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(CORPUS_ANALYSIS_FOLDER.tables[stem].columns))
