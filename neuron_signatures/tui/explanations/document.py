"""The page about the explanations of one neuron as rows: both poles, each explanation short or with all details."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs.explanations.shown import SetInfo
from neuron_signatures.tui.explanations.lines import explanation_record
from neuron_signatures.tui.layout.facts import Fact, count, fact_lines
from neuron_signatures.tui.layout.text import Column, Line, RowTable, Span, line, safe, wrap
from neuron_signatures.tui.scores.lines import score_facts
from neuron_signatures.tui.scores.reading import NeuronScores
from neuron_signatures.views.explanations.commands import people_commands
from neuron_signatures.views.explanations.provenance import badges, chain_of, provenance
from neuron_signatures.views.explanations.reading import is_finished
from neuron_signatures.views.explanations.shown import ExplanationView, NeuronExplanations, PoleExplanations
from neuron_signatures.views.explanations.texts import one_line, paragraphs, text_or_why
from neuron_signatures.views.scores.shown import ScoredExplanation

_INDENT = 4
_LABEL = 10


class DocRow(NamedTuple):
    """One line of the page."""

    line: Line
    number: int | None = None
    """The explanation that it belongs to: its index in `NeuronExplanations.shown`."""
    is_first: bool = False
    """Whether it is the first line of an explanation."""
    command: str = ""
    """The command that the line shows, which may be wrapped."""


class Place(NamedTuple):
    """Where a cursor is, whatever the layout."""

    number: int | None
    after: int


@dataclass
class ExplanationTable(RowTable[DocRow]):
    """The page as a table, with a cursor."""

    found: NeuronExplanations
    empty: str = ""

    def columns(self) -> Sequence[Column]:
        return (Column("line", "Enter shows all about an explanation, or its first line", 0),)

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Line]:
        return {"line": self.rows[i].line}

    def record(self, i: int) -> dict[str, Any]:
        return explanation_record(self.found.shown[i])

    def view(self, row: int) -> ExplanationView | None:
        """The explanation of a row; None for a title."""
        number = self.rows[row].number if row < len(self.rows) else None
        return None if number is None else self.found.shown[number]

    def section(self, row: int, by: int) -> int:
        """First row of the next or previous explanation; `row` after the last one, the first row before the first."""
        firsts = [i for i, r in enumerate(self.rows) if r.is_first]
        later, earlier = [i for i in firsts if i > row], [i for i in firsts if i < row]
        return (later[0] if later else row) if by > 0 else (earlier[-1] if earlier else 0)

    def lines_of(self, first: int) -> tuple[int, int]:
        """First and last row of the explanation that begins in a row, with the title above it."""
        number = self.rows[first].number
        last = max(i for i, r in enumerate(self.rows) if r.number == number)  # of a title, the last one
        return max(0, first - (first > 0 and self.rows[first - 1].number is None)), last

    def place(self, row: int) -> Place:
        """The explanation of a row, and how many rows after its first one it is."""
        number = self.rows[row].number
        return Place(number, row - next((i for i, r in enumerate(self.rows) if r.number == number), row))

    def row_at(self, place: Place) -> int:
        """The row of a place in another layout of the same explanations: at most the last one of the explanation."""
        own = [i for i, r in enumerate(self.rows) if r.number == place.number]
        return own[min(place.after, len(own) - 1)] if own else 0

    def row_of(self, id_: str) -> int:
        """The first row of an explanation, or of the first one if it is not there."""
        firsts = [i for i, r in enumerate(self.rows) if r.is_first]
        return next((i for i in firsts if self.found.shown[self.rows[i].number or 0].entry.id == id_), firsts[0])


def document(
    found: NeuronExplanations,
    scores: NeuronScores | None,
    run_dir: Path | None,
    opened: Collection[int],
    columns: int,
) -> ExplanationTable:
    """Both poles; the explanations whose number is in `opened` with all details, and with the command that edits them
    unless `run_dir` is None. `scores` is None until they are read.
    """
    rows: list[DocRow] = []
    number = 0
    for own in found.poles:
        rows += [DocRow(())] * bool(rows)
        rows.append(DocRow(_pole_title(own)))
        for view in own.shown:
            scored = [] if scores is None else scores.of(view.entry.id)
            whole = number in opened
            lines = _whole(view, scored, run_dir, columns) if whole else _short(view, scored, columns)
            rows += [r._replace(number=number, is_first=i == 0) for i, r in enumerate(lines)]
            number += 1
    return ExplanationTable(rows, found)


def current_ones(found: NeuronExplanations) -> set[int]:
    """The numbers of the explanations to read first, of each pole."""
    first = [own.first for own in found.poles]
    return {i for i, v in enumerate(found.shown) if v in first}


def head_lines(found: NeuronExplanations, sets: Sequence[SetInfo]) -> list[Line]:
    """The neuron, how many explanations it has, and the sets of the run."""
    high, low = (len(own.shown) for own in found.poles)
    n = f"  {count(high, 'explanation')} of +, {low} of -"
    first = line(Span(f"{found.at.label} explained", "title"), Span(n, "dim"))
    return [first, sets_line(sets)] if sets else [first]


def sets_line(sets: Sequence[SetInfo]) -> Line:
    """The sets of the run with the number of their explanations; what failed, and which are not finished."""
    parts: list[Span] = [Span("sets ", "dim")]
    for i, s in enumerate(sets):
        n, failed = sum(s.counts.values()) + s.n_by_people, sum(n for k, n in s.counts.items() if k != "ok")
        parts += [Span(", " if i else ""), Span(s.name, "mark"), Span(f" {n:,}", "dim")]
        if failed:
            parts.append(Span(f" ({failed:,} failed)", "warn"))
        if not is_finished(s):
            parts.append(Span(" not finished", "warn"))
    return tuple(parts)


def _pole_title(own: PoleExplanations) -> Line:
    what = "the largest activations" if own.pole == "+" else "the smallest activations"
    n = "" if own.shown else "  no explanation"
    style = "plus" if own.pole == "+" else "minus"
    return line(Span(f"pole {own.pole}", style), Span(f"  {what}{n}", "dim"))


def _short(view: ExplanationView, scored: Sequence[ScoredExplanation], columns: int) -> list[DocRow]:
    """The text and what it is, on one line each, and its headline scores."""
    style = "" if view.is_ok else "dim"
    about = [DocRow(line("  ", Span(safe(text_or_why(view)), style))), DocRow(_about(view))]
    return about + _facts(score_facts(scored, whole=False), columns)


def _whole(
    view: ExplanationView, scored: Sequence[ScoredExplanation], run_dir: Path | None, columns: int
) -> list[DocRow]:
    texts = paragraphs(view.entry.text) if view.is_ok else [text_or_why(view)]
    rows = [
        DocRow(line("  ", Span(part, "mark" if view.is_ok else "dim")))
        for text in texts for part in wrap(safe(text), columns - 2)
    ]  # fmt: skip
    rows.append(DocRow(_about(view)))
    rows += _facts(score_facts(scored, whole=True), columns)
    rows += _facts([Fact(label, text) for label, text in provenance(view)], columns)
    rows += _facts(_chain_facts(view), columns)
    return rows if run_dir is None else [*rows, *_command(view, run_dir, columns)]


def _about(view: ExplanationView) -> Line:
    """State, set, sample and score."""
    e = view.entry
    sample = "" if view.is_human or view.n_samples < 2 else f"sample {e.sample + 1} of {view.n_samples}"
    score = "" if view.score is None else f"score {view.score:.2f}"
    parts = [*badges(view), f"set {e.set}", sample, score, "" if view.is_finished else "not finished"]
    return line(
        Span(" " * _INDENT), Span(safe(", ".join(p for p in parts if p)), "title" if view.is_current else "dim")
    )


def _chain_facts(view: ExplanationView) -> list[Fact]:
    """The texts from the first one to this one."""
    steps = chain_of(view)
    facts = [Fact("chain", "from the first text to this one", "dim")] if steps else []
    return facts + [
        Fact(s.how, f"{one_line(s.text)}  ({s.who}, {s.created_at_utc[:16].replace('T', ' ')})",
             "mark" if s.is_human else "")
        for s in steps
    ]  # fmt: skip


def _command(view: ExplanationView, run_dir: Path, columns: int) -> list[DocRow]:
    """How to edit it, and what else people can do; `y` copies the command."""
    first, *others = people_commands(run_dir, view)
    more = f"also {', '.join(label for label, _ in others)} in place of edit; y copies the command"
    rows = _facts([Fact("to edit", first[1])], columns)
    return [*(r._replace(command=first[1]) for r in rows), *_facts([Fact("", more, "dim")], columns)]


def _facts(facts: Sequence[Fact], columns: int) -> list[DocRow]:
    lines = fact_lines(facts, columns - _INDENT, label_width=_LABEL)
    return [DocRow((Span(" " * _INDENT), *x)) for x in lines]
