"""Reading the lines of a log of explanations: bounded, without locks, and while a writer appends.

A line is checked in two steps. Opening a log reads of each line only the keys that lists need (`Line`), which takes a
third of the time of `Entry` and a tenth of its memory. The whole entry is read, and checked, when it is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic takes that of the standard library from Python 3.12 on

from neuron_signatures.runs.explanations.entry import MAX_TEXT, Entry, Id, Name
from neuron_signatures.runs.explanations.names import SETS, Kind
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.logs.lines import open_log, parse_keys, parsed_lines, read_whole
from neuron_signatures.runs.records.names import NeuronPole, Pole

SEARCHED = 2000
"""Characters of each text that are kept for lists and searches."""


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


def open_set(path: Path) -> BinaryIO:
    """The log of a set for reading. Raises `BadRunError`, and `FileNotFoundError`."""
    return open_log(SETS, path)


def read_entry(file: BinaryIO, path: Path, line: Line) -> Entry:
    """The whole entry of a line. Raises `BadRunError` if it is no entry, or no longer there."""
    return read_whole(file, path, Entry, line.start, line.size, same=lambda entry: entry.id == line.id)


def read_entries(run_dir: Path, set_name: str) -> Iterator[Entry]:
    """All entries of a log, in their order. Raises `BadRunError` if it is damaged."""
    path = SETS.path(run_dir, set_name)
    with open_set(path) as lines, open_set(path) as whole:
        for line in parsed_lines(SETS, lines, path, parse_line):
            yield read_entry(whole, path, line)


def parse_line(raw: bytes, start: int) -> Line:
    """The line of a log at an offset. Raises `ValueError`."""
    k: _Keys = parse_keys(_KEYS, raw)
    return Line(
        k["id"], k.get("kind", "explanation"), NeuronPole(k["layer"], k["neuron"], k["pole"]),
        k["text"][:SEARCHED], sys.intern(k["explainer"]), k["status"], k["author"], k.get("author_name"),
        None if k.get("model") is None else sys.intern(k["model"] or ""), k.get("parent"), k.get("about"),
        k.get("value"), k.get("sample", 0), k.get("revision", 0), k.get("mode"), start, len(raw),
    )  # fmt: skip
