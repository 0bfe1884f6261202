"""Reading the lines of a log of explanations: bounded, without locks, and while a writer appends.

A line is checked in two steps. Opening a log reads of each line only the keys that lists need (`Line`), which takes a
third of the time of `Entry` and a tenth of its memory. The whole entry is read, and checked, when it is shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, NotRequired, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes that of the standard library from Python 3.12 on

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.entry import MAX_TEXT, Entry, Id, Name
from neuron_signatures.runs.explanations.names import EXPLANATIONS, Kind, log_name
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.records.names import NeuronPole, Pole

MAX_LINE = 1 << 20
"""Bytes of a line. The longest entry is the rule of a look-up with 1000 n-grams."""
MAX_LOG = 2 << 30
"""Bytes of a log that are read."""
SEARCHED = 2000
"""Characters of each text that are kept for lists and searches."""
_NEXT_STEP = "Copy the run again, or remove this line"


class _Keys(TypedDict):
    """The keys of an entry that a list needs; the others are skipped."""

    __pydantic_config__ = ConfigDict(extra="ignore", strict=True)  # type: ignore[misc]

    id: Id
    kind: NotRequired[Kind]
    layer: Annotated[int, Field(ge=0, lt=1 << 20)]
    neuron: Annotated[int, Field(ge=0, lt=1 << 31)]
    pole: Pole
    text: Annotated[str, Field(max_length=MAX_TEXT)]
    explainer: Name
    status: Status
    author: Literal["human", "model"]
    author_name: NotRequired[Name | None]
    model: NotRequired[Name | None]
    parent: NotRequired[str | None]
    about: NotRequired[str | None]
    value: NotRequired[int | None]
    sample: NotRequired[int]
    revision: NotRequired[int]
    mode: NotRequired[int | None]


_KEYS = TypeAdapter(_Keys)
Parsed = TypeVar("Parsed")


class Line(NamedTuple):
    """What is kept of a line: the keys of lists, and where the whole entry is (`start`, and `size` in bytes)."""

    id: str
    kind: Kind
    at: NeuronPole
    text: str
    """At most `SEARCHED` characters."""
    explainer: str
    status: Status
    author: Literal["human", "model"]
    author_name: str | None
    model: str | None
    parent: str | None
    about: str | None
    value: int | None
    sample: int
    revision: int
    mode: int | None
    start: int
    size: int


def log_path(run_dir: Path, set_name: str) -> Path:
    """Raises `BadRunError` if it is a link that leads out of the run."""
    return inside(run_dir, f"{EXPLANATIONS}/{log_name(set_name)}")


def open_log(path: Path, *, max_bytes: int = MAX_LOG) -> BinaryIO:
    """The log for reading. Raises `BadRunError` if it is too large or not a regular file, and `FileNotFoundError`."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise
    except (NotReadableError, OSError) as e:
        raise BadRunError(f"cannot be read ({getattr(e, 'strerror', None) or e})", where=str(path)) from e
    if (size := os.fstat(file.fileno()).st_size) > max_bytes:
        file.close()
        raise BadRunError(f"has {size} bytes; {max_bytes} can be read", where=str(path))
    return file


def read_lines(file: BinaryIO, path: Path, *, start: int = 0) -> Iterator[Line]:
    """The complete lines from the offset `start` on, without a torn last one.

    Raises `BadRunError` with the file and the number of the line for any other line that is no entry.
    """
    return parsed_lines(file, path, _parsed, start=start)


def parsed_lines(
    file: BinaryIO, path: Path, parse: Callable[[bytes, int], Parsed], *, start: int = 0, max_line: int = MAX_LINE
) -> Iterator[Parsed]:
    """As `read_lines`, for lines of another kind. `parse` takes a line and its offset; it raises `WrongKeyError` for
    one that is JSON but of another kind, and `ValueError` for one that is no JSON."""
    for at, raw in raw_lines(file, path, start=start, max_line=max_line):
        try:
            yield parse(raw, at)
        except ValueError as e:
            if _is_last(file, at + len(raw), max_line) and not isinstance(e, WrongKeyError):
                return
            raise damaged_line(path, line_number(path, at), e) from e


def raw_lines(
    file: BinaryIO, path: Path, *, start: int = 0, max_line: int = MAX_LINE
) -> Iterator[tuple[int, bytes]]:  # fmt: skip
    """The offset and the bytes of each line that ends with a newline, which is included."""
    file.seek(start)
    at = start
    while (raw := file.readline(max_line + 1)).endswith(b"\n"):
        yield at, raw
        at += len(raw)
    if len(raw) > max_line:
        raise damaged_line(path, line_number(path, at), ValueError(f"is longer than {max_line} bytes"))


def read_entry(file: BinaryIO, path: Path, line: Line) -> Entry:
    """The whole entry of a line. Raises `BadRunError` if it is no entry, or no longer there."""
    file.seek(line.start)
    raw = file.read(line.size)
    try:
        entry = Entry.model_validate_json(raw)
    except ValueError as e:
        raise damaged_line(path, line_number(path, line.start), e) from e
    if entry.id != line.id:
        raise BadRunError("has changed while it was read", where=str(path), next_step="Open the run again")
    return entry


def read_entries(run_dir: Path, set_name: str) -> Iterator[Entry]:
    """All entries of a log, in their order. Raises `BadRunError` if it is damaged."""
    path = log_path(run_dir, set_name)
    with open_log(path) as lines, open_log(path) as whole:
        for line in read_lines(lines, path):
            yield read_entry(whole, path, line)


def damaged_line(path: Path, number: int, e: ValueError) -> BadRunError:
    """The error for a line that is no entry."""
    what = first_error(e) if isinstance(e, ValidationError) else str(e)
    return BadRunError(f"line {number}: {what}", where=str(path), next_step=_NEXT_STEP)


class WrongKeyError(ValueError):
    """The line is JSON, but no entry: it is not torn."""


def parse_keys(keys: TypeAdapter[Any], raw: bytes) -> Any:
    """The keys of a line. Raises `WrongKeyError` for JSON that has others, `ValueError` if it is no JSON."""
    try:
        return keys.validate_json(raw)
    except ValidationError as e:
        if e.errors(include_input=False, include_url=False)[0]["type"] == "json_invalid":
            raise ValueError(first_error(e)) from e
        raise WrongKeyError(first_error(e)) from e


def _parsed(raw: bytes, start: int) -> Line:
    """Raises `ValueError`."""
    k: _Keys = parse_keys(_KEYS, raw)
    return Line(
        k["id"], k.get("kind", "explanation"), NeuronPole(k["layer"], k["neuron"], k["pole"]),
        k["text"][:SEARCHED], sys.intern(k["explainer"]), k["status"], k["author"], k.get("author_name"),
        None if k.get("model") is None else sys.intern(k["model"] or ""), k.get("parent"), k.get("about"),
        k.get("value"), k.get("sample", 0), k.get("revision", 0), k.get("mode"), start, len(raw),
    )  # fmt: skip


def _is_last(file: BinaryIO, end: int, max_line: int) -> bool:
    """Whether no complete line follows."""
    file.seek(end)
    return not file.readline(max_line + 1).endswith(b"\n")


def line_number(path: Path, at: int) -> int:
    """The number, from 1, of the line at an offset."""
    number, left = 1, at
    with open_regular(path) as file:
        while left and (block := file.read(min(left, 1 << 20))):
            number += block.count(b"\n")
            left -= len(block)
    return number
