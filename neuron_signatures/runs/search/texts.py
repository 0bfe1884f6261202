"""The texts that are searched: those of the index, without what is no longer current, and what was added since.

Explanations are in logs to which lines are appended. The index records how far it read each log. A log of which these
bytes are the same and that is not longer needs no reading. Otherwise its explanations are read: an explanation that is
no longer current is left out, and texts that the index lacks are added to a copy of it in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.names import SETS
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import Row
from neuron_signatures.runs.files import counted, sha256_file
from neuron_signatures.runs.logs.record import log_digest
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.opening import NotReadableError
from neuron_signatures.runs.records.names import POLES, RECORDS, RECORDS_META
from neuron_signatures.runs.search.database import AGAIN, add_texts, copy_of, in_memory, open_untrusted
from neuron_signatures.runs.search.folder import SEARCH_FOLDER
from neuron_signatures.runs.search.names import INDEX_COMMAND, ROWS, SEARCH, WORDS, Kind
from neuron_signatures.runs.search.record import LogRead, SearchRecord
from neuron_signatures.runs.search.rows import Rows, joined, no_rows, read_rows, sorted_rows, types_of
from neuron_signatures.runs.stage_results import ResultRecord

RECORDS_SOURCE: Final = f"{RECORDS}/{RECORDS_META}"
MAX_COPY: Final = 2 << 30
"""Bytes of an index that is copied into memory to add texts to it."""


@dataclass(frozen=True, eq=False)
class Texts:
    """What can be searched by words. Ids below `n_embedded` are those of the index, which may have vectors."""

    conn: sqlite3.Connection
    path: Path
    """Of the index, for messages."""
    rows: Mapping[Kind, Rows]
    n_texts: int
    n_embedded: int
    sets: tuple[str, ...]
    explainers: tuple[str, ...]
    logs: Mapping[str, LogRead]
    notes: tuple[str, ...] = ()


def update_command(run_dir: Path) -> str:
    return f"`{INDEX_COMMAND} --run_dir {run_dir}`"


def no_texts(run_dir: Path) -> Texts:
    """Before there is an index."""
    rows: dict[Kind, Rows] = {"explanation": no_rows("explanation"), "exemplar": no_rows("exemplar")}
    return Texts(in_memory(), run_dir / SEARCH / WORDS, rows, 0, 0, (), (), {})


def read_texts(run_dir: Path, found: SearchRecord) -> Texts:
    """The texts of the index as it was made. Raises `BadRunError` for a file that is not as the record says."""
    record, facts = found
    rows = read_rows(
        checked_file(run_dir, record, ROWS), facts.counts, n_texts=facts.n_texts, n_sets=len(facts.sets),
        n_explainers=len(facts.explainers),
    )  # fmt: skip
    path = checked_file(run_dir, record, WORDS)
    return Texts(
        open_untrusted(path), path, rows, facts.n_texts, facts.n_texts, tuple(facts.sets), tuple(facts.explainers),
        facts.logs,
    )  # fmt: skip


def checked_file(run_dir: Path, record: ResultRecord, name: str) -> Path:
    """The path of a file of the index. Raises `BadRunError` unless it has the size and the checksum of the record."""
    path = inside(run_dir, f"{SEARCH}/{name}")
    listed = next((f for f in record.files if f.name == name), None)
    if listed is None:
        raise BadRunError("is not in the record of the index", where=str(path), next_step=AGAIN)
    try:
        if path.stat().st_size != listed.bytes or sha256_file(path) != listed.sha256:
            raise BadRunError("is not the file that the record of the index names", where=str(path), next_step=AGAIN)
    except FileNotFoundError as e:
        raise BadRunError("is missing", where=str(path), next_step=AGAIN) from e
    except (NotReadableError, OSError) as e:
        what = f"cannot be read ({getattr(e, 'strerror', None) or e})"
        raise BadRunError(what, where=str(path), next_step=AGAIN) from e
    return path


def current_texts(run_dir: Path, base: Texts, index: SearchRecord | None) -> Texts:
    """The texts of the index without outdated ones, and with those of explanations that it lacks.

    `index` is None if there is none. Raises `BadRunError` for a damaged log.
    """
    rows, notes = dict(base.rows), list[str]()
    if index is not None and RECORDS_SOURCE in SEARCH_FOLDER.outdated(run_dir, index.record):
        rows["exemplar"] = no_rows("exemplar")
        notes.append(f"the records changed after the index was made, so exemplars are left out; {_update(run_dir)}")
    if index is not None and "explanation" not in index.facts.kinds:
        return _with(base, rows, notes)
    states = {name: _state(run_dir, name, base.logs.get(name)) for name in SETS.names(run_dir)}
    changed = {name: state for name, state in states.items() if state != "same"}
    missing = [name for name in base.logs if name not in states]
    if not changed and not missing:
        return _with(base, rows, notes)
    layers = None if index is None else index.facts.layers
    now = Explanations.open(run_dir, sets=list(changed)).rows() if changed else ()
    found = [row for row in now if is_searched(row) and (layers is None or row.at.layer in layers)]
    kept, added = _compared(base, changed, missing, found)
    rows["explanation"] = rows["explanation"].some(kept)
    n_lost = base.rows["explanation"].n - int(kept.sum())
    if index is not None and (added or n_lost):
        text = f"{counted(len(added), 'explanation')} added and {n_lost} replaced after the index was made: found by "
        notes.append(f"{text}words, not by meaning; {_update(run_dir)}")
    return _with_added(_with(base, rows, notes), added)


def is_searched(row: Row) -> bool:
    """Whether an explanation is a text to find: the current one of its pole, mode and set, and not a failure."""
    return row.current and row.status == "ok" and bool(row.text.strip())


def explanation_columns(
    rows: Sequence[Row], ids: Sequence[int], sets: Sequence[str], explainers: Sequence[str]
) -> dict[str, np.ndarray]:
    """The columns of explanations whose texts have the `ids`."""
    place, way = ({name: i for i, name in enumerate(names)} for names in (sets, explainers))
    values = {
        "text": list(ids), "layer": [r.at.layer for r in rows], "neuron": [r.at.neuron for r in rows],
        "pole": [POLES.index(r.at.pole) for r in rows], "set": [place[r.set] for r in rows],
        "explainer": [way[r.explainer] for r in rows], "id": [int(r.id, 16) for r in rows],
    }  # fmt: skip
    return {name: np.array(values[name], dtype) for name, dtype in types_of("explanation").items()}


def _state(run_dir: Path, name: str, read: LogRead | None) -> Literal["same", "grown", "other"]:
    """What became of a log since it was read; `other` if it is new, or was replaced."""
    if read is None or (size := SETS.path(run_dir, name).stat().st_size) < read.n_bytes:
        return "other"
    if log_digest(SETS, run_dir, name, read.n_bytes) != read.sha256:
        return "other"
    return "same" if size == read.n_bytes else "grown"


def _compared(
    base: Texts, changed: Mapping[str, str], missing: Sequence[str], found: Sequence[Row]
) -> tuple[np.ndarray, list[Row]]:
    """A mask of the rows of the index that are still current, and what it lacks. `found` is what is current in the
    logs that `changed`."""
    columns = base.rows["explanation"].columns
    of_set = {name: columns["set"] == place for place, name in enumerate(base.sets)}
    kept, nothing = np.ones(base.rows["explanation"].n, bool), np.zeros(base.rows["explanation"].n, bool)
    added: list[Row] = []
    for name in missing:
        kept &= ~of_set.get(name, nothing)
    for name, state in changed.items():
        now = {int(r.id, 16): r for r in found if r.set == name}
        mine = of_set.get(name, nothing)
        known = set(columns["id"][mine].tolist()) if state == "grown" else set[int]()
        kept &= ~mine | np.isin(columns["id"], np.array(list(now.keys() & known), np.uint64))
        added += [row for id_, row in now.items() if id_ not in known]
    return kept, added


def _with(base: Texts, rows: Mapping[Kind, Rows], notes: Iterable[str]) -> Texts:
    return Texts(
        base.conn, base.path, rows, base.n_texts, base.n_embedded, base.sets, base.explainers, base.logs,
        (*base.notes, *notes),
    )  # fmt: skip


def _with_added(base: Texts, added: Sequence[Row]) -> Texts:
    """With explanations that the index lacks, in a copy of it in memory."""
    if not added:
        return base
    if base.n_embedded and base.path.stat().st_size > MAX_COPY:
        note = "the index is too large to add texts in memory, so those that it lacks are not found"
        return _with(base, base.rows, [note])
    texts = {text: base.n_texts + i for i, text in enumerate(dict.fromkeys(r.text for r in added))}
    conn = copy_of(base.conn)
    conn.execute("BEGIN")
    add_texts(conn, ((id_, text) for text, id_ in texts.items()))
    conn.execute("COMMIT")
    sets = tuple(dict.fromkeys([*base.sets, *(r.set for r in added)]))
    explainers = tuple(dict.fromkeys([*base.explainers, *(r.explainer for r in added)]))
    columns = explanation_columns(added, [texts[r.text] for r in added], sets, explainers)
    both = joined("explanation", [dict(base.rows["explanation"].columns), columns])
    rows = {**base.rows, "explanation": sorted_rows(both)}
    n_texts = base.n_texts + len(texts)
    return Texts(conn, base.path, rows, n_texts, base.n_embedded, sets, explainers, base.logs, base.notes)


def _update(run_dir: Path) -> str:
    return f"{update_command(run_dir)} makes it again"
