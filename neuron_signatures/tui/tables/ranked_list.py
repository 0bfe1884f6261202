"""A ranked list as shown: sorted, filtered, and stepped through in the browser."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.layout.bars import bar
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    Span,
    beginning,
    line,
    line_text,
    number,
    safe,
    sign_style,
    size,
    token_text,
    width,
    wrap,
)
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.views.acts import peak_place
from neuron_signatures.views.changes import Stamp
from neuron_signatures.views.filters import Text, parse
from neuron_signatures.views.lists.ranked import SORT_KEYS, Kind, ListRef, RankedList, Row, SortKey
from neuron_signatures.views.lists.validated import Validated, unreadable_validations
from neuron_signatures.views.neurons.descriptions import Description, shown_tokens

_SIGNED = ("influence", "contrast")


class Order(NamedTuple):
    """Sort order and filter of a list."""

    key: SortKey | None = None
    """None: the order of the list, by |score|."""
    descending: bool = True
    query: str = ""

    def next(self, kind: Kind) -> Order:
        """Order by the next column: scores descending, neurons and texts ascending."""
        # an influence list has no notes, and the notes of a contrast are numbers
        without = ("|score|", "note", *(["token"] if kind == "contrast" else [])) if kind in _SIGNED else ("|score|",)
        keys: tuple[SortKey | None, ...] = (None, *(k for k in SORT_KEYS if k not in without))
        now = None if self.key == "|score|" else self.key
        key = keys[(keys.index(now) + 1) % len(keys)]
        return Order(key, key in (None, "score"), self.query)

    def reversed(self) -> Order:
        return Order(self.key or "|score|", not self.descending, self.query)


AS_LISTED = Order()


@dataclass(frozen=True)
class ListView:
    """The rows of a list that are shown, in order."""

    ranked: RankedList
    rows: np.ndarray
    """Indices into the list."""
    order: Order = AS_LISTED
    validated: Validated | None = None
    faults: tuple[str, ...] = ()
    """Validations that cannot be read: one of them may be of this list."""
    files: Mapping[str, Stamp] = field(default_factory=dict)
    """Stamps of the files that the list was read from."""

    @classmethod
    def of(cls, ranked: RankedList) -> ListView:
        return cls(ranked, np.arange(len(ranked)))

    @classmethod
    def read(cls, opened: OpenedRun, ref: ListRef) -> ListView:
        """The list with its validation."""
        view = cls.of(opened.ranked(ref))
        validated = opened.validations().get(ref.stem)
        faults = tuple(unreadable_validations(opened.run.path)) if ref.kind == "influence" and not validated else ()
        return replace(view, validated=validated, faults=faults, files=opened.list_stamps(ref))

    def arranged(self, order: Order) -> ListView:
        """The list in this order, with this filter."""
        key, descending, query = order
        rows = np.arange(len(self.ranked)) if key is None else self.ranked.order(key, descending=descending)
        if query.strip():
            rows = rows[self.ranked.matching(query)[rows]]
        return replace(self, rows=rows, order=order)


class ListTable:
    """The rows of a view, created on demand."""

    def __init__(self, view: ListView, run: Run, *, hint: str = "") -> None:
        """`hint`: appended to the message if no row matches the filter."""
        self.view = view
        self._hint = hint
        self._run = run
        self._constant = view.ranked.constants()
        self._full = float(np.nanmax(np.abs(view.ranked.score), initial=0.0))
        terms = [t for t in parse(view.order.query) if isinstance(t, Text)]
        self._lowered = [t.pattern for t in terms if t.field == "suppresses"]
        self._raised = [t.pattern for t in terms if t.field in ("any", "promotes")]

        def described_row(i: int) -> tuple[Row, Description]:
            index = int(view.rows[i])
            return view.ranked.row(index), view.ranked.description(index)

        # not a method, which would keep this table and its list alive until the next garbage collection
        self._row = lru_cache(maxsize=1000)(described_row)

    @property
    def empty(self) -> str:
        if not self.view.order.query:
            return "the list has no row"
        return "; ".join([f"no row matches the filter{self._hint}", *self.view.ranked.described.notes])

    def __len__(self) -> int:
        return len(self.view.rows)

    def columns(self) -> Sequence[Column]:
        kind = self.view.ranked.ref.kind
        described = self.view.ranked.described
        shown = {
            "act": kind in ("peaks", "influence"), "prompt": kind == "peaks", "note": kind == "contrast",
            "pos": kind in ("peaks", "influence") and "pos" not in self._constant,
            "token": kind in ("peaks", "influence") and "token" not in self._constant,
            "often": described.often is not None,
            "writes": described.written is not None, "fires": kind == "signatures" or described.fires is not None,
        }  # fmt: skip
        columns = (
            Column("rank", "#", 5, right=True), Column("neuron", "neuron", 10),
            Column("score", "score", 10, right=True), Column("bar", "", 8, drop=5),
            Column("act", "act", 10, right=True, drop=6), Column("pos", "pos", 5, right=True, drop=8),
            Column("token", "token", 12, drop=7), Column("prompt", "prompt", 16, drop=9),
            Column("note", "test, means", 0, drop=1, min_width=22),
            Column("writes", "promotes, or lowers" if kind == "influence" else "promotes", 0, drop=2, min_width=22),
            Column("fires", "fires on", 0, drop=4, min_width=15),
            Column("often", "most often on (corpus)", 0, drop=3, min_width=22),
        )  # fmt: skip
        return tuple(c for c in columns if shown.get(c.name, True))

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r, d = self._row(i)
        kind = self.view.ranked.ref.kind
        style = sign_style(r.score) if kind in _SIGNED else ""
        lowers = bool(self._lowered) or (kind == "influence" and (r.score or 0) < 0 and not self._raised)
        tokens, patterns = (d.suppresses, self._lowered) if lowers else (d.promotes, self._raised)
        writes = shown_tokens(tokens, patterns)
        stored, unread = self._run.stores(*r.at), Span("not stored", "warn")
        return {
            "rank": Span(str(r.rank), "dim"), "neuron": Span(r.at.label + r.pole, "title"),
            "score": Span("undefined", "dim") if r.score is None else Span(_score_text(r, kind), style),
            "bar": Span(bar(r.score, self._full, widths.get("bar", 0)), style),
            "act": Span(number(r.act), sign_style(r.act)),
            "prompt": Span(beginning(r.prompt_id or "")), "pos": Span("" if r.pos is None else str(r.pos), "dim"),
            "token": Span("" if r.token is None else token_text(r.token), "token"),
            "note": Span(beginning(r.note), "dim"),
            "writes": Span(safe(f"lowers {writes}" if lowers and writes else writes), "token"),
            "often": Span(beginning(d.often.text_with_share())) if stored or "fires" in widths else unread,
            "fires": Span(beginning(d.fires), "dim") if stored else unread,
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        r, d = self._row(i)
        at = {"rank": r.rank, "layer": r.at.layer, "neuron": r.at.neuron}
        rest = {k: v for k, v in r._asdict().items() if k not in ("rank", "at")}
        about = {**d._asdict(), "often": d.often._asdict()}
        return {**at, "stored": self._run.stores(*r.at), **rest, **about}


def list_header(view: ListView, columns: int) -> list[Line]:
    """Title, validation, filter and order; then warnings and how the list was made, wrapped."""
    ranked, (key, descending, query), checked = view.ranked, view.order, view.validated
    order = f"by {key or '|score|'}, {'largest' if descending else 'smallest'} first"
    if key in ("neuron", "token", "note"):
        order = f"by {key}, {'descending' if descending else 'ascending'}"
    found = f"{len(view.rows)} of {len(ranked)}" if query else f"{len(ranked)}"
    lines = [
        line(Span(beginning(ranked.ref.title), "title")),
        line(Span(validation_text(view), "warn" if view.faults else "mark" if checked else "dim")),
        line(Span(f"{found} rows ", "dim"),
             *((Span("filter ", "dim"), Span(beginning(query), "mark"), Span("  ")) if query else ()),
             Span(f"{order}; score = {safe(ranked.score_name)}", "dim")),
    ]  # fmt: skip
    lines += [
        x
        for w in (*view.faults, *ranked.warnings, *ranked.described.notes)
        for x in _wrapped("warning", w, "warn", columns)
    ]
    facts = [*(checked.lines() if checked else ()), *ranked.meta]
    return [x for x in lines if line_text(x)] + [x for k, v in facts for x in _wrapped(k, v, "dim", columns)]


def validation_text(view: ListView) -> str:
    """How far the list can be trusted, and where its rows were scored, in one line."""
    ranked, checked = view.ranked, view.validated
    none = "a validation cannot be read" if view.faults else "not validated"
    best = "  (* best of its validation)" if checked and (checked.best_single or checked.best_sets) else ""
    validated = f"{checked.short()}{best}" if checked else none if ranked.ref.kind == "influence" else ""
    return "; ".join(filter(None, (validated, safe(ranked.place_text()))))


def _wrapped(label: str, text: str, style: str, columns: int) -> list[Line]:
    """Label and wrapped text."""
    name = f"{safe(label)} "
    parts = wrap(safe(text), columns - width(name))
    return [line(Span(name if i == 0 else " " * width(name), style), Span(part)) for i, part in enumerate(parts)]


def _score_text(row: Row, kind: str) -> str:
    """The score, with a sign only where it has one; the others are magnitudes."""
    return number(row.score) if kind in _SIGNED else size(row.score)


def list_record(view: ListView) -> dict[str, Any]:
    ranked = view.ranked
    return {
        "kind": ranked.ref.kind, "list": ranked.ref.stem, "title": ranked.ref.title, "score": ranked.score_name,
        "n_rows": len(ranked), "n_matching": len(view.rows), "warnings": list(ranked.warnings),
        "meta": [list(m) for m in ranked.meta], "notes": list(ranked.described.notes),
        "validation": None if view.validated is None else _validation_record(view.validated),
    }  # fmt: skip


def _validation_record(v: Validated) -> dict[str, Any]:
    return {**v._asdict(), "control": None if v.control is None else v.control.model_dump()}


@dataclass(frozen=True)
class Walk:
    """A position in a list while stepping through it in the browser; `index` is the row of the view."""

    view: ListView
    index: int

    def label(self, cursor: Cursor) -> str:
        """Status text: the open row, or that the neuron at `cursor` is another one."""
        row, where = self.row(), f"{self.index + 1} of {len(self.view.rows)}"
        if cursor.at != row.at:
            return f"off the list; . continues from {where}, {row.at.label}{row.pole}"
        score = "" if row.score is None else f", score {_score_text(row, self.view.ranked.ref.kind)}"
        return f"{row.at.label}{row.pole} is {where}{score} (. next , previous)  {safe(self.view.ranked.ref.title)}"

    def step(self, by: int, run: Run) -> Walk | None:
        """The next row in this direction whose neuron is stored; None if there is none."""
        ranked, i = self.view.ranked, self.index + by
        while 0 <= i < len(self.view.rows):
            row = self.view.rows[i]
            if run.stores(int(ranked.layer[row]), int(ranked.neuron[row])):
                return replace(self, index=i)
            i += by
        return None

    def row(self) -> Row:
        return self.view.ranked.row(int(self.view.rows[self.index]))


def pole_of_row(walk: Walk) -> Literal["+", "-"]:
    """The sign of the activation that the row is about."""
    row = int(walk.view.rows[walk.index])
    return "-" if bool(walk.view.ranked.poles.negative[row]) else "+"


def cursor_of_row(run: Run, row: Row, now: Cursor) -> Cursor | None:
    """The scored token or the peak, if the list contains it; None: `peak_of_row` must read the run."""
    if row.prompt_id is None or row.pos is None:
        return None
    index = next((i for i, p in enumerate(run.prompts) if p.probe_id == row.prompt_id), None)
    if index is None or not 0 <= row.pos < run.prompts[index].seq_len:
        return None
    return now._replace(prompt=index, layer=row.at.layer, neuron=row.at.neuron, pos=row.pos)


def peak_of_row(run: Run, row: Row, now: Cursor) -> Cursor:
    """The neuron at its peak over the run (of its pole); at the current token if it has no peak."""
    found = peak_place(run, row.at, pole=row.pole)
    prompt, pos = found or (now.prompt, now.pos)
    return now._replace(prompt=prompt, layer=row.at.layer, neuron=row.at.neuron, pos=pos)


def choose_list(opened: OpenedRun, kind: str, name: str | None) -> ListRef:
    """The list with this name; default: the newest of its kind. Raises `UsageError` if there is none."""
    refs = [r for r in opened.refs() if r.kind == kind]
    if name is None:
        if not refs:
            raise UsageError(no_list(opened.run, f"{kind} list"))
        return refs[0]
    found = next((r for r in refs if r.stem == name), None)
    if found is None:
        raise UsageError(f"no {kind} list {name!r} (there are: {', '.join(r.stem for r in refs) or 'none'})")
    return found


def no_list(run: Run, what: str) -> str:
    """How to make a list."""
    mode = next((f" --mode {m}" for m in ("influence", "signatures", "contrast") if what.startswith(m)), "")
    mode += " --a '*@last'" if mode.endswith("contrast") else ""  # which it needs
    run_dir = shlex.quote(str(run.path))
    return f"no {what} yet; make it with: python -m neuron_signatures.poc2_analyze_run --run_dir {run_dir}{mode}"
