"""What `clusters` found, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from neuron_signatures.runs.corpus_analysis.folder import CLUSTERINGS, CLUSTERS
from neuron_signatures.stats.chance import shown_p

_SHOWN = 8


@dataclass(frozen=True, eq=False)
class ClustersSummary:
    """The tables and the facts of the record."""

    run_dir: str
    tables: dict[str, pd.DataFrame]
    facts: dict[str, Any]

    def fields(self) -> dict[str, Any]:
        return {
            "run_dir": self.run_dir, **self.facts, "clusterings": self.tables[CLUSTERINGS].to_dict("records"),
            "clusters": self.tables[CLUSTERS].to_dict("records"),
        }  # fmt: skip

    def lines(self) -> list[str]:
        constant = f", {self.facts['n_constant']} constant ones left out" if self.facts["n_constant"] else ""
        found = [
            f"{self.facts['n_neurons']:,} neurons on {self.facts['n_tokens']:,} tokens{constant}, in {self.run_dir}"
        ]
        for row in self.tables[CLUSTERINGS].to_dict("records"):
            found += [_clustering_line(row), *self._cluster_lines(row["clustering"])]
        return found

    def _cluster_lines(self, clustering: str) -> list[str]:
        """The clusters that are most stable."""
        table = self.tables[CLUSTERS]
        mine = table[table["clustering"] == clustering].sort_values("stability", ascending=False, kind="stable")
        return [_cluster_line(row) for row in mine.head(_SHOWN).to_dict("records")]


def _clustering_line(row: dict[str, Any]) -> str:
    noise = f", {row['n_noise']} neurons in none" if row["n_noise"] else ""
    return (
        f"{row['clustering']}: {row['n_clusters']} clusters{noise}; adjusted Rand index of bootstraps "
        f"{_number(row['ari_mean'])} [{_number(row['ari_low'])}, {_number(row['ari_high'])}] "
        f"(shuffled {_number(row['null_ari_mean'])}); silhouette {_number(row['silhouette'], 3)} "
        f"(shuffled {_number(row['null_mean'], 3)} ± {_number(row['null_sd'], 3)}, p {_p(row)})"
    )


def _cluster_line(row: dict[str, Any]) -> str:
    line = f"  {row['cluster']}: {row['n_neurons']} neurons, stability {_number(row['stability'])}, {row['name']}"
    if row["n_windows"]:
        line += (
            f"; effect {row['effect']:.2g} nats (random sets {row['null_mean']:.2g} ± {row['null_sd']:.1g}, "
            f"p {_p(row)})"
        )
    return line


def _p(row: dict[str, Any]) -> str:
    return shown_p(row["p"], row["n_null"])


def _number(value: float, digits: int = 2) -> str:
    return "-" if pd.isna(value) else f"{value:.{digits}f}"
