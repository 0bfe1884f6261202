"""How a stage begins, continues and finishes a set of explanations. The caller holds the run's lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.index import LogIndex
from neuron_signatures.runs.explanations.log import ExplanationLog, check_set_name
from neuron_signatures.runs.explanations.meta import ExplanationsMeta, SetSettings, read_set_meta, read_settings
from neuron_signatures.runs.explanations.names import EXPLANATIONS, HUMAN_SET, SETS, source_name
from neuron_signatures.runs.explanations.table import explanations_table
from neuron_signatures.runs.logs.names import settings_name
from neuron_signatures.runs.logs.record import log_digest, refuse_taken, remove_log, write_log_settings
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.results import ResultsWriter, meta_name, table_name
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
        refuse_taken(SETS, run.path, set_name, there="there is a set", next_step="Give another name with --set")
        fields = SetSettings(set=set_name, created_at_utc=now_utc(), settings=strict(dict(settings)))
        write_log_settings(SETS, run.path, set_name, fields)
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
        "log_sha256": log_digest(SETS, run.path, set_name, index.end),
        **more,
    }
    record = stage_record(run_identity(run), mode, settings.settings, stage=STAGE, **results)
    writer.record(meta_name(set_name), record)
    return read_set_meta(run.path, set_name)


def remove_set(run_dir: Path, set_name: str) -> None:
    """Remove all files of a set, the stage record first."""
    remove_log(SETS, run_dir, set_name, source_name(set_name))
