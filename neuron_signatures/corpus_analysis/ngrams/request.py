"""A command that indexes n-grams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.records.names import Part

PART: Final[Part] = "explain"
HELD_OUT: Final[Part] = "select"


@dataclass(frozen=True)
class NgramsRequest:
    """What `ngrams` computes, of n-grams with at least `min_count` positions in explain and `max_ngrams` of each n."""

    run_dir: Path
    layers: str | None
    min_count: int
    max_ngrams: int
    top: int
    """Neurons of an n-gram, and n-grams of a pole or a cluster."""
    max_memory: int
    """Bytes of the sums; layers are done in groups that fit."""
    overrides: ModelOverrides
    batch_size: int | None = None

    def settings(self) -> dict[str, Any]:
        """What decides the result, for the record."""
        return {
            "layers": self.layers, "min_count": self.min_count, "max_ngrams": self.max_ngrams, "top": self.top,
        }  # fmt: skip
