"""Reading the lines of a log of scores: bounded, without locks, and while a writer appends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic takes that of the standard library from Python 3.12 on

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations import lines
from neuron_signatures.runs.explanations.entry import Count, Id, Number
from neuron_signatures.runs.explanations.lines import damaged_line, line_number, parse_keys, parsed_lines
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.names import inside
from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.runs.scores.line import LineKey, ScoreLine
from neuron_signatures.runs.scores.names import SCORES, Control, log_name

MAX_LINE = 64 << 20
"""Bytes of a line: the predictions of some dozens of windows of 4096 tokens are 10 MB."""
MAX_LOG = 64 << 30
"""Bytes of a log that are read; only keys and scores are kept of it."""


class _Value(TypedDict):
    __pydantic_config__ = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)  # type: ignore[misc]

    value: Number | None
    ci_low: NotRequired[Number | None]
    ci_high: NotRequired[Number | None]
    n: Count
    n_positive: NotRequired[Count | None]
    undefined: NotRequired[Annotated[str, Field(max_length=40)]]


class _Keys(TypedDict):
    """The keys of a line that tables need; the others are skipped."""

    __pydantic_config__ = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)  # type: ignore[misc]

    explanation: Id
    layer: Annotated[int, Field(ge=0, lt=1 << 20)]
    neuron: Annotated[int, Field(ge=0, lt=1 << 31)]
    pole: Pole
    control: Control
    status: Status
    scores: Annotated[dict[Annotated[str, Field(max_length=60)], _Value], Field(max_length=100)]
    requests: NotRequired[Annotated[list[Status], Field(max_length=100_000)]]


_KEYS = TypeAdapter(_Keys)


class KeptScore(NamedTuple):
    """One score of a line, with the fields of `ScoreValue`."""

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_positive: int | None
    undefined: str


class KeptLine(NamedTuple):
    """What is kept of a line, and where the whole is (`start`, and `size` in bytes)."""

    key: LineKey
    status: Status
    scores: dict[str, KeptScore]
    n_requests: int
    n_ok: int
    """Requests with a valid answer."""
    start: int
    size: int


def log_path(run_dir: Path, name: str) -> Path:
    """Raises `BadRunError` if it is a link that leads out of the run."""
    return inside(run_dir, f"{SCORES}/{log_name(name)}")


def open_log(path: Path) -> BinaryIO:
    """The log for reading. Raises `BadRunError` if it is too large or not a regular file, and `FileNotFoundError`."""
    return lines.open_log(path, max_bytes=MAX_LOG)


def read_lines(file: BinaryIO, path: Path, *, start: int = 0) -> Iterator[KeptLine]:
    """The complete lines from the offset `start` on, without a torn last one.

    Raises `BadRunError` with the file and the number of the line for any other line that is no line of scores.
    """
    return parsed_lines(file, path, _parsed, start=start, max_line=MAX_LINE)


def read_line(file: BinaryIO, path: Path, kept: KeptLine) -> ScoreLine:
    """The whole line. Raises `BadRunError` if it is no line of scores, or no longer there."""
    file.seek(kept.start)
    raw = file.read(kept.size)
    try:
        line = ScoreLine.model_validate_json(raw)
    except ValueError as e:
        raise damaged_line(path, line_number(path, kept.start), e) from e
    if line.key != kept.key:
        raise BadRunError("has changed while it was read", where=str(path), next_step="Open the run again")
    return line


def _parsed(raw: bytes, start: int) -> KeptLine:
    k: _Keys = parse_keys(_KEYS, raw)
    key = LineKey(k["explanation"], NeuronPole(k["layer"], k["neuron"], k["pole"]), k["control"])
    scores = {
        name: KeptScore(v["value"], v.get("ci_low"), v.get("ci_high"), v["n"], v.get("n_positive"),
                        v.get("undefined", ""))
        for name, v in k["scores"].items()
    }  # fmt: skip
    requests = k.get("requests", [])
    return KeptLine(key, k["status"], scores, len(requests), requests.count("ok"), start, len(raw))
