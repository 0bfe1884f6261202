"""Records of one neuron from texts that a test writes down: tokens with `|` between them, `=7` after a token is its
activation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.records.exchange.imported import Given, Moments, import_neurons
from neuron_signatures.records.exchange.neuron_record import ActivationRecord
from neuron_signatures.records.exchange.options import ImportOptions
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records

AT = NeuronPole(0, 0, "+")


def written(text: str) -> ActivationRecord:
    pieces = [piece.partition("=") for piece in text.split("|")]
    return ActivationRecord(tokens=[p[0] for p in pieces], activations=[float(p[2] or 0) for p in pieces])


def record(tokens: Sequence[str], acts: Sequence[float]) -> ActivationRecord:
    return ActivationRecord(tokens=list(tokens), activations=list(acts))


def records_of(
    folder: Path, strongest: Sequence[str | ActivationRecord], sample: Sequence[str | ActivationRecord] = (), *,
    skip_first: int = 0,
) -> Records:  # fmt: skip
    """Records of the neuron `AT` in a new folder, all of the part explain. They are only of its positive pole."""
    top, rest = ([written(t) if isinstance(t, str) else t for t in texts] for texts in (strongest, sample))
    options = ImportOptions(folder, folder, "neuron_record", skip_first=skip_first, n_layers=1, d_mlp=1)
    import_neurons([Given((0, 0), Moments(), top, rest, 0, None)], options)
    return Records.open(folder)
