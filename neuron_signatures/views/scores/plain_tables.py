"""The table of a finished scored set, read without pandas: the terminal browser does not import it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.scores.index import ScoreIndex
from neuron_signatures.runs.scores.names import LOGS, SCORES
from neuron_signatures.runs.scores.table import COLUMNS, ScoreRow
from neuron_signatures.runs.tables import read_arrow_file

if TYPE_CHECKING:
    import pyarrow as pa


def read_plain_table(run_dir: Path, name: str) -> pa.Table:
    """The columns of `ScoreRow`. Raises `BadRunError` if it cannot be read, or lacks one of them."""
    path = inside(run_dir, f"{SCORES}/{table_name(name)}")
    table = read_arrow_file(path)
    if missing := [c for c in COLUMNS if c not in table.column_names]:
        raise BadRunError(f"has no column {', '.join(missing)}", where=str(path), next_step=LOGS.again)
    return table.select(list(COLUMNS))


def rows_at(table: pa.Table, at: NeuronPole) -> list[ScoreRow]:
    """The rows of one pole, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        here = pc.and_(pc.equal(table["layer"], at.layer), pc.equal(table["neuron"], at.neuron))
        found = [r for r in table.filter(here).to_pylist() if r["pole"] == at.pole]
    except pa.ArrowException as e:
        raise BadRunError("a table of scores has a column of another type", next_step=LOGS.again) from e
    return [_score_row(r) for r in found]


def rows_of(table: pa.Table, ids: Collection[str], scores: Collection[str]) -> list[ScoreRow]:
    """The rows of these explanations with one of these scores, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        mine, wanted = (pa.array(list(names), pa.string()) for names in (ids, scores))
        rows = pc.and_(pc.is_in(table["explanation_id"], mine), pc.is_in(pc.fill_null(table["score"], ""), wanted))
        return [_score_row(r) for r in table.filter(rows).to_pylist()]
    except pa.ArrowException as e:
        raise BadRunError("a table of scores has a column of another type", next_step=LOGS.again) from e


def values_in(table: pa.Table, score: str) -> dict[str, float | None]:
    """The values of one score by id of the explanation; None where undefined, or if it could not be scored."""
    columns = (table[c].to_pylist() for c in ("explanation_id", "score", "value"))
    return {str(id_): _plain(v) for id_, name, v in zip(*columns, strict=True) if (name or "") in ("", score)}


def values_in_log(run_dir: Path, name: str, score: str) -> dict[str, float | None]:
    """The same for a log that is not finished. Raises `BadRunError`."""
    index = ScoreIndex(run_dir, name)
    index.read_more()
    own = ((key, index.scores(key)) for key in index.keys if key.control == "own")
    return {
        key.explanation: scores[score].value if score in scores else None
        for key, scores in own if score in scores or not scores
    }  # fmt: skip


def _score_row(record: Mapping[str, Any]) -> ScoreRow:
    return ScoreRow(**{c: _plain(v) for c, v in record.items()})


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
