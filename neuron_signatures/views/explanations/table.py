"""The table of all explanations of a run: search in the texts, filters, order."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.shown import ExplanationView
from neuron_signatures.views.explanations.texts import one_line

SortBy = Literal["neuron", "score", "votes", "made", "set", "status", "text"]
SORTS: tuple[SortBy, ...] = ("neuron", "score", "votes", "made", "set", "status", "text")
Is = Literal["current", "chosen", "locked", "edited", "human", "noted", "failed"]
STATES: tuple[Is, ...] = ("current", "chosen", "locked", "edited", "human", "noted", "failed")
_KEYS = ("set", "status", "explainer", "author", "is")
_TERM = re.compile(
    rf'(?:(?P<key>{"|".join(_KEYS)}):)?(?P<quoted>"[^"]+")(?!\S)'
    r"|(?P<sign>[<>]=?)\s*(?P<limit>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?!\S)"
    rf"|(?P<key2>{'|'.join(_KEYS)}):(?P<value>\S*)"
    r"|L(?P<layer>\d{1,6})(?:N(?P<neuron>\d{1,9}))?(?P<pole>[+-]?)(?!\S)"
    r"|(?P<word>\S+)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class Wanted:
    """Search, filters and order of the table. Empty or None: no filter. Names are compared without case.

    `words` must all be in the text. Of the names in `sets`, `statuses`, `explainers` and `authors`, one must fit; the
    author `human` stands for every person and `model` for every model. All `states` must hold.
    """

    words: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    explainers: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    states: tuple[Is, ...] = ()
    layer: int | None = None
    neuron: int | None = None
    pole: Pole | None = None
    least: float | None = None
    """Least score; an explanation without a score fits no bound."""
    most: float | None = None
    sort: SortBy = "neuron"
    reverse: bool = False


@dataclass(frozen=True)
class ExplanationTable:
    """Every explanation of a run, in the order of its sets and logs."""

    views: tuple[ExplanationView, ...]

    def rows(self, wanted: Wanted = Wanted()) -> list[ExplanationView]:
        """Those that fit, in the wanted order; rows without a score come last, whatever the direction."""
        return ordered([v for v in self.views if matches(v, wanted)], wanted.sort, reverse=wanted.reverse)

    @property
    def sets(self) -> list[str]:
        return sorted({v.entry.set for v in self.views})

    @property
    def statuses(self) -> list[str]:
        return sorted({v.entry.status for v in self.views})

    @property
    def explainers(self) -> list[str]:
        return sorted({v.entry.explainer for v in self.views})

    @property
    def authors(self) -> list[str]:
        """Names of people and models, raw."""
        return sorted({v.author for v in self.views})

    def neurons(self) -> list[NeuronAt]:
        """The neurons that have explanations, in ascending order."""
        return sorted({v.at for v in self.views})


def matches(view: ExplanationView, wanted: Wanted) -> bool:
    """Whether an explanation fits the search and the filters."""
    e, w = view.entry, wanted
    return (
        (w.layer is None or e.layer == w.layer)
        and (w.neuron is None or e.neuron == w.neuron)
        and (w.pole is None or e.pole == w.pole)
        and _is_one(w.sets, e.set)
        and _is_one(w.statuses, e.status)
        and _is_one(w.explainers, e.explainer)
        and _is_one(w.authors, view.author, e.author)
        and all(_holds(view, state) for state in w.states)
        and (w.least is None or (view.score is not None and view.score >= w.least))
        and (w.most is None or (view.score is not None and view.score <= w.most))
        and _has_words(e.text, w.words)
    )


def ordered(views: Sequence[ExplanationView], by: SortBy, *, reverse: bool = False) -> list[ExplanationView]:
    """By neuron and pole ascending; by the largest score or votes, or the newest, first; by name. Stable."""
    rows = sorted(views, key=lambda v: (v.at, v.entry.pole, not v.is_current))
    if by == "neuron":
        return rows[::-1] if reverse else rows
    if by == "score":
        scored = sorted((v for v in rows if v.score is not None), key=lambda v: -(v.score or 0.0), reverse=reverse)
        return scored + [v for v in rows if v.score is None]
    if by == "votes":
        return sorted(rows, key=lambda v: v.n_up - v.n_down, reverse=not reverse)
    if by == "made":
        return sorted(rows, key=lambda v: v.entry.created_at_utc, reverse=not reverse)
    if by == "text":
        return sorted(rows, key=lambda v: (not v.is_ok, one_line(v.entry.text[:200]).casefold()), reverse=reverse)
    return sorted(rows, key=lambda v: v.entry.set if by == "set" else v.entry.status, reverse=reverse)


def parse(query: str) -> Wanted:
    """A filter as typed: words, `"a phrase"`, `set:`, `status:`, `explainer:`, `author:`, `is:`, `L3N14-`, `>0.5`.

    Raises `UsageError` for a key without a value and a state that does not exist.
    """
    found: dict[str, tuple[str, ...]] = {}
    wanted = Wanted()
    for m in _TERM.finditer(query):
        if m["sign"]:
            limit = float(m["limit"])
            least = m["sign"][0] == ">"
            if len(m["sign"]) == 1:  # the bounds of `Wanted` include the number
                limit = math.nextafter(limit, math.inf if least else -math.inf)
            wanted = replace(wanted, least=limit) if least else replace(wanted, most=limit)
        elif m["layer"]:
            neuron = int(m["neuron"]) if m["neuron"] else None
            pole: Pole | None = "+" if m["pole"] == "+" else "-" if m["pole"] == "-" else None
            wanted = replace(wanted, layer=int(m["layer"]), neuron=neuron, pole=pole)
        else:
            key = (m["key"] or m["key2"] or "words").casefold()
            text = m["quoted"][1:-1] if m["quoted"] else m["value"] if m["key2"] else m["word"]
            found[key] = (*found.get(key, ()), _value(key, text))
    states = tuple(s for s in STATES if s in found.get("is", ()))
    return replace(
        wanted, words=found.get("words", ()), sets=found.get("set", ()), statuses=found.get("status", ()),
        explainers=found.get("explainer", ()), authors=found.get("author", ()), states=states,
    )  # fmt: skip


def _value(key: str, text: str) -> str:
    if not text.strip():
        raise UsageError(f"{key}: has nothing to look for")
    if key == "is" and text.casefold() not in STATES:
        raise UsageError(f"is:{text[:30]} is no state", next_step=f"States are {', '.join(STATES)}")
    return text.casefold() if key == "is" else text


def _is_one(names: tuple[str, ...], *own: str) -> bool:
    return not names or any(n.casefold() == o.casefold() for n in names for o in own)


def _has_words(text: str, words: tuple[str, ...]) -> bool:
    """Whether the text, raw or as it is shown, contains every word, in any case."""
    if not words:
        return True
    low = text.casefold()
    return all(w.casefold() in low or w.casefold() in one_line(text).casefold() for w in words)


def _holds(view: ExplanationView, state: Is) -> bool:
    if state == "current":
        return view.is_current
    if state == "chosen":
        return view.is_chosen
    if state == "locked":
        return view.locked_by is not None
    if state == "edited":
        return view.is_human and view.entry.parent is not None
    if state == "human":
        return view.is_human
    if state == "noted":
        return bool(view.notes)
    return not view.is_ok
