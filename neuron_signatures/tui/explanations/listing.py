"""The list of all explanations of a run: filtered, sorted, and stepped through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from neuron_signatures.runs.explanations.shown import SetInfo
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.explanations.document import sets_line
from neuron_signatures.tui.layout.text import Column, Line, Span, beginning, line, safe
from neuron_signatures.tui.scores.lines import headlines_text
from neuron_signatures.tui.scores.reading import Headlines
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.query import SORTS, SortBy, parse
from neuron_signatures.views.explanations.table import ExplanationRow, ExplanationTable
from neuron_signatures.views.explanations.texts import one_line, row_text
from neuron_signatures.views.scores.texts import short_number

_ORDERS: Mapping[SortBy, tuple[str, str]] = {
    "neuron": ("by neuron", "by neuron, the last first"),
    "score": ("by score, the largest first", "by score, the smallest first"),
    "votes": ("by votes, the most first", "by votes, the least first"),
    "made": ("the newest first", "the oldest first"),
    "set": ("by set", "by set, backwards"),
    "status": ("by status", "by status, backwards"),
    "text": ("by text", "by text, backwards"),
}


@dataclass(frozen=True)
class Order:
    """Filter and order of the list, as they were typed."""

    query: str = ""
    sort: SortBy = "neuron"
    reverse: bool = False

    def next(self) -> Order:
        return replace(self, sort=SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)], reverse=False)


AS_LISTED = Order()


@dataclass(frozen=True)
class ExplanationList:
    """Rows in an order; `index` is the one that is open."""

    rows: Sequence[ExplanationRow]
    n_all: int
    order: Order
    index: int = -1

    @classmethod
    def arranged(cls, table: ExplanationTable, order: Order) -> ExplanationList:
        """Raises `UsageError` for an invalid filter."""
        wanted = replace(parse(order.query), sort=order.sort, reverse=order.reverse)
        return cls(table.rows(wanted), len(table.every), order)

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, i: int) -> ExplanationRow:
        return self.rows[i]

    def step(self, by: int, run: Run) -> ExplanationList | None:
        """The next or previous row of another pole, whose neuron the run stores; None if there is none."""
        i = self.index + by
        now = self.rows[self.index].label if self.index >= 0 else ""
        while 0 <= i < len(self.rows):
            if self.rows[i].label != now and run.stores(*self.rows[i].at):
                return replace(self, index=i)
            i += by
        return None

    def beside(self, at: NeuronAt, by: int, run: Run) -> ExplanationList | None:
        """The next or previous neuron in the order of the model, whose neuron the run stores; None if there is none."""
        others = {r.at for r in self.rows if (r.at > at if by > 0 else r.at < at) and run.stores(*r.at)}
        if not others:
            return None
        there = min(others) if by > 0 else max(others)
        return replace(self, index=next(i for i, r in enumerate(self.rows) if r.at == there))

    def label(self, at: NeuronAt) -> str:
        """Status text while the neuron of the open row is shown; empty for another one."""
        if self.index < 0 or self.rows[self.index].at != at:
            return ""
        return f"{self.index + 1} of {len(self.rows):,} explanations (. next , previous)"


class ListTable:
    """The rows of a list, laid out while visible."""

    def __init__(self, found: ExplanationList, scored: Headlines, *, nothing: str) -> None:
        """`nothing`: what to run if the run has no explanations at all."""
        self.found = found
        self.scored = scored
        self._nothing = nothing

    @property
    def empty(self) -> str:
        return self._nothing if not self.found.n_all else "no explanation matches the filter; / changes it"

    def __len__(self) -> int:
        return len(self.found)

    def columns(self) -> Sequence[Column]:
        by = self.found.order.sort
        return (
            Column("neuron", "neuron", 11), Column("state", "state", 8, drop=3),
            Column("text", "explanation", 0, min_width=36),
            Column("score", "score", 7, right=True, drop=0 if by == "score" else 2),
            *((Column("scored", "scored", 6, right=True, drop=1),) if self.scored.score else ()),
            Column("votes", "votes", 6, right=True, drop=0 if by == "votes" else 5),
            Column("set", "set", 14, drop=0 if by == "set" else 4),
            Column("explainer", "explainer", 13, drop=8), Column("author", "written by", 16, drop=6),
            Column("made", "made (UTC)", 16, drop=0 if by == "made" else 7),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.found.rows[i]
        state, style = _state(r)
        votes = " ".join(filter(None, (f"+{r.n_up}" if r.n_up else "", f"-{r.n_down}" if r.n_down else "")))
        return {
            "neuron": Span(r.label, "title"), "state": Span(state, style),
            "text": Span(safe(row_text(r.text, r.status, r.reason)), "" if r.is_ok else "dim"),
            "score": Span("" if r.score is None else f"{r.score:.3f}"), "votes": Span(votes),
            "scored": Span(self._scored(r), "title"),
            "set": Span(beginning(r.set), "" if r.is_finished else "warn"),
            "explainer": Span(beginning(r.explainer), "dim"),
            "author": Span(beginning(one_line(r.author)), "mark" if r.is_human else "dim"),
            "made": Span(beginning(r.created_at_utc[:16].replace("T", " ")), "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        row = self.found.rows[i]._asdict()
        scored = {"scored": self.scored.values.get(row["id"])} if self.scored.score else {}
        return {**row.pop("at")._asdict(), **row, **scored}

    def _scored(self, r: ExplanationRow) -> str:
        """The headline score, `-` where it is undefined; empty if it was not scored."""
        return short_number(self.scored.values[r.id]) if r.id in self.scored.values else ""


def list_head(
    found: ExplanationList, sets: Sequence[SetInfo], problems: Sequence[str], scored: Headlines
) -> list[Line]:
    """How many rows, the filter, the order, what cannot be read, the sets, and what was scored."""
    query = found.order.query
    n = f"  {len(found):,} of {found.n_all:,}" if query else f"  {found.n_all:,}"
    shown = (Span("  filter ", "dim"), Span(beginning(query), "mark")) if query else ()
    order = Span(f"  {_ORDERS[found.order.sort][found.order.reverse]}", "dim")
    first = line(Span("explanations", "title"), Span(n, "dim"), order, *shown)
    unread = [line(Span(safe(p), "warn")) for p in (*problems, *scored.problems)]
    what = [line(Span(headlines_text(scored), "dim"))] if scored.score else []
    return [first, *unread, *([sets_line(sets)] if sets else []), *what]


def _state(r: ExplanationRow) -> tuple[str, str]:
    """The most important state of a row in a word, and its style."""
    if r.locked_by is not None:
        return "locked", "mark"
    if not r.is_ok:
        return "failed", "warn"
    if r.is_human and r.is_current:
        return "edited" if r.is_edit else "written", "mark"
    return ("current", "") if r.is_current else ("chosen", "dim") if r.is_chosen else ("", "")
