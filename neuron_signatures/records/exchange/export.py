"""Exports the records of neurons whose rows are stored, one neuron at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.records.exchange.neuron_record import (
    NEURONS_FOLDER,
    ActivationRecord,
    NeuronId,
    NeuronRecord,
    decimal_acts,
    record_json,
)
from neuron_signatures.records.exchange.neuronpedia import BatchWriter, write_neuron
from neuron_signatures.records.exchange.options import ExportOptions, ExportSummary
from neuron_signatures.records.exchange.strongest import strongest_rows
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors, write_text
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Window

_DIGITS = 9
"""Significant digits of skewness and kurtosis, so that they stay the same when they are imported."""


def export_records(run_dir: Path, options: ExportOptions) -> ExportSummary:
    """Write the records of a run in another tool's format.

    Raises `UsageError` if no neuron of those asked for has rows, or if the folder holds an export already.
    """
    with Records.open(run_dir) as records:
        wanted = options.neurons if options.neurons is not None else tuple(records.sampled_neurons)
        chosen = [(layer, neuron) for layer, neuron in wanted if records.sampled(layer, neuron)]
        if not chosen:
            what = "no neuron with stored rows to export" if not wanted else "none of these neurons has stored rows"
            next_step = "Choose neurons with `poc4_extract_records --neurons`, which runs the second pass"
            raise UsageError(what, where=str(run_dir), next_step=next_step)
        if options.format == "neuron_record":
            written = [_write_record(records, layer, neuron, options) for layer, neuron in _into_new(chosen, options)]
            n_windows, n_bytes = (sum(column) for column in zip(*written, strict=True))
        else:
            n_windows, n_bytes = _write_batches(records, list(_into_new(chosen, options)), options)
    return ExportSummary(options.out_dir, len(chosen), n_windows, len(wanted) - len(chosen), n_bytes)


def neuron_record(records: Records, layer: int, neuron: int, options: ExportOptions) -> NeuronRecord:
    """One neuron as a NeuronRecord."""
    parts = options.parts
    strongest = strongest_rows(records, layer, neuron, options)
    random = records.random_windows(layer, neuron, options.n_random, parts=parts, seed=options.seed)
    random.sort(key=lambda w: w.window)
    m = records.moments(layer, neuron, parts=parts)
    return NeuronRecord(
        neuron_id=NeuronId(layer_index=layer, neuron_index=neuron),
        random_sample=[_activation_record(w) for w in random],
        mean=m.mean,
        variance=m.variance,
        skewness=_rounded(m.skewness),
        kurtosis=_rounded(m.kurtosis),
        most_positive_activation_records=[_activation_record(w) for w in strongest],
    )


def _activation_record(window: Window) -> ActivationRecord:
    assert window.acts is not None
    return ActivationRecord(tokens=list(window.tokens), activations=decimal_acts(window.acts))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _write_record(records: Records, layer: int, neuron: int, options: ExportOptions) -> tuple[int, int]:
    """The number of texts and of bytes."""
    record = neuron_record(records, layer, neuron, options)
    text = record_json(record, with_class_names=options.with_class_names)
    folder = options.out_dir / NEURONS_FOLDER / str(layer)
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder, f"{neuron}.json", text)
    return len(record.random_sample) + len(record.most_positive_activation_records), len(text.encode())


def _write_batches(records: Records, chosen: list[tuple[int, int]], options: ExportOptions) -> tuple[int, int]:
    n_windows = n_bytes = 0
    for number, first in enumerate(range(0, len(chosen), options.batch_size)):
        with BatchWriter(options.out_dir, number) as batch:
            for layer, neuron in chosen[first : first + options.batch_size]:
                n_windows += write_neuron(batch, records, layer, neuron, options)
        n_bytes += batch.n_bytes
    return n_windows, n_bytes


def _into_new(chosen: list[tuple[int, int]], options: ExportOptions) -> Iterator[tuple[int, int]]:
    """The neurons, if the folder holds no export. Raises `UsageError` if it does."""
    folders = (NEURONS_FOLDER,) if options.format == "neuron_record" else ("features", "activations")
    for folder in (options.out_dir / name for name in folders):
        if not options.overwrite and folder.is_dir() and any(itertools.islice(folder.iterdir(), 1)):
            next_step = "Choose another folder, or overwrite it"
            raise UsageError("this folder holds an export already", where=str(folder), next_step=next_step)
    yield from chosen
