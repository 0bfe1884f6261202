"""What a neuron writes, without a prompt: reading the tables of `--mode write_scores`.

The table of neurons has a row group per layer, so one neuron needs one layer's columns. Tokens are a second table,
which is kept in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import BadRunError, ProjectError, UsageError
from neuron_signatures.runs.result_records import WritesRecord, another_dump, read_record
from neuron_signatures.runs.results import (
    WRITE_SIDES,
    WRITES,
    WRITES_META,
    WRITES_TOKENS,
    result_path,
    table_name,
    write_column,
)
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import count_rows, iter_arrow, read_arrow
from neuron_signatures.views.changes import Stamp, stamp
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.filters import Matcher

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Int32, Int64

_AT_ONCE = 1 << 13
_MOST = 2**31 - 1


class Written(NamedTuple):
    """A token and the effect of the neuron on its logit."""

    token: str
    token_id: int
    score: float


class WrittenIds(NamedTuple):
    """Token ids by neuron and side (promoted, suppressed), strongest first; -1 for none."""

    layer: Int32[np.ndarray, " neuron"]
    neuron: Int32[np.ndarray, " neuron"]
    ids: Int32[np.ndarray, "neuron side rank"]


class WriteScores(NamedTuple):
    """The tokens that one neuron promotes and suppresses, measured at one position of one prompt.

    From the weights alone if `prompt_id` is None: `pos` and `activation` are None too, and scores of different layers
    are in different units.
    """

    source: str
    """Stem of the result that contains them."""
    prompt_id: str | None
    pos: int | None
    unit: str
    activation: float | None
    promotes: list[Written]
    suppresses: list[Written]


def writes_of(run_dir: Path, at: NeuronAt) -> WriteScores | None:
    """What a neuron writes according to the weights; None if that has not been computed for it.

    Raises `BadRunError` for damaged files.
    """
    try:
        record = read_record(run_dir, WRITES_META, WritesRecord)
        row = _row(run_dir, record.top, at)
        if row is None:
            return None
        sides = [_side(run_dir, row, side, record.top) for side in WRITE_SIDES]
    except UsageError:
        return None
    return WriteScores(WRITES, None, None, record.unit, None, *sides)


def writes_doubt(run: Run) -> str:
    """How the dump that they were made from differs from the run's; empty if it does not, or there are none."""
    try:
        return another_dump(run.manifest, read_record(run.path, WRITES_META, WritesRecord))
    except ProjectError:
        return ""


def _row(run_dir: Path, top: int, at: NeuronAt) -> dict[str, Any] | None:
    import pyarrow.compute as pc

    kinds = {"layer": "integer", "neuron": "integer"}
    for side in WRITE_SIDES:
        for rank in range(top):
            kinds[write_column(side, "id", rank)] = "integer"
            kinds[write_column(side, "score", rank)] = "floating"
    for batch in iter_arrow(run_dir, WRITES, columns=tuple(kinds), layer=at.layer):
        _check(batch.schema, kinds)
        mine = pc.and_(pc.equal(batch["layer"], at.layer), pc.equal(batch["neuron"], at.neuron))
        if found := batch.filter(mine).to_pylist():
            row: dict[str, Any] = found[0]
            return row
    return None


def every_id(run_dir: Path, top: int) -> WrittenIds:
    """The token ids of every neuron. Raises `UsageError` if they have not been made, `BadRunError` if damaged."""
    names = ("layer", "neuron", *(write_column(side, "id", rank) for side in WRITE_SIDES for rank in range(top)))
    n = count_rows(run_dir, WRITES)
    places, ids = np.empty((2, n), np.int32), np.empty((n, len(WRITE_SIDES) * top), np.int32)
    start = 0
    for batch in iter_arrow(run_dir, WRITES, columns=names):
        _check(batch.schema, dict.fromkeys(names, "integer"))
        rows = slice(start, start + len(batch))
        if rows.stop > n:
            break
        for i, name in enumerate(names):
            target = places[i, rows] if i < 2 else ids[rows, i - 2]
            target[:] = np.clip(batch[name].cast("int64").fill_null(-1).to_numpy(), -1, _MOST)
        start = rows.stop
    if start != n:
        raise _bad(WRITES, "changed while it was read")
    return WrittenIds(places[0], places[1], ids.reshape(n, len(WRITE_SIDES), top))


def token_texts(run_dir: Path) -> TokenTexts:
    """The texts of the token ids in that table; cached until the file changes."""
    return _tokens(run_dir, stamp(result_path(run_dir, table_name(WRITES_TOKENS))))


def _check(schema: pa.Schema, kinds: Mapping[str, str]) -> None:
    import pyarrow as pa

    for field in schema:
        if not getattr(pa.types, f"is_{kinds[field.name]}")(field.type):
            raise _bad(WRITES, f"column {field.name} has type {field.type}, not {kinds[field.name]}")


def _side(run_dir: Path, row: dict[str, Any], side: str, top: int) -> list[Written]:
    """The tokens of one side; those without a score are left out."""
    tokens = token_texts(run_dir)
    found = []
    for rank in range(top):
        token_id, score = row[write_column(side, "id", rank)], row[write_column(side, "score", rank)]
        if token_id is not None and score is not None and np.isfinite(score):
            found.append(Written(tokens.text(token_id), token_id, score))
    return found


class TokenTexts:
    """The texts of token ids, from a table in order of id."""

    def __init__(self, table: pa.Table) -> None:
        import pyarrow as pa

        ids, texts = table.column("token_id"), table.column("token")
        text_type = texts.type.value_type if pa.types.is_dictionary(texts.type) else texts.type
        if not pa.types.is_integer(ids.type) or not pa.types.is_string(text_type) or ids.null_count:
            raise _bad(WRITES_TOKENS, f"has columns of types {ids.type} and {texts.type}")
        self._ids, self._texts = np.asarray(ids.to_numpy(), np.int64), texts
        if (np.diff(self._ids) <= 0).any():
            raise _bad(WRITES_TOKENS, "its ids are not in order")

    def matching(self, match: Matcher) -> Int64[np.ndarray, " id"]:
        """The ids whose text matches; null is an empty text."""
        masks = [np.empty(0, bool)]
        for start in range(0, len(self._ids), _AT_ONCE):  # the texts of a vocabulary take 30 MB as Python objects
            masks.append(match([t or "" for t in self._texts.slice(start, _AT_ONCE).to_pylist()]))
        found: np.ndarray = self._ids[np.concatenate(masks)]
        return found

    def text(self, token_id: int) -> str:
        at = int(np.searchsorted(self._ids, token_id))
        text = self._texts[at].as_py() if at < len(self._ids) and self._ids[at] == token_id else None
        if text is None:
            raise _bad(WRITES_TOKENS, f"has no token {token_id}")
        return str(text)


@lru_cache(maxsize=2)
def _tokens(run_dir: Path, _: Stamp) -> TokenTexts:
    return TokenTexts(read_arrow(run_dir, WRITES_TOKENS, columns=("token_id", "token")))


def _bad(stem: str, what: str) -> BadRunError:
    return BadRunError(what, where=table_name(stem), next_step="Make it again")
