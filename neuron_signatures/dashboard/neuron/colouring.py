"""What the colours of a neuron's tokens mean: the quantity, and its full scale over the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from neuron_signatures.views.records.evidence import Evidence
from neuron_signatures.views.scale import NEURON_PERCENTILE, Limit, Spread, limit_of, relative, spread_of

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

Show = Literal["activation", "relative"]
SHOWS: tuple[Show, ...] = ("activation", "relative")


@dataclass(frozen=True)
class Colouring:
    """A quantity of one neuron with its full scale, the same for every prompt."""

    show: Show
    spread: Spread | None
    """The neuron's spread over the included tokens of the run; None without a finite value."""
    limit: Limit
    """Full scale over the run; larger magnitudes are marked."""
    corpus: bool = False
    """Whether spread and limit are those over the records of a corpus instead."""

    def of(self, values: Float32[np.ndarray, " pos"]) -> Float64[np.ndarray, " pos"]:
        """The quantity at these activations; infinite and undefined values stay what they are."""
        if self.show == "activation":
            return values.astype(np.float64)
        return np.where(np.isfinite(values), relative(values, self.spread), values.astype(np.float64))

    def number(self, value: float, decimals: int) -> str:
        """A value of the quantity with its sign."""
        return f"{value:+.{decimals}f}"

    def quantity(self) -> str:
        """The quantity in words, for legends and exports."""
        if self.show == "activation" or self.spread is None:
            return "activation"
        spread = self.spread
        return f"standard deviations ({spread.std:.3g}) from the mean ({spread.mean:+.3g}) over the {self._over}"

    def full_scale(self) -> str:
        """Where the limit is from, in words."""
        what = "|activation|" if self.show == "activation" else "magnitude"
        if self.limit.percentile == 100:
            return f"largest {what} of the {self._over}"
        what = what if self.show == "activation" else "magnitudes"
        return f"{self.limit.percentile:g}th percentile of the {what} of the {self._over}"

    @property
    def _over(self) -> str:
        return "corpus" if self.corpus else "run"


def can_be_relative(spread: Spread | None) -> bool:
    """Whether the neuron has a standard deviation to be relative to."""
    return spread is not None and spread.std > 0


def colouring_of(values: Float32[np.ndarray, " token"], show: Show) -> Colouring:
    """The colouring of a neuron by its included activations over the run.

    A neuron with the same activation everywhere is shown by activation.
    """
    spread = spread_of(values)
    if not can_be_relative(spread):
        show = "activation"
    colouring = Colouring(show, spread, Limit(0.0, NEURON_PERCENTILE, 0))
    return Colouring(show, spread, limit_of(colouring.of(values), NEURON_PERCENTILE))


def corpus_colouring(evidence: Evidence, show: Show) -> Colouring:
    """The colouring of a neuron by the records of a corpus: full colour is the largest value of the whole corpus."""
    if not can_be_relative(evidence.spread):
        show = "activation"
    return Colouring(show, evidence.spread, evidence.limit(relative=show == "relative"), corpus=True)
