"""Pieces of which sections are made: paragraphs, tables, lists of facts, folds, commands, and notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from neuron_signatures.reporting.html import NOTHING, Content, Html, as_html, el, join
from neuron_signatures.views.interventions.sheets import Sheet, cell_text

NoteKind = Literal["good", "warn", "bad", "plain"]


class Column(NamedTuple):
    """A heading; `help` is its hover text."""

    name: str
    is_number: bool = True
    help: str = ""


def p(*content: Content, class_: str | None = None) -> Html:
    return el("p", *content, class_=class_)


def code(content: str) -> Html:
    """A command or a part of one; flags are not broken into two lines."""
    words = (el("span", w, class_="nb") if w.startswith("-") and len(w) < 40 else w for w in content.split(" "))
    return el("code", join(words, " "))


def token(shown: str) -> Html:
    """A token that is already `visible`."""
    return el("span", shown, class_="tok")


def command(line: str) -> Html:
    """A command to copy."""
    return el("pre", code(line), class_="cmd")


def note(kind: NoteKind, *content: Content) -> Html:
    return el("div", *content, class_=f"note {kind}")


def problem(line: str) -> Html:
    """Why a part cannot be shown."""
    return note("bad", el("b", "Cannot be shown. "), line)


def missing(what: str, *commands: str) -> Html:
    """What the run does not have, and the commands that make it."""
    return note("plain", what, join(command(c) for c in commands))


def fold(title: Content, *content: Content, printed: bool = True) -> Html:
    """Folded content. On paper it is open, or left out if it is not `printed`."""
    return el("details", el("summary", title), *content, class_=None if printed else "screen")


def facts(pairs: Iterable[tuple[Content, Content]]) -> Html:
    """Labels and values below each other."""
    rows = [join([el("dt", label), el("dd", value)]) for label, value in pairs if value]
    return el("dl", *rows, class_="facts") if rows else NOTHING


def table(columns: Sequence[Column], rows: Sequence[Sequence[Content]], *, stacks: bool = False) -> Html:
    """A table in a box that scrolls if it is too wide. If it `stacks`, a narrow screen shows each row as a block with
    the headings beside the values."""
    head = [el("th", c.name, class_="n" if c.is_number else None, title=c.help or None) for c in columns]
    body = [el("tr", *(_cell(c, v, named=stacks) for c, v in zip(columns, row, strict=True))) for row in rows]
    inner = el("table", el("thead", el("tr", *head)), el("tbody", *body), class_="stack" if stacks else None)
    return el("div", inner, class_="scroll", tabindex=0, role="group")


def _cell(column: Column, value: Content, *, named: bool) -> Html:
    return el("td", value, class_="n" if column.is_number else None, data_name=column.name if named else None)


def sheet(found: Sheet, *, most: int = 40) -> Html:
    """A table of the viewers, with its title. Its cells are escaped already, which a second time changes nothing."""
    kinds = [Column(c.name, c.kind != "text", c.help) for c in found.columns]
    rows = [[cell_text(v, c.kind) for v, c in zip(row, found.columns, strict=True)] for row in list(found.rows)[:most]]
    more = f"the first {most} of {len(found.rows):,}" if len(found.rows) > most else ""
    notes = "; ".join(filter(None, (more, found.note)))
    return join([el("h4", found.title), table(kinds, rows), p(notes, class_="small") if notes else None])


def chips(tokens: Iterable[str], *, wrap: bool = True) -> Html:
    """Tokens beside each other."""
    return el("span", *(token(t) for t in tokens), class_="toks" if wrap else "toks row")


def lines(found: Iterable[str]) -> Html:
    """A text as lines."""
    return join(found, Html("<br>"))


def bullet_list(items: Sequence[Content], *, class_: str | None = None) -> Html:
    return el("ul", *(el("li", as_html(i)) for i in items if i is not None), class_=class_) if items else NOTHING
