"""The names of a run's signatures, for the summaries of other modes."""

from __future__ import annotations

from collections.abc import Mapping

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.results import SIGNATURES
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table

# Name of a signature by (layer, neuron, pole).
Names = Mapping[tuple[int, int, str], str]


def signature_names(run: Run) -> Names:
    """The names of the run's signatures; none if they have not been made or cannot be read."""
    try:
        table = read_table(run.path, SIGNATURES, columns=["layer", "neuron", "pole", "name"])
    except (UsageError, BadRunError):
        return {}
    named = table[table["name"].notna()]
    rows = zip(*(named[c].tolist() for c in ("layer", "neuron", "pole", "name")), strict=True)
    return {(int(layer), int(neuron), str(pole)): str(name) for layer, neuron, pole, name in rows}
