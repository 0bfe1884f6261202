"""The record of a validation: how well rankings agree with real ablations."""

from __future__ import annotations

from neuron_signatures.runs.result_records import ValidationRecord, read_record
from neuron_signatures.runs.run import Run
from neuron_signatures.views.origin import another_dump


def read_validation(run: Run, stem: str) -> ValidationRecord:
    """The record, with a first warning if it is of another dump.

    Raises `UsageError` if it no longer exists, `BadRunError` if it is damaged.
    """
    record = read_record(run.path, f"{stem}.json", ValidationRecord)
    doubt = another_dump(run.manifest, record)
    return record.model_copy(update={"warnings": [doubt, *record.warnings]}) if doubt else record
