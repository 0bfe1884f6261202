"""What `compare` is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.names import Fires


@dataclass(frozen=True)
class Firing:
    """When a unit fires in a text (`runs.skills.names.Fires`), and when a set of units has it."""

    fires: Fires = "threshold"
    normalised_share: float = 0.5
    """Of the largest activation of a unit in any text, for `normalised`."""
    min_share: float = 0.1
    """A group's set has the units that fire in at least this share of its texts."""
    background_share: float = 0.5
    """The background `left_out` is without units that fire in more than this share of all texts."""


@dataclass(frozen=True)
class Resampling:
    """Numbers of random draws, and their seed."""

    n_draws: int = 1000
    """Bootstrap draws of an interval."""
    n_permutations: int = 1000
    """Permutations of labels of a null."""
    n_halves: int = 100
    """Random halves of each group."""
    seed: int = 0


@dataclass(frozen=True)
class ProbeSettings:
    """Sparse probes."""

    enabled: bool = True
    max_units: int = 256
    """Units that enter a probe: those with the largest standardised difference of class means on `find`."""
    n_penalties: int = 6
    n_controls: int = 5
    """Random labellings of the control task."""
    max_tokens: int = 2000
    """Tokens of the sample that a probe of tokens is fitted on, and as many it is tested on."""


@dataclass(frozen=True)
class CompareRequest:
    """Banks and classes are those that were collected; None means all."""

    run_dir: Path
    sources: tuple[str, ...] | None
    sites: tuple[str, ...] | None
    layers: tuple[int, ...] | None
    classes: tuple[str, ...] | None
    firing: Firing
    resampling: Resampling
    probes: ProbeSettings
    figures: tuple[str, ...] = ()
    """Formats of the pictures: png, svg."""
    dry_run: bool = False

    def has(self, bank: Bank) -> bool:
        """Whether the bank is among those that are asked for. `sites` chooses among those of autoencoders and
        directions."""
        return (
            (self.sources is None or bank.source in self.sources)
            and (self.sites is None or bank.site in self.sites or bank.site == "neuron")
            and (self.layers is None or bank.layer in self.layers)
        )

    def settings(self) -> dict[str, Any]:
        """What decides the results, for the record."""
        chosen = {name: getattr(self, name) for name in ("sources", "sites", "layers", "classes")}
        lists = {name: None if value is None else list(value) for name, value in chosen.items()}
        return {**lists, **vars(self.firing), **vars(self.resampling), "probes": vars(self.probes)}
