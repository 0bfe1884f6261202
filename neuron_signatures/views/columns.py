"""Columns of result tables with the types that the viewers rely on, checked once when a table is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.tables import count_rows, iter_arrow, read_arrow
from neuron_signatures.runs.text_tables import read_text_list, text_lists
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.filters import Matcher

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Int, Int32

_TEXT = ("max_act_prompt", "max_act_token", "min_act_prompt", "min_act_token", "mode_peak_token", "ctx_token", "pole",
         "class", "name", "prompt_id")  # fmt: skip
_INTEGER = ("layer", "neuron", "max_act_pos", "min_act_pos", "n_peaks", "ctx_idx", "n_active", "n_texts",
            "mode_peak_count")  # fmt: skip
_MOST = 2**31 - 1
_NEVER_NULL = ("layer", "neuron", "pole", "class", "n_active", "n_texts")


class Coded(NamedTuple):
    """A text column as each row's index into the distinct texts."""

    code: Int[np.ndarray, " row"]
    texts: list[str]

    def hits(self, match: Matcher) -> Bool[np.ndarray, " row"]:
        """Mask of the rows with a matching text; an empty text matches nothing."""
        found: np.ndarray = (match(self.texts) & np.array([bool(t) for t in self.texts], bool))[self.code]
        return found

    def equals(self, text: str) -> Bool[np.ndarray, " row"]:
        """Mask of the rows with this text."""
        found: np.ndarray = np.array([t == text for t in self.texts], bool)[self.code]
        return found


def read_columns(run_dir: Path, stem: str, names: Iterable[str]) -> pa.Table:
    """The columns `names` of a table of `analysis/`: text as dictionaries of strings, others as integers or floats.

    A list without a Parquet table is read from CSV or JSON, where a missing column is undefined. Raises `UsageError` if
    the table has not been made, `BadRunError` if a column is missing or has another type.
    """
    if file := text_lists(run_dir).get(stem):
        return _checked(read_text_list(run_dir, file, {n: _text_type(n) for n in names}), file)
    return _checked(read_arrow(run_dir, stem, columns=tuple(names)), table_name(stem))


def rows_of_neuron(run_dir: Path, stem: str, names: Iterable[str], at: NeuronAt) -> list[dict[str, Any]]:
    """The rows of one neuron as `read_columns` types them, without the whole table in memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if stem in text_lists(run_dir):
        table = read_columns(run_dir, stem, names)
        own = table.filter(pc.and_(pc.equal(table["layer"], at.layer), pc.equal(table["neuron"], at.neuron)))
        listed: list[dict[str, Any]] = own.to_pylist()
        return listed
    found = []
    for batch in iter_arrow(run_dir, stem, columns=tuple(names), layer=at.layer):
        keys = _checked(pa.table(batch.select(["layer", "neuron"])), table_name(stem))
        found.append(batch.filter(pc.and_(pc.equal(keys["layer"], at.layer), pc.equal(keys["neuron"], at.neuron))))
    rows: list[dict[str, Any]] = _checked(pa.Table.from_batches(found), table_name(stem)).to_pylist() if found else []
    return rows


def coded(table: pa.Table, name: str) -> Coded:
    """A text column of a table; null is an empty text."""
    column = table.column(name).unify_dictionaries().combine_chunks()
    texts: list[str] = [t or "" for t in column.dictionary.to_pylist()]
    return Coded(column.indices.fill_null(len(texts)).to_numpy(), [*texts, ""])


class Columns(NamedTuple):
    """Columns by name."""

    numbers: dict[str, Int32[np.ndarray, " row"]]
    """-1 for null."""
    texts: dict[str, Coded]


def stream_columns(run_dir: Path, stem: str, names: Iterable[str]) -> Columns:
    """As `read_columns`, for integers and texts of tables that stay in memory: read in batches into arrays, because
    arrow and Python keep most of the memory that a whole table takes while it is read.
    """
    names = tuple(names)
    if stem in text_lists(run_dir):
        whole = read_columns(run_dir, stem, names)
        n, batches = len(whole), iter([whole])
    else:
        n, batches = count_rows(run_dir, stem), _batches(run_dir, stem, names)
    found = {name: np.empty(n, np.int32) for name in names}
    texts: dict[str, dict[str, int]] = {name: {"": 0} for name in names if name in _TEXT}
    start = 0
    for batch in batches:
        if start + len(batch) > n:
            break
        for name in names:
            if name in texts:
                own, known = coded(batch, name), texts[name]
                values = np.array([known.setdefault(t, len(known)) for t in own.texts], np.int32)[own.code]
            else:
                values = np.clip(batch.column(name).cast("int64").fill_null(-1).to_numpy(), -1, _MOST)
            found[name][start : start + len(batch)] = values
        start += len(batch)
    if start != n:
        raise BadRunError("changed while it was read", where=table_name(stem), next_step="Read it again")
    return Columns(
        {name: values for name, values in found.items() if name not in texts},
        {name: Coded(found[name], list(known)) for name, known in texts.items()},
    )


def _batches(run_dir: Path, stem: str, names: tuple[str, ...]) -> Iterator[pa.Table]:
    import pyarrow as pa

    for batch in iter_arrow(run_dir, stem, columns=names):
        yield _checked(pa.Table.from_batches([batch]), table_name(stem))


def _text_type(name: str) -> pa.DataType:
    import pyarrow as pa

    if name in _TEXT:
        return pa.dictionary(pa.int32(), pa.string())
    return pa.int64() if name in _INTEGER else pa.float64()


def _checked(table: pa.Table, where: str) -> pa.Table:
    import pyarrow as pa

    for i, name in enumerate(table.column_names):
        try:
            column = _converted(table.column(i), name)
            column.validate(full=True)  # text is UTF-8
        except (TypeError, pa.ArrowException) as e:
            raise BadRunError(f"column {name}: {e}", where=where, next_step="Make it again") from e
        if name in _NEVER_NULL and column.null_count:
            raise BadRunError(f"column {name} has undefined values", where=where, next_step="Make it again")
        table = table.set_column(i, name, column)
    return table


def _converted(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The column in its type. A column without a value (null) has any type."""
    import pyarrow as pa

    t = pa.types
    stored = column.type
    if name in _TEXT:
        if t.is_null(stored):
            return column.cast(pa.string()).dictionary_encode()
        stored = stored.value_type if t.is_dictionary(stored) else stored
        if not (t.is_string(stored) or t.is_large_string(stored)):
            raise TypeError(f"has type {stored}, not text")
        # A cast of the column would repeat the text in each row.
        if column.type == pa.dictionary(pa.int32(), pa.string()):
            return column
        chunks = [pa.DictionaryArray.from_arrays(c.indices, c.dictionary.cast(pa.string())) for c in column.chunks]
        return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))
    if t.is_null(stored):
        return column.cast(pa.int64() if name in _INTEGER else pa.float64())
    if name in _INTEGER:
        if not t.is_integer(stored):
            raise TypeError(f"has type {stored}, not an integer type")
        return column
    if not (t.is_floating(stored) or t.is_integer(stored)):
        raise TypeError(f"has type {stored}, not a number type")
    return column if t.is_floating(stored) else column.cast(pa.float64())
