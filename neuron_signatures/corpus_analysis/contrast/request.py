"""A command that contrasts two sets of positions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_signatures.corpus_analysis.contrast.sides import Unit
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.records.names import Part

PART: Final[Part] = "explain"
HELD_OUT: Final[Part] = "select"
MAX_Q: Final = 0.05


@dataclass(frozen=True)
class ContrastRequest:
    """What `contrast` computes. `a` and `b` are of the grammar; `b` None is `rest`."""

    run_dir: Path
    a: str
    b: str | None
    name: str | None
    layers: str | None
    unit: Unit
    max_positions: int
    n_null: int
    seed: int
    overrides: ModelOverrides
    batch_size: int | None = None

    def settings(self) -> dict[str, Any]:
        """What decides the result, for the record."""
        return {
            "a": self.a, "b": self.b or "rest", "layers": self.layers, "unit": self.unit,
            "max_positions": self.max_positions, "n_null": self.n_null, "seed": self.seed, "max_q": MAX_Q,
        }  # fmt: skip
