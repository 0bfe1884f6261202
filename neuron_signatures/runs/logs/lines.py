"""Reading the lines of a log: bounded, without locks, and while a writer appends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.logs.names import LogKind
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.opening import NotReadableError, open_regular

_NEXT_STEP = "Copy the run again, or remove this line"

Parsed = TypeVar("Parsed")
Model = TypeVar("Model", bound=BaseModel)


class WrongKeyError(ValueError):
    """The line is JSON, but no line of this log: it is not torn."""


def open_log(kind: LogKind, path: Path) -> BinaryIO:
    """The log for reading. Raises `BadRunError` if it is too large or not a regular file, and `FileNotFoundError`."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise
    except (NotReadableError, OSError) as e:
        raise BadRunError(f"cannot be read ({getattr(e, 'strerror', None) or e})", where=str(path)) from e
    if (size := os.fstat(file.fileno()).st_size) > kind.max_log:
        file.close()
        raise BadRunError(f"has {size} bytes; {kind.max_log} can be read", where=str(path))
    return file


def parsed_lines(
    kind: LogKind, file: BinaryIO, path: Path, parse: Callable[[bytes, int], Parsed], *, start: int = 0
) -> Iterator[Parsed]:
    """The complete lines from the offset `start` on, without a torn last one.

    `parse` takes a line and its offset. It raises `WrongKeyError` for one that is JSON but of another kind, and
    `ValueError` for one that is no JSON. Raises `BadRunError` with the file and the number of a line that is damaged.
    """
    for at, raw in _raw_lines(file, path, start, kind.max_line):
        try:
            yield parse(raw, at)
        except ValueError as e:
            if _is_last(file, at + len(raw), kind.max_line) and not isinstance(e, WrongKeyError):
                return
            raise _damaged_line(path, at, e) from e


def parse_keys(keys: TypeAdapter[Any], raw: bytes) -> Any:
    """The keys of a line. Raises `WrongKeyError` for JSON that has others, `ValueError` if it is no JSON."""
    try:
        return keys.validate_json(raw)
    except ValidationError as e:
        if e.errors(include_input=False, include_url=False)[0]["type"] == "json_invalid":
            raise ValueError(first_error(e)) from e
        raise WrongKeyError(first_error(e)) from e


def read_whole(
    file: BinaryIO, path: Path, model: type[Model], start: int, size: int, *, same: Callable[[Model], bool]
) -> Model:
    """The whole of a line of which the keys were read. Raises `BadRunError` if it is damaged, or not the `same`."""
    file.seek(start)
    try:
        line = model.model_validate_json(file.read(size))
    except ValueError as e:
        raise _damaged_line(path, start, e) from e
    if not same(line):
        raise BadRunError("has changed while it was read", where=str(path), next_step="Open the run again")
    return line


def _raw_lines(file: BinaryIO, path: Path, start: int, max_line: int) -> Iterator[tuple[int, bytes]]:
    """The offset and the bytes of each line that ends with a newline, which is included."""
    file.seek(start)
    at = start
    while (raw := file.readline(max_line + 1)).endswith(b"\n"):
        yield at, raw
        at += len(raw)
    if len(raw) > max_line:
        raise _damaged_line(path, at, ValueError(f"is longer than {max_line} bytes"))


def _is_last(file: BinaryIO, end: int, max_line: int) -> bool:
    """Whether no complete line follows."""
    file.seek(end)
    return not file.readline(max_line + 1).endswith(b"\n")


def _damaged_line(path: Path, at: int, e: ValueError) -> BadRunError:
    what = first_error(e) if isinstance(e, ValidationError) else str(e)
    return BadRunError(f"line {_line_number(path, at)}: {what}", where=str(path), next_step=_NEXT_STEP)


def _line_number(path: Path, at: int) -> int:
    """The number, from 1, of the line at an offset."""
    number, left = 1, at
    with open_regular(path) as file:
        while left and (block := file.read(min(left, 1 << 20))):
            number += block.count(b"\n")
            left -= len(block)
    return number
