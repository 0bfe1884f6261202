"""What `ngrams` found, or would do, in a few lines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuron_signatures.corpus_analysis.ngrams.strongest import MARGIN
from neuron_signatures.runs.files import human_bytes, human_seconds
from neuron_signatures.runs.tokens import visible

_SHOWN = 5
_LEAST_HELD_OUT = 5


@dataclass(frozen=True)
class NgramsForecast:
    """`n_passes` of the model over its part; `seconds` is None if the records do not say how fast the model runs."""

    n_ngrams: int
    n_neurons: int
    n_tokens: int
    n_groups: int
    """Groups of layers. The model runs once over all tokens for each."""
    memory_bytes: int
    seconds: float | None

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        took = "unknown time" if self.seconds is None else f"about {human_seconds(self.seconds)}"
        times = "once" if self.n_groups == 1 else f"{self.n_groups} times"
        return [
            f"forecast: {self.n_ngrams:,} n-grams with {self.n_neurons:,} neurons; the model runs {times} over "
            f"{self.n_tokens:,} tokens: {took}, {human_bytes(self.memory_bytes)} of memory besides the model"
        ]


@dataclass(frozen=True, eq=False)
class NgramsSummary:
    """Two of the tables and the facts of the record."""

    run_dir: str
    ngrams: pd.DataFrame
    neurons: pd.DataFrame
    facts: dict[str, Any]

    def fields(self) -> dict[str, Any]:
        return {"run_dir": self.run_dir, **self.facts}

    def lines(self) -> list[str]:
        f = self.facts
        counts = ", ".join(f"{n:,} of {k}" for k, n in f["n_ngrams"].items())
        found = [
            f"{len(self.ngrams):,} n-grams ({counts} tokens) and {f['n_neurons']:,} neurons, in {self.run_dir}",
            f"{f['n_positions']:,} positions of single tokens in explain, {f['held_out_positions']:,} in select",
        ]
        if f["mean_effect"] is not None and f["mean_held_out_effect"] is not None:
            found.append(
                f"mean effect of the listed pairs of n-gram and neuron: {f['mean_effect']:.2f} standard deviations on "
                f"explain, where they were chosen; {f['mean_held_out_effect']:.2f} on select"
            )
        adds = ~((self.neurons["effect"] - self.neurons["suffix_effect"]).abs() < MARGIN)  # also without a suffix
        often = self.ngrams.loc[self.ngrams["held_out_count"] >= _LEAST_HELD_OUT, "ngram"]
        best = self.neurons[(self.neurons["rank"] == 1) & adds & self.neurons["ngram"].isin(often)]
        best = best.iloc[np.argsort(-best["held_out_effect"].abs().fillna(0).to_numpy(), kind="stable")[:_SHOWN]]
        texts = dict(zip(self.ngrams["ngram"], self.ngrams["text"], strict=True))
        counts_of = dict(zip(self.ngrams["ngram"], self.ngrams["count"], strict=True))
        found += [f"the largest on select (at least {_LEAST_HELD_OUT} positions there), with positions in explain:"
                  ] if len(best) else []  # fmt: skip
        for row in best.to_dict("records"):
            label = f"L{row['layer']}N{row['neuron']}"
            found.append(f"  '{visible(texts[row['ngram']])}' ({counts_of[row['ngram']]:,}): {label} "
                         f"{row['effect']:+.2f}, on select {row['held_out_effect']:+.2f}")  # fmt: skip
        return found
