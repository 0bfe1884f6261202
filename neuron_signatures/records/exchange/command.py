"""The export that `poc4_extract_records --output_dir` makes after an extraction."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.records.exchange.export import export_records
from neuron_signatures.records.exchange.options import ExportOptions, ExportSummary


def export_folder(run_dir: Path, out_dir: Path) -> ExportSummary:
    """NeuronRecord files of all neurons whose rows are stored, over all documents, at `out_dir/neurons/`.

    As with the earlier tool, files of the same neurons are replaced; those of other neurons stay.
    """
    return export_records(run_dir, ExportOptions("neuron_record", out_dir, overwrite=True))
