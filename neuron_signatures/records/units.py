"""The directions that are the units of a run instead of neurons: checked, copied into the run, captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.models.bridge import open_capture
from neuron_signatures.models.capture import Capture
from neuron_signatures.models.directions import DirectionCapture
from neuron_signatures.models.info import site_widths
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.records.request import DirectionsRequest
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import sha256_file, whole_file
from neuron_signatures.runs.manifest import Backend, FileRecord, UnitsRecord
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.skills.directions import DirectionsFile, SiteDirections, choose_site, copy_directions
from neuron_signatures.runs.units import DIRECTIONS


@dataclass(frozen=True)
class RunUnits:
    """Directions in a file: the run's copy, or before the run is made the file that the command names."""

    path: Path
    chosen: SiteDirections


def units_of_run(run: Run) -> RunUnits | None:
    """The directions of a run; None if its units are neurons. Raises `BadRunError` if they are damaged."""
    record = run.manifest.units
    if record is None:
        return None
    path = inside(run.path, record.file)
    try:
        with DirectionsFile(path) as file:
            chosen = choose_site(file, record.site, record.source)
    except UsageError as e:
        raise BadRunError(e.what, where=str(path), next_step="Copy the run again") from e
    if (list(chosen.layers), chosen.n_units) != (run.manifest.layers, run.manifest.d_mlp):
        raise BadRunError(
            "has other directions than the manifest says", where=str(path), next_step="Copy the run again"
        )
    return RunUnits(path, chosen)


def units_of_file(request: DirectionsRequest, spec: ModelSpec, n_layers: int) -> RunUnits:
    """The directions that a command names. Raises `UsageError` if they are none of this model."""
    with DirectionsFile(request.path) as file:
        file.check(site_widths(spec, {bank.site for bank in file.banks}), n_layers)
        return RunUnits(request.path, choose_site(file, request.site, request.source))


def copy_units(units: RunUnits, run_dir: Path) -> tuple[UnitsRecord, FileRecord]:
    """Copy the chosen directions into the run, whole or not at all; returns what the manifest says of them."""
    chosen = units.chosen
    with DirectionsFile(units.path) as file:
        made_by = file.made.made_by
    from_sha256 = sha256_file(units.path)
    with whole_file(run_dir, DIRECTIONS) as out:
        digest, n_bytes = copy_directions(units.path, out, chosen)
    record = UnitsRecord(
        kind="directions", source=chosen.source, site=chosen.site, made_by=made_by, file=DIRECTIONS,
        from_sha256=from_sha256,
    )  # fmt: skip
    return record, FileRecord(name=DIRECTIONS, bytes=n_bytes, sha256=digest)


def refuse_other_units(run: Run, wanted: DirectionsRequest | None) -> None:
    """Raise `UsageError` if a command that makes or continues a run names other units than the run has."""
    found = run.manifest.units
    if wanted is None and found is None:
        return
    next_step = "Repeat the command with its units, or make another run"
    if wanted is None or found is None:
        have = "neurons" if found is None else f"directions ({found.source} at {found.site})"
        raise UsageError(f"the units of this run are {have}", where=str(run.path), next_step=next_step)
    with DirectionsFile(wanted.path) as file:
        chosen = choose_site(file, wanted.site, wanted.source)
    same = (chosen.source, chosen.site) == (found.source, found.site)
    if not same or sha256_file(wanted.path) != found.from_sha256:
        raise UsageError("the units of this run are other directions", where=str(run.path), next_step=next_step)


def open_units(
    model: LoadedModel, layers: Sequence[int], backend: Backend, units: RunUnits | None, *, token_ids: Sequence[int]
) -> Capture:
    """The capture of the run's units. Raises as `open_capture` and `DirectionCapture`."""
    if units is None:
        return open_capture(model, layers, backend, token_ids=token_ids)
    with DirectionsFile(units.path) as file:
        return DirectionCapture(model.hf, file, units.chosen, layers)
