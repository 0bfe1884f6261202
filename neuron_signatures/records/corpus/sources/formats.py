"""Reads the documents of one file: plain text, JSON, JSON lines, CSV or Parquet.

Each reader yields `(place in the file, text)`; the text is None if the row has none. All but JSON lists hold a row at a
time. Raises `UsageError` for a row that cannot be read; a row of more than `MAX_ROW` bytes is one of these.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from neuron_signatures.records.corpus.sources.cutting import pieces
from neuron_signatures.records.corpus.sources.opening import check_text, decoded, not_utf8, open_file
from neuron_signatures.runs.errors import UsageError

MAX_ROW = 1 << 28
"""Bytes of one line of JSON, of one cell of CSV, or of one JSON list."""
_ROWS = 64  # of a Parquet file at a time
_MOST_COLUMNS = 12  # named in a message


class Row(NamedTuple):
    place: str
    text: str | None


class Reading(NamedTuple):
    """How a file is read: the column with the text, and the characters of one document."""

    text_column: str
    max_document: int


Reader = Callable[[Path, Reading], Iterator[Row]]


def reader_of(path: Path) -> Reader:
    """The reader for a file, by the ending of its name."""
    name = path.name.lower().removesuffix(".gz")
    return _READERS.get(name[name.rfind(".") :] if "." in name else "", read_text)


def read_text(path: Path, how: Reading) -> Iterator[Row]:
    """The file as one document, or in pieces if it is long. It is checked to its end before the first piece."""
    check_text(path)
    with open_file(path) as file:
        ahead: str | None = None
        number = 0
        for piece in pieces(decoded(file, path), how.max_document):
            if ahead is not None:
                number += 1
                yield Row(f" ({number})", ahead)
            ahead = piece
        if ahead is None:
            yield Row("", "")
        else:
            yield Row(f" ({number + 1})" if number else "", ahead)


def read_json_lines(path: Path, how: Reading) -> Iterator[Row]:
    """One document per line: an object with the text column, or a string. Empty lines are ignored."""
    with open_file(path) as file:
        for number, raw in _lines(file, path):
            value = _parsed(raw, f"{path}:{number}", path, number)
            yield Row(f":{number}", _text_of(value, how.text_column, f"{path}:{number}"))


def read_json(path: Path, how: Reading) -> Iterator[Row]:
    """A JSON list of objects or strings, one object, or JSON lines."""
    with open_file(path) as file:
        head = file.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
        file.seek(0)
        whole = head.startswith(b"[") or not _is_lines(head)
        raw = file.read(MAX_ROW + 1) if whole else b""
    if not whole:
        yield from read_json_lines(path, how)
        return
    if len(raw) > MAX_ROW:
        step = "Write it as JSON lines, one object per line (.jsonl)"
        raise UsageError(f"a JSON list of more than {MAX_ROW} bytes", where=str(path), next_step=step)
    values = _parsed(raw, str(path), path, None)
    for number, value in enumerate(values if isinstance(values, list) else [values], start=1):
        yield Row(f"[{number}]", _text_of(value, how.text_column, f"{path}[{number}]"))


def read_csv(path: Path, how: Reading) -> Iterator[Row]:
    """A table with a header line; cells may hold line breaks in quotes."""
    check_text(path)
    name = path.name.lower().removesuffix(".gz")
    csv.field_size_limit(MAX_ROW)
    with open_file(path) as file:
        text = io.TextIOWrapper(cast(BinaryIO, file), "utf-8-sig", newline="")
        rows = csv.reader(text, delimiter="\t" if name.endswith(".tsv") else ",", strict=True)
        try:
            header = next(rows, [])
            if how.text_column not in header:
                raise no_column(how.text_column, header, str(path))
            column = header.index(how.text_column)
            for row in rows:
                if row:
                    yield Row(f":{rows.line_num}", row[column] if column < len(row) else None)
        except csv.Error as e:
            raise UsageError(f"not valid CSV ({e})", where=f"{path}:{rows.line_num}") from e
        finally:
            text.detach()


def read_parquet(path: Path, how: Reading) -> Iterator[Row]:
    """A Parquet file with a column of text, read by groups of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_file(path) as file:
        try:
            table = pq.ParquetFile(file)
            _check_column(table.schema_arrow, how.text_column, path)
            number = 0
            for batch in table.iter_batches(_ROWS, columns=[how.text_column], use_threads=False):
                for value in batch.column(0):
                    number += 1
                    yield Row(f":{number}", value.as_py())
        except UnicodeDecodeError as e:
            raise not_utf8(path, f"row {number}") from e
        except (pa.ArrowException, OSError) as e:
            if isinstance(e, OSError) and e.errno is not None:
                raise
            reason = " ".join(str(e).split())[:120]
            raise UsageError(f"not a whole Parquet file ({reason})", where=str(path), next_step="Copy it again") from e


def no_column(column: str, there: Iterable[str], where: str) -> UsageError:
    """The error for a missing text column; names the columns there are."""
    names = list(there)
    more = f" and {len(names) - _MOST_COLUMNS} more" if len(names) > _MOST_COLUMNS else ""
    found = f"it has {', '.join(names[:_MOST_COLUMNS])}{more}" if names else "it has no columns"
    return UsageError(f"no column {column!r}; {found}", where=where, next_step="Name the text with --text_column")


def _lines(file: BufferedIOBase, path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while raw := file.readline(MAX_ROW + 1):
        number += 1
        if len(raw) > MAX_ROW:
            what = f"a line of more than {MAX_ROW} bytes"
            raise UsageError(what, where=f"{path}:{number}", next_step="Split the document")
        raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if raw.strip():
            yield number, raw


def _parsed(raw: bytes, where: str, path: Path, line: int | None) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        place = f"byte {e.start}" if line is None else f"line {line}, byte {e.start} of it"
        raise not_utf8(path, place) from e
    except (ValueError, RecursionError) as e:
        raise UsageError(f"not valid JSON ({e})", where=where) from e


def _is_lines(head: bytes) -> bool:
    """Whether the first line is a JSON value of its own; a line that is longer than the head is taken for one."""
    line, end, _ = head.partition(b"\n")
    if not end:
        return len(head) > 1 << 15
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _text_of(value: Any, column: str, where: str) -> str | None:
    if isinstance(value, dict):
        if column not in value:
            raise no_column(column, map(str, value), where)
        value = value[column]
    if value is None or isinstance(value, str):
        return value
    raise UsageError(f"{column!r} is {type(value).__name__}, not text", where=where)


def _check_column(schema: Any, column: str, path: Path) -> None:
    import pyarrow as pa

    if column not in schema.names:
        raise no_column(column, schema.names, str(path))
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UsageError(f"column {column!r} is {kind}, not text", where=str(path))


_READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}
