"""Reads the tables that the modes of stage 7 wrote, after their records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.skills.meta import AGAIN, CollectMeta, ResultMeta, read_meta
from neuron_signatures.runs.skills.names import SKILLS, Mode
from neuron_signatures.runs.tables import read_table_file

if TYPE_CHECKING:
    import pandas as pd


def read_result(run_dir: Path, mode: Mode, stem: str, columns: Sequence[str]) -> pd.DataFrame:
    """These columns of a table of a finished mode.

    Raises `UsageError` if the mode has not been run, `BadRunError` for a table that is missing, damaged or of another
    schema.
    """
    read_meta(run_dir, mode, CollectMeta if mode == "collect" else ResultMeta)
    path = inside(run_dir, f"{SKILLS}/{table_name(stem)}")
    if not path.is_file():
        raise BadRunError("is missing", where=str(path), next_step=AGAIN)
    return read_table_file(path, columns=columns)


def refuse_other_collection(run_dir: Path, mode: Mode, collect: CollectMeta) -> None:
    """Raise `BadRunError` if the result of a mode is about units that were collected before."""
    if read_meta(run_dir, mode, ResultMeta).collect_sha256 != collect.record_sha256:
        what = f"the result of {mode} is about an earlier collection"
        next_step = f"Repeat --mode {mode}"
        raise BadRunError(what, where=f"{run_dir}/{SKILLS}", next_step=next_step)
