"""What a command of stage 8 asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.run import Run
from neuron_signatures.runs.weights.folder import Weight

if TYPE_CHECKING:
    from neuron_signatures.models.load import LoadedModel


@dataclass(frozen=True)
class Rules:
    """The limits of the classes (docs/poc8.md). What lies above the quantile `null` of random directions, or below
    1 - `null`, counts as high or low. `entropy_norm` is a quantile of the layer's norms, `entropy_layers` a share of
    the model's layers, the last ones."""

    kurtosis: float
    null: float
    entropy_norm: float
    entropy_layers: float


@dataclass(frozen=True)
class WeightsRequest:
    """`layers` as the user wrote them, None for all. `neighbours` may be empty; None means by all weights of the
    model. `n_random` directions and `n_permuted` neurons make the nulls."""

    layers: str | None
    neighbours: tuple[Weight, ...] | None
    top: int
    n_random: int
    n_permuted: int
    seed: int
    rules: Rules

    def settings(self, layers: list[int]) -> dict[str, Any]:
        """What decides the results, besides the model."""
        kinds = "all" if self.neighbours is None else list(self.neighbours)
        return {
            "layers": layers, "neighbours": kinds, "top": self.top, "n_random": self.n_random,
            "n_permuted": self.n_permuted, "seed": self.seed, "rules": asdict(self.rules),
        }  # fmt: skip


@dataclass(frozen=True)
class Target:
    """`load` gives the model, checked to be that of the run; `open_run` the run, which may be made then."""

    load: Callable[[], LoadedModel]
    open_run: Callable[[], Run]
