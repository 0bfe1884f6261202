"""All explanations of a run as one sorted list of rows, and the search in it."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from neuron_signatures.runs.explanations.index import LogIndex
from neuron_signatures.runs.explanations.resolve import State
from neuron_signatures.runs.explanations.shown import Row
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import POLES, NeuronPole, Pole

NEURON = re.compile(r"L(\d{1,6})(?:N(\d{1,9})([+-])?)?", re.ASCII | re.IGNORECASE)
"""A word of a search that selects a layer, a neuron or a pole instead of texts."""


@dataclass(frozen=True)
class Search:
    """What rows must have; None means any. `text` as in `Explanations.search`."""

    text: str = ""
    status: Status | None = None
    explainer: str | None = None
    set: str | None = None
    pole: Pole | None = None
    author: Literal["human", "model"] | None = None
    locked: bool | None = None
    current: bool | None = None

    def rows(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the rows that fit."""
        names, words = [], []
        for word in self.text.split():
            found = NEURON.fullmatch(word)
            names.append(found) if found else words.append(word.casefold())
        return [
            r for r in rows
            if self._fits(r) and all(_is_of(r.at, name) for name in names) and (not words or _holds(r.text, words))
        ]  # fmt: skip

    def _fits(self, r: Row) -> bool:
        return (
            (self.status is None or r.status == self.status)
            and (self.explainer is None or r.explainer == self.explainer)
            and (self.set is None or r.set == self.set)
            and (self.pole is None or r.at.pole == self.pole)
            and (self.author is None or r.author == self.author)
            and (self.locked is None or r.locked == self.locked)
            and (self.current is None or r.current == self.current)
        )


def all_rows(logs: Iterable[LogIndex]) -> list[Row]:
    """By layer, neuron, pole and set, in the order of the log."""
    return sorted((row for log in logs for at in log.poles for row in _rows_of(log, at)), key=_key)


def replace_rows(rows: list[Row], log: LogIndex, poles: Iterable[NeuronPole]) -> None:
    """Make the rows of these poles again, in place."""
    for at in poles:
        key = (*order(at), log.name)
        rows[bisect_left(rows, key, key=_key) : bisect_right(rows, key, key=_key)] = _rows_of(log, at)


def order(at: NeuronPole) -> tuple[int, int, int]:
    """The order of poles in lists."""
    return at.layer, at.neuron, POLES.index(at.pole)


def _key(row: Row) -> tuple[int, int, int, str]:
    return (*order(row.at), row.set)


def _rows_of(log: LogIndex, at: NeuronPole) -> list[Row]:
    return [_row(log.name, state) for state in log.states(at)]


def _row(set_name: str, s: State) -> Row:
    line = s.line
    return Row(
        set_name, line.id, line.at, line.text, line.explainer, line.status, line.author, line.author_name, s.current,
        s.locked_by is not None, s.choice is not None, line.author == "human" and line.parent is not None, s.up, s.down,
        line.sample, line.revision, line.mode,
    )  # fmt: skip


def _is_of(at: NeuronPole, name: re.Match[str]) -> bool:
    layer, neuron, pole = name.groups()
    of_neuron = neuron is None or at.neuron == int(neuron)
    return at.layer == int(layer) and of_neuron and pole in (None, at.pole)


def _holds(text: str, words: Sequence[str]) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)
