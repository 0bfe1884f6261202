"""A command that looks for several meanings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_signatures.corpus_analysis.choice import NeuronChoice
from neuron_signatures.corpus_analysis.contexts import ContextSettings
from neuron_signatures.runs.records.names import POLES, Part, Pole

PART: Final[Part] = "explain"
HELD_OUT: Final[Part] = "select"
QUANTILE: Final = 0.25
"""Windows are divided where they are as far apart as the nearest quarter of the pairs of windows of random neurons."""
POOL: Final = 2000
"""Random neurons whose windows make the null."""


@dataclass(frozen=True)
class MeaningsRequest:
    """What `meanings` computes: on at most `n_windows` of each list, of poles with at least `min_windows` of them."""

    run_dir: Path
    choice: NeuronChoice
    contexts: ContextSettings
    poles: tuple[Pole, ...] = POLES
    n_windows: int = 100
    min_windows: int = 10
    n_null: int = 500
    seed: int = 0
    device: str = "auto"

    def settings(self) -> dict[str, Any]:
        """What decides the result, for the record."""
        return {
            "poles": list(self.poles), "n_windows": self.n_windows, "min_windows": self.min_windows,
            "n_null": self.n_null, "seed": self.seed, "layers": self.choice.layers, "quantile": QUANTILE,
            "contexts": self.contexts.record(),
        }  # fmt: skip
