"""Reads the result tables of `skills/`, with the record that makes each of them complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.skills import columns, names
from neuron_signatures.runs.skills.meta import AGAIN, CollectMeta, ResultMeta, SkillsRecord, read_meta
from neuron_signatures.runs.skills.names import MODES, SKILLS, Mode, record_name
from neuron_signatures.runs.tables import iter_table_file, read_table_file

if TYPE_CHECKING:
    import pandas as pd


class Table(NamedTuple):
    """A table: the mode that writes it, and its columns."""

    mode: Mode
    columns: Mapping[str, str]


TABLES: Final = {
    names.TEXTS: Table("collect", columns.TEXTS),
    names.GATES: Table("collect", columns.GATES),
    names.SIMILARITIES: Table("compare", columns.SIMILARITIES),
    names.SEPARATION: Table("compare", columns.SEPARATION),
    names.SPECIFIC: Table("compare", columns.SPECIFIC),
    names.FREQUENCIES: Table("compare", columns.FREQUENCIES),
    names.PROBES: Table("compare", columns.PROBES),
    names.UNIT_EXPLANATIONS: Table("explain", columns.UNIT_EXPLANATIONS),
    names.CLASSIFICATIONS: Table("classify", columns.CLASSIFICATIONS),
    names.AGREEMENT: Table("classify", columns.AGREEMENT),
    names.STEERING: Table("steer", columns.STEERING),
    names.STEERING_SUMMARY: Table("steer", columns.STEERING_SUMMARY),
}


def finished_modes(run_dir: Path) -> tuple[Mode, ...]:
    """The modes whose record is there."""
    return tuple(mode for mode in MODES if (run_dir / SKILLS / record_name(mode)).is_file())


def read_record(run_dir: Path, mode: Mode) -> CollectMeta | ResultMeta:
    """The stage record of a mode. Raises as `read_meta`."""
    if mode == "collect":
        return read_meta(run_dir, mode, CollectMeta)
    return read_meta(run_dir, mode, ResultMeta)


def outdated(run_dir: Path, record: SkillsRecord) -> bool:
    """Whether a result is about texts and units that were collected anew since."""
    if not isinstance(record, ResultMeta):
        return False
    return read_meta(run_dir, "collect", CollectMeta).record_sha256 != record.collect_sha256


def refuse_other_collection(run_dir: Path, mode: Mode, collect: CollectMeta) -> None:
    """Raise `BadRunError` if the result of a mode is about units that were collected before."""
    if read_meta(run_dir, mode, ResultMeta).collect_sha256 != collect.record_sha256:
        what = f"the result of {mode} is about an earlier collection"
        raise BadRunError(what, where=f"{run_dir}/{SKILLS}", next_step=f"Repeat --mode {mode}")


def read_skill_table(run_dir: Path, stem: str, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A whole table, or some of its columns. Raises `UsageError` if its mode is not finished, `BadRunError` if it is
    missing, damaged or of another schema."""
    return read_table_file(_path(run_dir, stem), columns=list(columns or TABLES[stem].columns))


def read_most_specific(run_dir: Path, most: int) -> pd.DataFrame:
    """The `most` most specific units of each source and class, by rank. The table has a row per unit and class, so it
    is read in parts. Raises as `read_skill_table`."""
    import pandas as pd

    wanted = list(TABLES[names.SPECIFIC].columns)
    parts = [part[part["rank"] <= most] for part in iter_table_file(_path(run_dir, names.SPECIFIC), wanted)]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=wanted)
    return frame.sort_values(["source", "class", "rank"], ignore_index=True)


def _path(run_dir: Path, stem: str) -> Path:
    """The file of a table, after the record of its mode."""
    read_record(run_dir, TABLES[stem].mode)
    path = inside(run_dir, f"{SKILLS}/{table_name(stem)}")
    if not path.is_file():
        raise BadRunError("is missing", where=str(path), next_step=AGAIN)
    return path
