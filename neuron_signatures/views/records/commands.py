"""Whether a run has records, and the commands that make what is missing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.views.coords import NeuronAt

MOST_NAMED = 40
"""Neurons that a command names."""
_STAGE = ("python", "-m", "neuron_signatures.poc4_extract_records")


def has_records(run_dir: Path) -> bool:
    """Whether records were finished; they may be damaged."""
    return (run_dir / RECORDS / RECORDS_META).is_file()


def records_command(run_dir: Path, *flags: str) -> str:
    """Makes the records of a run."""
    return shlex.join([*_STAGE, "--run_dir", str(run_dir), *(flags or ("--corpus", "local"))])


def keep_command(run_dir: Path, at: NeuronAt, kept: Sequence[tuple[int, int]] = ()) -> str:
    """Keeps every activation of a neuron, and of those that are `kept`, unless they are too many for a command.

    The second pass is made again: other neurons are no longer kept.
    """
    more = [NeuronAt(*pair) for pair in kept] if len(kept) < MOST_NAMED else []
    return records_command(run_dir, "--neurons", ",".join(n.label for n in sorted({at, *more})))
