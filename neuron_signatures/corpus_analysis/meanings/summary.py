"""What `meanings` found, or would do, in a few lines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.runs.files import human_seconds
from neuron_signatures.runs.tokens import visible

_SHOWN = 5
SEVERAL = 1.5
"""Effective number of groups from which a list counts as one with several meanings."""


@dataclass(frozen=True)
class MeaningsForecast:
    """`n_lists`: poles of neurons. `seconds` is measured on some of them."""

    n_neurons: int
    n_lists: int
    n_contexts: int
    """Windows to embed, at most."""
    n_draws: int
    seconds: float

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        return [
            f"forecast: {self.n_neurons:,} neurons, {self.n_lists:,} lists with at most {self.n_contexts:,} contexts, "
            f"{self.n_draws:,} draws for each number of windows: about {human_seconds(self.seconds)}"
        ]


@dataclass(frozen=True, eq=False)
class MeaningsSummary:
    """The tables and the facts of the record."""

    run_dir: str
    table: pd.DataFrame
    groups: pd.DataFrame
    facts: dict[str, Any]

    def fields(self) -> dict[str, Any]:
        return {"run_dir": self.run_dir, **self.facts, "most": [self._fields(row) for row in self._most()]}

    def lines(self) -> list[str]:
        f = self.facts
        found = [
            f"{f['n_neurons']:,} neurons, {f['n_measured']:,} of {f['n_lists']:,} lists have at least "
            f"{f['min_windows']} strong windows, in {self.run_dir}"
        ]
        if f["n_measured"]:
            found.append(
                f"effective number of groups: median {f['median_effective_number']:.2f} "
                f"(windows of random neurons {f['null_effective_number']:.2f}); diversity {f['median_statistic']:.2f} "
                f"(random {f['null_mean']:.2f} ± {f['null_sd']:.2f})"
            )
            found.append(
                f"less diverse than windows of random neurons (q <= 0.05): {f['n_fewer']:,} lists; more: "
                f"{f['n_more']:,}; {f['n_several']:,} of the former have an effective number >= {SEVERAL}"
            )
        most = self._most()
        found += ["the lists whose groups are furthest apart:"] if most else []
        for row in most:
            groups = "; ".join(f"{g['share']:.0%} {' '.join(map(visible, g['tokens'][:4]))}" for g in self._groups(row))
            label = f"L{row['layer']}N{row['neuron']}{row['pole']}"
            number = f"{row['effective_number']:.2f} effective groups of {row['n_windows']} windows"
            found.append(f"  {label} {number}, q {row['q']:.2g}: {groups}")
        return found

    def _most(self) -> list[dict[str, Any]]:
        """The lists whose groups are furthest apart, of those with several groups that are less diverse than random."""
        t = self.table
        several = t[(t["q"] <= 0.05) & (t["statistic"] < t["null_mean"]) & (t["effective_number"] >= SEVERAL)]
        order = np.argsort(-(several["between"] - several["within"]).to_numpy(), kind="stable")[:_SHOWN]
        rows: list[dict[str, Any]] = several.iloc[order].to_dict("records")
        return rows

    def _groups(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        own = self.groups
        own = own[(own["layer"] == row["layer"]) & (own["neuron"] == row["neuron"]) & (own["pole"] == row["pole"])]
        own = own[own["group"] < 4]
        return [{"share": g["share"], "tokens": json.loads(g["tokens"])} for g in own.to_dict("records")]

    def _fields(self, row: dict[str, Any]) -> dict[str, Any]:
        label = f"L{row['layer']}N{row['neuron']}{row['pole']}"
        return {"list": label, "effective_number": row["effective_number"], "groups": self._groups(row)}
