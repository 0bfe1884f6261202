"""How circuits are tested by intervention."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from neuron_signatures.runs.plain import strict

SIZES: Final = (10, 20, 50, 100, 200, 500, 1000)
CONTROL_SIZE: Final = 200
"""Units of the set that is compared with random sets."""
N_RANDOM_SETS: Final = 1000
N_RANDOM_GROUPS: Final = 100
N_OTHERS: Final = 10
COPIES: Final = 64

Matched = Literal["layer and position", "layer"]


@dataclass(frozen=True)
class CurveSettings:
    """`sizes` of the sets of the strongest units; those of `control_sizes` are compared with `n_random` random sets,
    kept and ablated. These have as many units of each layer at each position as the set, or of each layer at any
    position (`matched`). `batch` is copies of the prompt per forward pass. Sets are scored only if m(M) - m(∅) is at
    least `min_effect`, in logits."""

    sizes: tuple[int, ...] = SIZES
    control_sizes: tuple[int, ...] = (CONTROL_SIZE,)
    n_random: int = N_RANDOM_SETS
    seed: int = 0
    batch: int = COPIES
    min_effect: float = 1.0
    matched: Matched = "layer and position"


@dataclass(frozen=True)
class SwapSettings:
    """`n_random` random groups per swap; `batch` is copies of the prompt per forward pass."""

    n_random: int = N_RANDOM_GROUPS
    seed: int = 0
    batch: int = COPIES


@dataclass(frozen=True)
class CheckSettings:
    """Of all tests. Groups are swapped from at most `n_others` other prompts."""

    curves: CurveSettings = field(default_factory=CurveSettings)
    swaps: SwapSettings = field(default_factory=SwapSettings)
    n_others: int = N_OTHERS

    def in_batches(self, copies: int) -> CheckSettings:
        """The same with this number of copies per forward pass."""
        return replace(self, curves=replace(self.curves, batch=copies), swaps=replace(self.swaps, batch=copies))

    def in_results(self) -> dict[str, Any]:
        """Those on which the result depends: all but the batches."""
        found: dict[str, Any] = strict(asdict(self))
        for part in ("curves", "swaps"):
            del found[part]["batch"]
        return found


def check_settings(n_random: int, n_others: int, seed: int) -> CheckSettings:
    """The defaults with these numbers of random sets and of other prompts."""
    return CheckSettings(CurveSettings(n_random=n_random, seed=seed), SwapSettings(seed=seed), n_others)
