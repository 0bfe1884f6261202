"""Checking every size, checksum, shape and id of a run against its manifest, and its results against their records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.lock import holder
from neuron_signatures.runs.names import TMP_PREFIX, is_activation_file
from neuron_signatures.runs.pipeline_record import pipeline_faults
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tensors import zip_fault
from neuron_signatures.runs.verify_results import check_results


@dataclass(frozen=True)
class Verification:
    """The result of `verify_run`. `faults` make the run or a result unusable; `remarks` do not."""

    n_files: int
    n_bytes: int
    checksums: bool
    """Whether sizes and checksums were checked; format 1 records none."""
    n_records: int
    """Stage records."""
    n_result_files: int
    """Files that the stage records list."""
    faults: list[str]
    remarks: list[str]


def verify_run(run_dir: Path) -> Verification:
    """Read and check every file of the run. Raises `BadRunError` if the manifest is invalid."""
    with Run.open(run_dir, check="sha256") as run:
        names = run.file_names()
        checksums = bool(run.manifest.files) or not names  # a run of records only has no tensor files
        faults = [fault for name in names for fault in run.check_file(name, check="sha256") or _crc_faults(run, name)]
        listed = set(names)
        remarks = [
            f"{p.name} is not part of the run"
            for p in sorted(run_dir.iterdir())
            if p.name.startswith(TMP_PREFIX) or (is_activation_file(p.name) and p.name not in listed)
        ]
        remarks += [f"{p.probe_id}: {p.nonfinite} values are not finite" for p in run.prompts if p.nonfinite]
        remarks += [f"{p.prompt_id}: failed, {p.reason}" for p in run.manifest.failed_prompts]
        results = check_results(run)
        faults += pipeline_faults(run_dir)
        if who := holder(run_dir):
            remarks.append(f"being written by {who}")
        return Verification(
            len(names), run.nbytes(), checksums, results.n_records, results.n_files, faults + results.faults,
            remarks + results.remarks,
        )  # fmt: skip


def _crc_faults(run: Run, name: str) -> list[str]:
    """The fault of a `.pt` file without a checksum in the manifest, from the CRCs in the file."""
    if run.manifest.files or not name.endswith(".pt"):
        return []
    fault = zip_fault(run.path / name)
    return [BadRunError(fault, where=str(run.path / name), next_step="Copy the run again").line()] if fault else []
