"""Lists in CSV or JSON without a Parquet table: results of the earlier tool of this method, and copied exports.

Both come from other programs, so their sizes are checked while they are read. A column that a file does not have is
undefined. The earlier tool writes tokens in columns whose names end in `_ascii`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from neuron_signatures.runs.bounded_json import RECORD_BYTES, read_json_file
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.names import META, inside
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.results import ANALYSIS, NEURONS, SIGNATURES, TOP_STEM, table_name
from neuron_signatures.runs.tables import MAX_TEXT, MAX_VALUES, check_texts

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CSV = 512 << 20
_MAX_HEADER = 1 << 16
_BLOCK = 1 << 20
_LISTS = re.compile(rf"(?:{NEURONS}|{TOP_STEM}|{SIGNATURES})(?:\.earlier\d*)?|influence_.*")
_OTHER_FILES = (META.removesuffix(".json"), "_write_scores")
_NEXT_STEP = "Remove it, or copy it again"


def text_lists(run_dir: Path) -> dict[str, str]:
    """The lists that have a CSV or JSON file but no Parquet table: stem and file name. CSV, which has more rows, wins.

    `top_neurons.json` is part of the list of all neurons.
    """
    try:
        names = {p.name for p in (run_dir / ANALYSIS).iterdir()}
    except OSError:
        return {}
    found: dict[str, str] = {}
    for name in sorted(names):  # .csv before .json
        stem, _, kind = name.rpartition(".")
        if kind not in ("csv", "json") or not _LISTS.fullmatch(stem) or stem.endswith(_OTHER_FILES):
            continue
        stem = stem.replace(TOP_STEM, NEURONS, 1) if stem.startswith(TOP_STEM) else stem
        if table_name(stem) not in names:
            found.setdefault(stem, name)
    return found


def read_text_list(run_dir: Path, name: str, types: Mapping[str, pa.DataType]) -> pa.Table:
    """The columns `types` of a file that `text_lists` names; text as dictionaries.

    Raises `BadRunError` if the file is damaged, too large, or a value has another type; `UsageError` if it was removed.
    """
    import pyarrow as pa

    path = inside(run_dir, f"{ANALYSIS}/{name}")
    try:
        read = _read_csv if name.endswith(".csv") else _read_json
        table = read(path, types)
    except FileNotFoundError as e:
        raise UsageError("this file no longer exists", where=str(path), next_step="Reload the run") from e
    except (pa.ArrowException, OSError, ValueError, OverflowError, csv.Error) as e:
        reason = " ".join(str(e).split())[:160]
        raise BadRunError(
            f"cannot be read as a list of neurons ({reason})", where=str(path), next_step=_NEXT_STEP
        ) from e
    for column in table.columns:
        check_texts(column.chunks, path)
    return table


def _read_csv(path: Path, types: Mapping[str, pa.DataType]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv as pc

    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_CSV:
            raise NotReadableError(f"larger than {MAX_CSV} bytes")
        source = _sources(_header(file), types)
        convert = pc.ConvertOptions(
            include_columns=list(source.values()), column_types={source[name]: types[name] for name in source},
            null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
        )  # fmt: skip
        reading = pc.ReadOptions(block_size=_BLOCK, use_threads=False)
        parsing = pc.ParseOptions(newlines_in_values=True)
        with pc.open_csv(file, read_options=reading, parse_options=parsing, convert_options=convert) as reader:
            batches = list(_bounded(reader))
            table = pa.Table.from_batches(batches, reader.schema)
    columns = [table.column(source[name]) if name in source else pa.nulls(len(table), types[name]) for name in types]
    return pa.table(columns, names=list(types))


def _header(file: BinaryIO) -> list[str]:
    line = file.readline(_MAX_HEADER)
    if not line.endswith(b"\n"):
        raise ValueError("its first line has no end, or is too long")
    names = next(csv.reader(io.StringIO(line.decode("utf-8-sig"))), [])
    if len(set(names)) != len(names):
        raise ValueError("a column is there twice")
    file.seek(0)
    return names


def _sources(names: list[str], types: Mapping[str, pa.DataType]) -> dict[str, str]:
    """For each wanted column, the name that it has in the file. Raises `ValueError` without layer and neuron."""
    found = {w: n for w in types for n in (w, f"{w}_ascii") if n in names and (n == w or w not in names)}
    if missing := [n for n in ("layer", "neuron") if n not in found]:
        raise ValueError(f"has no column {', '.join(missing)}")
    return found


def _bounded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches; raises `ValueError` once they hold too many values or too much text."""
    import pyarrow as pa

    n_values = n_text = 0
    for batch in batches:
        n_values += batch.num_rows * batch.num_columns
        n_text += sum(c.dictionary.nbytes for c in batch.columns if pa.types.is_dictionary(c.type))
        if n_values > MAX_VALUES or n_text > MAX_TEXT:
            raise ValueError(f"more than {MAX_VALUES} values, or {MAX_TEXT} bytes of text")
        yield batch


def _read_json(path: Path, types: Mapping[str, pa.DataType]) -> pa.Table:
    import pyarrow as pa

    found: Any = read_json_file(path, max_bytes=RECORD_BYTES)
    rows = found.get("neurons") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise ValueError("not a list of neurons")
    if not rows:
        return pa.table({name: pa.nulls(0, kind) for name, kind in types.items()})
    source = _sources(list(dict.fromkeys(k for r in rows for k in r)), types)
    columns = [_json_column([r.get(source.get(name)) for r in rows], kind) for name, kind in types.items()]
    return pa.table(columns, names=list(types))


def _json_column(values: list[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if not pa.types.is_dictionary(kind):
        if any(isinstance(v, bool | str) for v in values):
            raise ValueError("text or a truth value in a column of numbers")
        return pa.array(values, kind)
    if any(v is not None and not isinstance(v, str) for v in values):
        raise ValueError("a number in a column of text")
    return pa.array(values, pa.string()).dictionary_encode()
