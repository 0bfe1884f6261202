"""What `contrast` found, or would do, in a few lines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from neuron_signatures.runs.files import human_bytes, human_seconds

_SHOWN = 10


@dataclass(frozen=True)
class ContrastForecast:
    """Positions of both sides that would be compared in explain and in select, and what it takes."""

    n_a: int
    n_b: int
    held_out_a: int
    held_out_b: int
    n_neurons: int
    n_tokens: int
    memory_bytes: int
    seconds: float | None
    """None if the records do not say how fast the model runs."""

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        took = "unknown time" if self.seconds is None else f"about {human_seconds(self.seconds)}"
        return [
            f"forecast: {self.n_a:,} against {self.n_b:,} positions in explain, {self.held_out_a:,} against "
            f"{self.held_out_b:,} in select, {self.n_neurons:,} neurons",
            f"the model runs over {self.n_tokens:,} tokens: {took}, {human_bytes(self.memory_bytes)} of memory besides "
            "the model",
        ]


@dataclass(frozen=True, eq=False)
class ContrastSummary:
    """The table by rank, the facts of the record and its warnings."""

    run_dir: str
    name: str
    table: pd.DataFrame
    facts: dict[str, Any]
    warnings: list[str]

    def fields(self) -> dict[str, Any]:
        best = self.table.head(_SHOWN).to_dict("records")
        return {"run_dir": self.run_dir, "name": self.name, **self.facts, "warnings": self.warnings, "best": best}

    def lines(self) -> list[str]:
        f = self.facts
        null = f["null_counts"]
        by_chance = f" (permuted labels: {sum(null) / len(null):.1f}, at most {max(null)})" if null else ""
        found = [
            f"contrast {self.name} of {self.run_dir}: {f['n_a']:,} positions of A against {f['n_b']:,} of B",
            f"{f['n_found']:,} of {f['n_neurons']:,} neurons have q <= 0.05{by_chance}",
        ]
        if f["n_same_side_held_out"] is not None:
            found.append(f"on select {f['n_same_side_held_out']:,} of these are on the same side")
        for row in self.table.head(_SHOWN).to_dict("records"):
            found.append(
                f"{row['rank']:>4}  {'L{layer}N{neuron}'.format(**row):<10} AUROC {row['auroc']:.3f}  "
                f"difference {row['difference']:+.2f}  q {row['q']:.2g}  select {_interval(row)}"
            )
        return found + [f"warning: {text}" for text in self.warnings]


def _interval(row: dict[str, Any]) -> str:
    if row["held_out_auroc"] != row["held_out_auroc"]:
        return "none"
    return f"{row['held_out_auroc']:.3f} ({row['held_out_low']:.3f} to {row['held_out_high']:.3f})"
