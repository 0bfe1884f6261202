"""Reading the files of other tools: lines of bounded length, packed or not, and values of JSON with NaN as null."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

from neuron_signatures.explain.exchange.items import reason, refuse
from neuron_signatures.runs.bounded_json import check_bounds
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.plain import strict

MAX_LINE = 64 << 20
"""Bytes of a line or of a file with one value: scores hold every simulated activation."""
_MAX_FILES = 1_000_000


def files_below(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files with these endings in a folder and its subfolders, in the order of their names; numbers as numbers.

    Links are not followed. Raises `UsageError` if there are none or too many.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise UsageError(what, where=str(folder))
    found: list[Path] = []
    for below, _, names in os.walk(folder):
        found += [Path(below) / name for name in names if name.endswith(endings)]
        if len(found) > _MAX_FILES:
            raise UsageError(f"has more than {_MAX_FILES} files", where=str(folder))
    if not found:
        raise UsageError(f"has no file named *{' or *'.join(endings)}", where=str(folder))
    return sorted(found, key=lambda path: [_number_or_text(part) for part in path.relative_to(folder).parts])


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The number and the value of each line of a JSONL file, `.gz` or not; empty lines are left out.

    Raises `UsageError` with the file and the line.
    """
    try:
        with open_regular(path) as raw:
            file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else cast(BufferedIOBase, raw)
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    refuse(f"is longer than {MAX_LINE} bytes", path, number)
                if line.strip():
                    yield number, _value(line, path, number)
    except (OSError, EOFError, zlib.error, NotReadableError) as e:
        refuse(f"cannot be read ({e})", path)


def json_value(path: Path) -> Any:
    """The value of a file that holds only one. Raises `UsageError`."""
    try:
        with open_regular(path) as file:
            raw = file.read(MAX_LINE + 1)
    except (OSError, NotReadableError) as e:
        refuse(f"cannot be read ({e})", path)
    if len(raw) > MAX_LINE:
        refuse(f"is larger than {MAX_LINE} bytes", path)
    return _value(raw, path, None)


def _value(raw: bytes, path: Path, number: int | None) -> Any:
    """NaN and infinities, which these tools write for undefined scores, become null."""
    try:
        check_bounds(raw)
        return strict(json.loads(raw.decode("utf-8-sig"), parse_constant=lambda name: None))
    except ValueError as e:
        refuse(reason(e), path, number)


def _number_or_text(part: str) -> tuple[int, str]:
    stem = part.partition(".")[0]
    return (int(stem), part) if stem.isascii() and stem.isdigit() and len(stem) < 18 else (-1, part)
