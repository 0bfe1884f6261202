"""What `similar` found, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.runs.corpus_analysis.folder import SIMILARITIES

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class SimilarSummary:
    """The table and the facts of the record."""

    run_dir: str
    table: pd.DataFrame
    facts: dict[str, Any]

    def fields(self) -> dict[str, Any]:
        return {"run_dir": self.run_dir, **self.facts, "best": [_fields(row) for row in self._best()]}

    def lines(self) -> list[str]:
        found = [f"{self.facts['n_neurons']:,} neurons among {self.facts['n_candidates']:,}, in {self.run_dir}"]
        for kind in SIMILARITIES:
            if kind not in self.facts:
                continue
            of = self.facts[kind]
            first = self.table[(self.table["kind"] == kind) & (self.table["rank"] == 1)]
            above = (first["value"].abs() > first["null_high"]).sum()
            with_null = int(first["null_high"].notna().sum())
            on = f"{of['n_tokens']:,} tokens" if kind == "activation" else f"lists of {of['list_length']} windows"
            median = first["value"].abs().median()
            line = (
                f"{kind} ({on}): best value, median {median:.2f}" if len(first) else f"{kind} ({on}): nothing is alike"
            )
            if with_null:
                mean, sd, high = of["null_mean"], of["null_sd"], of["null_high"]
                line += (
                    f"; above the 95th percentile of the null for {above} of {with_null}"
                    f" (null {mean:.2f} ± {sd:.2f}, 95 % below {high:.2f})"
                )
            found.append(line)
        for row in self._best():
            own, other = _name(row, ""), _name(row, "other_")
            found.append(f"  {row['kind']}: {own} and {other} {row['value']:+.3f}")
        return found

    def _best(self) -> list[dict[str, Any]]:
        """The most similar pairs of each kind, each once."""
        shown = []
        for kind in SIMILARITIES:
            of = self.table[(self.table["kind"] == kind) & (self.table["rank"] == 1)]
            seen: set[frozenset[str]] = set()
            order = np.argsort(-of["value"].abs().to_numpy(), kind="stable")
            for row in of.iloc[order].to_dict("records"):
                pair = frozenset((_name(row, ""), _name(row, "other_")))
                if pair not in seen and len(seen) < _SHOWN:
                    seen.add(pair)
                    shown.append(row)
        return shown


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": row["kind"], "neuron": _name(row, ""), "other": _name(row, "other_"), "value": row["value"],
        "null_high": row["null_high"],
    }  # fmt: skip


def _name(row: dict[str, Any], prefix: str) -> str:
    return f"L{row[f'{prefix}layer']}N{row[f'{prefix}neuron']}{row[f'{prefix}pole']}"
