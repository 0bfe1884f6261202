"""The table of all explanations of a run: search in the texts, filters, order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from neuron_signatures.runs.explanations.shown import Shown
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.query import SORTS, STATES, Is, SortBy, Wanted, parse
from neuron_signatures.views.explanations.shown import ExplanationView, views_of
from neuron_signatures.views.explanations.texts import one_line

__all__ = ["SORTS", "STATES", "ExplanationRow", "ExplanationTable", "Is", "SortBy", "Wanted", "matches", "ordered",
           "parse", "rows_of"]  # fmt: skip

MAX_TEXT = 2000
"""Characters of each text that the table holds, for display and search."""
EVERYTHING = Wanted()


class ExplanationRow(NamedTuple):
    """One explanation in the table. Texts are raw."""

    id: str
    at: NeuronAt
    pole: Pole
    set: str
    text: str
    """At most `MAX_TEXT` characters; empty if the request failed."""
    status: str
    reason: str
    explainer: str
    author: str
    """The person's name, or the model's as it answered, or the explainer that needs no model."""
    is_human: bool
    is_edit: bool
    is_current: bool
    is_chosen: bool
    locked_by: str | None
    score: float | None
    """Its value in the newest choice of its set; None without one, or where undefined."""
    n_up: int
    n_down: int
    n_notes: int
    sample: int
    revision: int
    mode: int | None
    created_at_utc: str
    is_finished: bool
    """Whether its set is finished."""

    @property
    def label(self) -> str:
        """Such as `L3N508+`."""
        return f"{self.at.label}{self.pole}"

    @property
    def is_ok(self) -> bool:
        """Whether it says something."""
        return self.status == "ok" and bool(self.text.strip())


@dataclass(frozen=True)
class ExplanationTable:
    """Every explanation of a run, in the order of its sets and neurons."""

    every: tuple[ExplanationRow, ...]

    def rows(self, wanted: Wanted = EVERYTHING) -> list[ExplanationRow]:
        """Those that fit, in the wanted order; rows without a score come last, whatever the direction."""
        return ordered([r for r in self.every if matches(r, wanted)], wanted.sort, reverse=wanted.reverse)

    @property
    def sets(self) -> list[str]:
        return sorted({r.set for r in self.every})

    @property
    def statuses(self) -> list[str]:
        return sorted({r.status for r in self.every})

    @property
    def explainers(self) -> list[str]:
        return sorted({r.explainer for r in self.every})

    @property
    def authors(self) -> list[str]:
        """Names of people and models, raw."""
        return sorted({r.author for r in self.every})

    def neurons(self) -> list[NeuronAt]:
        """The neurons that have explanations, in ascending order."""
        return sorted({r.at for r in self.every})


def rows_of(found: Iterable[Shown], finished: Mapping[str, bool]) -> Iterator[ExplanationRow]:
    """Rows of explanations as the reader gives them, pole by pole; without requests that were sent again later."""
    for _, of_pole in groupby(found, key=lambda s: (s.set, s.at)):
        for view in views_of(list(of_pole), finished):
            if not view.is_replaced:
                yield _row(view)


def matches(row: ExplanationRow, wanted: Wanted) -> bool:
    """Whether an explanation fits the search and the filters."""
    w = wanted
    return (
        (w.layer is None or row.at.layer == w.layer)
        and (w.neuron is None or row.at.neuron == w.neuron)
        and (w.pole is None or row.pole == w.pole)
        and _is_one(w.sets, row.set)
        and _is_one(w.statuses, row.status)
        and _is_one(w.explainers, row.explainer)
        and _is_one(w.authors, row.author, "human" if row.is_human else "model")
        and all(_HOLDS[state](row) for state in w.states)
        and (w.least is None or (row.score is not None and row.score >= w.least))
        and (w.most is None or (row.score is not None and row.score <= w.most))
        and _has_words(row.text, w.words)
    )


def ordered(rows: Sequence[ExplanationRow], by: SortBy, *, reverse: bool = False) -> list[ExplanationRow]:
    """By neuron and pole ascending; by the largest score or votes, or the newest, first; by name. Stable."""
    found = sorted(
        rows, key=lambda r: (r.at, r.pole, not r.is_ok, not r.is_current, r.locked_by is None, _undefined_last(r.score))
    )
    if by == "neuron":
        return found[::-1] if reverse else found
    if by == "score":
        scored = [r for r in found if r.score is not None]
        scored.sort(key=lambda r: r.score or 0.0, reverse=not reverse)
        return scored + [r for r in found if r.score is None]
    if by == "votes":
        return sorted(found, key=lambda r: r.n_up - r.n_down, reverse=not reverse)
    if by == "made":
        return sorted(found, key=lambda r: r.created_at_utc, reverse=not reverse)
    if by == "text":
        return sorted(found, key=lambda r: (not r.is_ok, one_line(r.text[:200]).casefold()), reverse=reverse)
    return sorted(found, key=lambda r: r.set if by == "set" else r.status, reverse=reverse)


def _is_one(names: tuple[str, ...], *own: str) -> bool:
    return not names or any(n.casefold() == o.casefold() for n in names for o in own)


def _has_words(text: str, words: tuple[str, ...]) -> bool:
    """Whether the text, raw or as it is shown, contains every word, in any case."""
    if not words:
        return True
    raw = text.casefold()
    if all(w.casefold() in raw for w in words):
        return True
    if text.isascii() and text.isprintable():  # shown as it is, apart from runs of spaces
        return False
    shown = one_line(text).casefold()
    return all(w.casefold() in raw or w.casefold() in shown for w in words)


def _undefined_last(score: float | None) -> float:
    """Sorts by the largest score first."""
    return math.inf if score is None else -score


def _row(v: ExplanationView) -> ExplanationRow:
    e = v.entry
    return ExplanationRow(
        id=e.id, at=v.at, pole=e.pole, set=e.set, text=e.text[:MAX_TEXT], status=e.status, reason=e.reason,
        explainer=e.explainer, author=v.author, is_human=v.is_human, is_edit=v.is_human and e.parent is not None,
        is_current=v.is_current, is_chosen=v.is_chosen, locked_by=v.locked_by, score=v.score, n_up=v.n_up,
        n_down=v.n_down, n_notes=len(v.notes), sample=e.sample, revision=e.revision, mode=e.mode,
        created_at_utc=e.created_at_utc, is_finished=v.is_finished,
    )  # fmt: skip


_HOLDS: Mapping[Is, Callable[[ExplanationRow], bool]] = {
    "current": lambda r: r.is_current, "chosen": lambda r: r.is_chosen, "locked": lambda r: r.locked_by is not None,
    "edited": lambda r: r.is_edit, "human": lambda r: r.is_human, "noted": lambda r: r.n_notes > 0,
    "failed": lambda r: not r.is_ok,
}  # fmt: skip
