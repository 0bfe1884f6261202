"""Reading the lines of a log of scores: bounded, without locks, and while a writer appends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic takes that of the standard library from Python 3.12 on

from neuron_signatures.runs.explanations.entry import Count, Id, Number
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.logs.lines import open_log, parse_keys, read_whole
from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.runs.scores.line import LineKey, ScoreLine
from neuron_signatures.runs.scores.names import LOGS, Control


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


def open_scores(path: Path) -> BinaryIO:
    """The log of scores for reading. Raises `BadRunError`, and `FileNotFoundError`."""
    return open_log(LOGS, path)


def read_line(file: BinaryIO, path: Path, kept: KeptLine) -> ScoreLine:
    """The whole line. Raises `BadRunError` if it is no line of scores, or no longer there."""
    return read_whole(file, path, ScoreLine, kept.start, kept.size, same=lambda line: line.key == kept.key)


def parse_line(raw: bytes, start: int) -> KeptLine:
    """The line of a log at an offset. Raises `ValueError`."""
    k: _Keys = parse_keys(_KEYS, raw)
    key = LineKey(k["explanation"], NeuronPole(k["layer"], k["neuron"], k["pole"]), k["control"])
    scores = {
        name: KeptScore(v["value"], v.get("ci_low"), v.get("ci_high"), v["n"], v.get("n_positive"),
                        v.get("undefined", ""))
        for name, v in k["scores"].items()
    }  # fmt: skip
    requests = k.get("requests", [])
    return KeptLine(key, k["status"], scores, len(requests), requests.count("ok"), start, len(raw))
