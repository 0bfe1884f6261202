"""Reads labelled texts from JSON lines, CSV or Parquet, also gzipped, with `text`, `class` and perhaps `skill`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from neuron_signatures.records.corpus.sources.opening import check_text, not_utf8, open_file
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import brief
from neuron_signatures.skills.collect.texts.labelled import LabelledText, checked

MAX_LINE: Final = 1 << 26
"""Bytes of one line of JSON, or of one cell of CSV."""
_NEEDED: Final = ("text", "class")
_COLUMNS: Final = ("text", "class", "skill")
_ROWS: Final = 1024  # of a Parquet file at a time
_MOST_NAMED: Final = 12


def read_labelled(path: Path) -> Iterator[LabelledText]:
    """The texts of a file, in order.

    Raises `UsageError` with the file and the line for a row that cannot be read or has no class.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _json_lines(path)
    if name.endswith((".csv", ".tsv")):
        return _csv(path, "\t" if name.endswith(".tsv") else ",")
    if name.endswith(".parquet"):
        return _parquet(path)
    what = "its name ends in none of .jsonl, .csv and .parquet (each also with .gz)"
    raise UsageError(what, where=str(path), next_step="Give a file with the columns text, class and perhaps skill")


def _json_lines(path: Path) -> Iterator[LabelledText]:
    with open_file(path) as file:
        number = 0
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}:{number}"
            if len(raw) > MAX_LINE:
                raise UsageError(f"a line of more than {MAX_LINE} bytes", where=where, next_step="Cut the text")
            if raw.strip():
                row = _parsed(raw, path, number)
                if not isinstance(row, dict):
                    step = 'Write one object per line: {"text": ..., "class": ..., "skill": ...}'
                    raise UsageError(f"{type(row).__name__}, not an object", where=where, next_step=step)
                _refuse_missing(list(row), where)
                yield checked(row["text"], row["class"], row.get("skill"), where=where)


def _csv(path: Path, delimiter: str) -> Iterator[LabelledText]:
    check_text(path)
    csv.field_size_limit(MAX_LINE)
    with open_file(path) as file:
        text = io.TextIOWrapper(cast(BinaryIO, file), "utf-8-sig", newline="")
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = next(rows, [])
            _refuse_missing(header, str(path))
            at = [header.index(name) if name in header else None for name in _COLUMNS]
            for row in rows:
                if row:
                    cells = [None if i is None or i >= len(row) else row[i] for i in at]
                    yield checked(*cells, where=f"{path}:{rows.line_num}")
        except csv.Error as e:
            raise UsageError(f"not valid CSV ({e})", where=f"{path}:{rows.line_num}") from e
        finally:
            text.detach()


def _parquet(path: Path) -> Iterator[LabelledText]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with open_file(path) as file:
        try:
            table = pq.ParquetFile(file)
            there = table.schema_arrow.names
            _refuse_missing(there, str(path))
            columns = [name for name in _COLUMNS if name in there]
            for batch in table.iter_batches(_ROWS, columns=columns, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield checked(row["text"], row["class"], row.get("skill"), where=f"{path}:{number}")
        except UnicodeDecodeError as e:
            raise not_utf8(path, f"row {number + 1}") from e
        except (pa.ArrowException, OSError) as e:
            if isinstance(e, OSError) and e.errno is not None:
                raise
            reason = " ".join(str(e).split())[:120]
            raise UsageError(f"not a whole Parquet file ({reason})", where=str(path), next_step="Copy it again") from e


def _refuse_missing(there: Sequence[str], where: str) -> None:
    for name in _NEEDED:
        if name not in there:
            names = ", ".join(brief(str(n)) for n in there[:_MOST_NAMED]) or "no columns"
            more = f" and {len(there) - _MOST_NAMED} more" if len(there) > _MOST_NAMED else ""
            step = "Name the columns text, class and, if there are any, skill"
            raise UsageError(f"no column {name!r}; it has {names}{more}", where=where, next_step=step)


def _parsed(raw: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise not_utf8(path, f"line {number}, byte {e.start} of it") from e
    except (ValueError, RecursionError) as e:
        raise UsageError(f"not valid JSON ({e})", where=f"{path}:{number}") from e
