"""The stage record of scores, `<name>_meta.json`, and the settings that continued scores must share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuron_signatures.runs.logs.record import Count, Label, LogMeta, LogRecord, read_log_meta, read_log_settings
from neuron_signatures.runs.scores.names import LOGS, Control, Scorer, Split


class About(LogRecord):
    """What was scored, by what. `settings` are compared when scores are continued."""

    name: Label
    """The stem of the files."""
    set: Label
    """The set of explanations."""
    scorer: Scorer
    scorer_model: Label | None = None
    """The language model that was asked, or the subject of the run if a scorer runs it; None without one."""
    split: Split
    settings: dict[str, Any]


class ScoresMeta(About, LogMeta):
    """`scores/<name>_meta.json`."""

    n_lines: Count
    """Without lines that a later one replaced."""
    controls: dict[Control, Count]
    """Lines by control."""
    score_names: list[Label]


class ScoreSettings(About):
    """`scores/<name>_settings.json`, written before the first line of the log."""

    created_at_utc: Label


def read_meta(run_dir: Path, name: str) -> ScoresMeta:
    """The stage record. Raises `UsageError` if the scores are not finished, `BadRunError` if it is damaged."""
    return read_log_meta(LOGS, run_dir, name, ScoresMeta, unfinished="these scores are not finished")


def read_settings(run_dir: Path, name: str) -> ScoreSettings | None:
    """With which the scores were begun; None if they never were. Raises `BadRunError`."""
    return read_log_settings(LOGS, run_dir, name, ScoreSettings)
