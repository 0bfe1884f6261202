"""Sides of a contrast to start from: those of stored contrasts, and those that the prompts' fields allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.result_records import ContrastRecord, read_record
from neuron_signatures.runs.results import list_contrasts, meta_name
from neuron_signatures.runs.run import Run

_MOST = 4
_FEWEST = 3
_PLAIN = 40  # characters of a value that may stand in a side
_SPECIAL = set(",@*?[=")


class Suggestion(NamedTuple):
    """Two sides in the grammar of `analysis.contrast.grammar`; an empty `b` is what `a` leaves."""

    a: str
    b: str = ""
    rank_by: str = "difference"


def suggestions(run: Run) -> list[Suggestion]:
    """The stored contrasts of the run first, then values of the prompts' fields that divide them most evenly."""
    found = [*_stored(run), *_of_fields(run)]
    return list({(s.a, s.b): s for s in reversed(found)}.values())[::-1][:_MOST]


def _stored(run: Run) -> Iterator[Suggestion]:
    for stem in list_contrasts(run.path):
        try:
            record = read_record(run.path, meta_name(stem), ContrastRecord)
        except ProjectError:
            continue
        b = record.b.text
        yield Suggestion(record.a.text, "" if b.startswith("other prompts") or b == "*@rest" else b, record.rank_by)


def _of_fields(run: Run) -> Iterator[Suggestion]:
    n = Counter(pair for p in run.prompts for pair in set(_values(p.metadata)))
    even = sorted(n, key=lambda pair: (abs(n[pair] - len(run.prompts) / 2), pair))
    for name, value in even:
        if _FEWEST <= n[name, value] <= len(run.prompts) - _FEWEST:
            yield Suggestion(f"{name}={value}@last")


def _values(metadata: dict[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in metadata.items():
        for text in value if isinstance(value, list) else [value]:
            usable = isinstance(text, str) and 0 < len(text) <= _PLAIN and text.isprintable()
            if usable and not _SPECIAL & set(f"{name}{text}"):
                yield name, str(text)
