"""The null of a score: what explanations of other neurons score, pooled over neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Null:
    """Scores of other neurons' explanations, pooled over the neurons of a layer (or of all layers).

    Pooled over neurons, since the best of the few draws of one neuron would be biased upwards.
    """

    values: tuple[float, ...]
    """Defined ones, ascending."""
    n_undefined: int

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.values)) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation of the draws; None for fewer than two."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def share_at_least(self, value: float) -> float | None:
        """The share of the draws that are at least as good, as a p-value: (1 + n at least) / (1 + n draws).

        Undefined draws count as draws that are worse. None without draws.
        """
        n = len(self.values) + self.n_undefined
        at_least = len(self.values) - int(np.searchsorted(self.values, value, side="left"))
        return (1 + at_least) / (1 + n) if n else None


def null_of(values: Sequence[float | None]) -> Null:
    """Draws as a null."""
    defined = sorted(v for v in values if v is not None)
    return Null(tuple(defined), len(values) - len(defined))
