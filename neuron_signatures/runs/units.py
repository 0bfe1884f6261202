"""What the units of a run are: the neurons of a model, or directions (`Manifest.units`)."""

from __future__ import annotations

from typing import Final

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.run import Run

DIRECTIONS: Final = "directions.safetensors"
"""The run's copy of its directions."""


def unit_kind(m: Manifest) -> str:
    """`neurons`, or the name and site of the directions, such as `pca res`."""
    return "neurons" if m.units is None else f"{m.units.source} {m.units.site}"


def units_size(m: Manifest) -> str:
    """`512`, or `64 (pca at res)`: the number of units of each layer, where the row is named by `units_word`."""
    return f"{m.d_mlp}" if m.units is None else f"{m.d_mlp} ({m.units.source} at {m.units.site})"


def units_text(m: Manifest) -> str:
    """`512 neurons`, or `64 directions (pca at res)`: the units of each layer."""
    if m.units is None:
        return f"{m.d_mlp:,} neurons"
    return f"{m.d_mlp:,} directions ({m.units.source} at {m.units.site})"


def units_word(m: Manifest) -> str:
    """`neurons` or `units`: the name of a row of facts."""
    return "neurons" if m.units is None else "units"


def need_neurons(run: Run, what: str) -> None:
    """Raise `UsageError` if the units of the run are not neurons; `what` is the mode or scorer that needs them."""
    if run.manifest.units is not None:
        raise UsageError(
            f"{what} needs neurons, and the units of this run are {units_text(run.manifest)}",
            where=str(run.path),
            next_step="Stages 4 to 6 work on directions; give a run of neurons here",
        )
