"""How a stage begins, continues and finishes a set of explanations. The caller holds the run's lock."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.index import LogIndex, set_names
from neuron_signatures.runs.explanations.lines import log_path, open_log
from neuron_signatures.runs.explanations.log import ExplanationLog, check_set_name
from neuron_signatures.runs.explanations.meta import ExplanationsMeta, SetSettings, read_set_meta, read_settings
from neuron_signatures.runs.explanations.names import (
    EXPLANATIONS,
    HUMAN_SET,
    log_name,
    meta_name,
    settings_name,
    source_name,
)
from neuron_signatures.runs.explanations.table import explanations_table
from neuron_signatures.runs.files import explain_os_errors, json_text, remove_files, write_text
from neuron_signatures.runs.opening import folder_below
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.results import ResultsWriter, table_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_record import run_identity, stage_record
from neuron_signatures.runs.versions import now_utc
from neuron_signatures.runs.writer import refuse_differences

STAGE = "poc5_explain_neurons"


def begin_set(run: Run, set_name: str, settings: Mapping[str, Any]) -> ExplanationLog:
    """The log of a set, which is new or was begun with the same settings. Raises `UsageError` with the differences.

    The settings are stored before the log exists. A finished set stays finished until an entry is appended.
    """
    check_set_name(set_name)
    if set_name == HUMAN_SET:
        raise UsageError(f"the set {HUMAN_SET} is for what people write", next_step="Give another name with --set")
    if not refuse_other_settings(run.path, set_name, settings):
        _refuse_taken(run.path, set_name)
        fields = SetSettings(set=set_name, created_at_utc=now_utc(), settings=strict(dict(settings)))
        with explain_os_errors(run.path / EXPLANATIONS), folder_below(run.path, EXPLANATIONS, create=True):
            pass
        write_text(run.path, settings_name(set_name), json_text(fields.model_dump()), below=EXPLANATIONS)
    return ExplanationLog(run.path, set_name)


def refuse_other_settings(run_dir: Path, set_name: str, settings: Mapping[str, Any]) -> bool:
    """Whether the set was begun. Raises `UsageError` with the differences if it was with other settings."""
    before = read_settings(run_dir, set_name)
    if before is None:
        return False
    where = run_dir / EXPLANATIONS / settings_name(set_name)
    what, next_step = f"set {set_name} was begun with other settings", "Give the same flags, or another name with --set"
    refuse_differences(before.settings, strict(dict(settings)), where, what=what, next_step=next_step)
    return True


def is_finished(run_dir: Path, set_name: str) -> bool:
    """Whether the set has a stage record."""
    return (run_dir / EXPLANATIONS / meta_name(set_name)).is_file()


def finish_set(
    run: Run,
    set_name: str,
    *,
    skipped: Mapping[str, Sequence[str]],
    mode: str = "explain",
    files: Sequence[str] = (),
    **more: Any,
) -> ExplanationsMeta:
    """Write the table of a set and then its stage record. `more` is stored in the record too (such as the costs).

    `files` were written into the folder before, and belong to the set. The log must be closed. Returns the record.
    """
    settings = read_settings(run.path, set_name)
    assert settings is not None, f"set {set_name} was not begun"
    index = LogIndex(run.path, set_name)
    index.read_more()
    writer = ResultsWriter(run.path, EXPLANATIONS)
    writer.begin(meta_name(set_name), companions=[table_name(set_name)])
    writer.table(set_name, explanations_table(index), csv=False)
    writer.json(settings_name(set_name), settings.model_dump())
    for name in files:
        writer.include(name)
    states = [s for at in index.poles for s in index.states(at) if not s.replaced]
    results = {
        "set": set_name,
        "n_explanations": len(states),
        "n_poles": len(index.poles),
        "counts": dict(sorted(Counter(s.line.status for s in states).items())),
        "skipped": {reason: list(names) for reason, names in skipped.items()},
        "log_bytes": index.end,
        "log_sha256": log_digest(run.path, set_name, index.end),
        **more,
    }
    record = stage_record(run_identity(run), mode, settings.settings, stage=STAGE, **results)
    writer.record(meta_name(set_name), record)
    return read_set_meta(run.path, set_name)


def remove_set(run_dir: Path, set_name: str) -> None:
    """Remove all files of a set, the stage record first."""
    names = (
        meta_name(set_name),
        table_name(set_name),
        source_name(set_name),
        log_name(set_name),
        settings_name(set_name),
    )
    for name in names:  # in this order: without its settings, a log cannot be continued
        remove_files(run_dir, [name], below=EXPLANATIONS)


def log_digest(run_dir: Path, set_name: str, n_bytes: int) -> str:
    """The sha256 of the first bytes of a log."""
    digest, left = hashlib.sha256(), n_bytes
    with open_log(log_path(run_dir, set_name)) as f:
        while left and (block := f.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _refuse_taken(run_dir: Path, set_name: str) -> None:
    """Raise `UsageError` if there is a log of this name whose settings are missing, or of another case."""
    taken = next((s for s in set_names(run_dir) if s.casefold() == set_name.casefold()), None)
    if taken is not None:
        why = "without settings to continue it" if taken == set_name else "and some file systems ignore case"
        what = f"there is a set {taken} already, {why}"
        raise UsageError(what, where=str(run_dir / EXPLANATIONS), next_step="Give another name with --set")
