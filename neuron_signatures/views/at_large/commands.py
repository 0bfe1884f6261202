"""Commands of the stages that look at neurons at large, for viewers to show."""

from __future__ import annotations

import shlex
from pathlib import Path

from neuron_signatures.runs.comparisons.folder import comparison_folder
from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER
from neuron_signatures.runs.weights.folder import WEIGHTS_FOLDER
from neuron_signatures.views.records.commands import has_records, records_command

MODE_WORDS: dict[str, str] = {
    "statistics": "weight statistics", "similar": "similar neurons on the corpus", "clusters": "clusters of neurons",
    "meanings": "several meanings", "ngrams": "n-grams of the corpus",
}  # fmt: skip


FORECAST = "--dry_run"
"""The flag with which stage 8 prints what it would cost, and stops."""


def weights_command(run_dir: Path, *flags: str) -> str:
    """Computes weight statistics and neighbours; reads the model, no data."""
    return shlex.join([*WEIGHTS_FOLDER.command.split(), "--run_dir", str(run_dir), *flags])


def corpus_command(run_dir: Path, mode: str, *flags: str) -> str:
    """Makes one analysis of the records; of a run without records, what makes those."""
    if not has_records(run_dir):
        return records_command(run_dir)
    command = CORPUS_ANALYSIS_FOLDER.command.format(mode=mode).split()
    return shlex.join([*command, "--run_dir", str(run_dir), *flags])


def compare_command(run_dir: Path) -> str:
    """Compares a run with another one."""
    return shlex.join([*comparison_folder("x").command.split(), "--runs", str(run_dir), "OTHER_RUN"])
