"""Planted neurons as records of a run, by the import that records of other tools take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from neuron_signatures.records.exchange.imported import import_records
from neuron_signatures.records.exchange.neuron_record import (
    NEURONS_FOLDER,
    ActivationRecord,
    NeuronId,
    NeuronRecord,
    decimal_acts,
    record_json,
)
from neuron_signatures.records.exchange.options import ImportOptions
from neuron_signatures.runs.files import explain_os_errors, write_text
from neuron_signatures.scoring.planted.neurons import Planted
from neuron_signatures.scoring.planted.passages import Passages

_PERCENT = 50, 20, 30
_N_STRONGEST = 100


def write_planted(run_dir: Path, passages: Passages, neurons: Sequence[Planted]) -> None:
    """A new run in which the neurons are layer 0, in their order, and all passages are the sample of each.

    The import divides the passages into parts by their text, not as `passages.parts` does.
    """
    with TemporaryDirectory() as folder:
        write_planted_files(Path(folder), passages, neurons)
        import_records(ImportOptions(Path(folder), run_dir, "neuron_record", model_name="planted", parts=_PERCENT))


def write_planted_files(folder: Path, passages: Passages, neurons: Sequence[Planted]) -> None:
    """The neurons as NeuronRecord files `neurons/0/<n>.json`."""
    layer = folder / NEURONS_FOLDER / "0"
    with explain_os_errors(layer):
        layer.mkdir(parents=True)
    for n, neuron in enumerate(neurons):
        write_text(layer, f"{n}.json", record_json(_record(n, passages, neuron), with_class_names=False))


def _record(n: int, passages: Passages, neuron: Planted) -> NeuronRecord:
    rows = [
        ActivationRecord(tokens=list(tokens), activations=decimal_acts(acts))
        for tokens, acts in zip(passages.tokens, neuron.acts, strict=True)
    ]
    strongest = np.argsort([-float(acts.max()) for acts in neuron.acts], kind="stable")[:_N_STRONGEST]
    every = np.concatenate(neuron.acts).astype(np.float64)
    return NeuronRecord(
        neuron_id=NeuronId(layer_index=0, neuron_index=n), random_sample=rows, mean=float(every.mean()),
        variance=float(every.var()), most_positive_activation_records=[rows[i] for i in strongest],
    )  # fmt: skip
