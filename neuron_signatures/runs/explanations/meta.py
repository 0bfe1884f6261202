"""The stage record of a set, `<set>_meta.json`, and the settings that a continued set must share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuron_signatures.runs.explanations.names import SETS
from neuron_signatures.runs.logs.record import Count, Label, LogMeta, LogRecord, read_log_meta, read_log_settings


class ExplanationsMeta(LogMeta):
    """`explanations/<set>_meta.json`. Its `mode` is `explain` or `import`; people append to a finished log."""

    n_explanations: Count
    """Without failed requests that were sent again."""
    skipped: dict[Label, list[Label]]
    """Names of the poles without a request, by reason."""


class SetSettings(LogRecord):
    """`explanations/<set>_settings.json`, written before the first line of the log."""

    set: Label
    created_at_utc: Label
    settings: dict[str, Any]


def read_set_meta(run_dir: Path, set_name: str) -> ExplanationsMeta:
    """The stage record of a set. Raises `UsageError` if it is not finished, `BadRunError` if the record is damaged."""
    return read_log_meta(SETS, run_dir, set_name, ExplanationsMeta, unfinished="this set is not finished")


def read_settings(run_dir: Path, set_name: str) -> SetSettings | None:
    """The settings with which a set was begun; None for a set that was never begun. Raises `BadRunError`."""
    return read_log_settings(SETS, run_dir, set_name, SetSettings)
