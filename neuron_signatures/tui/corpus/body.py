"""The sections of the corpus screen as rows: passages of text, tokens, the histogram."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuron_signatures.runs.records.evidence import TokenMean
from neuron_signatures.runs.records.names import Pole
from neuron_signatures.tui.corpus.head import moment_facts
from neuron_signatures.tui.corpus.histogram import histogram_lines, merged
from neuron_signatures.tui.corpus.passages import whole_lines
from neuron_signatures.tui.corpus.reading import OF_SAMPLE, Section
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    RowTable,
    Span,
    column_widths,
    line,
    number,
    safe,
    sign_style,
    table_head,
    table_row,
    token_text,
    wrap,
)
from neuron_signatures.tui.run.scaling import Scaling
from neuron_signatures.views.records.evidence import Evidence, IntervalRow, SampleEvidence
from neuron_signatures.views.records.passages import Passage

_SIDE_BINS, _SIDE_TOKENS = 14, 20


class Group(NamedTuple):
    """Passages under a title; without a title, the only group."""

    title: str
    passages: Sequence[Passage]


class BodyRow(NamedTuple):
    """A line of the body, or of a passage the one that is laid out while it is visible."""

    line: Line | None
    passage: int | None = None
    """The passage that the line belongs to."""


class Lines(NamedTuple):
    """Rows of a passage: the title above it or its first row, its first row, its last row."""

    top: int
    first: int
    last: int


@dataclass(frozen=True)
class Body:
    """The rows of a section."""

    rows: Sequence[BodyRow]
    passages: Sequence[Passage]

    def lines_of(self, passage: int) -> Lines:
        found = [i for i, r in enumerate(self.rows) if r.passage == passage]
        has_title = found[0] > 0 and self.rows[found[0] - 1].passage is None
        return Lines(found[0] - has_title, found[0], found[-1])


def groups_of(evidence: Evidence, sample: SampleEvidence | None, section: Section, pole: Pole) -> list[Group]:
    """The passages of a section; none for a section without passages, or whose sample is not there."""
    if section == "strongest":
        return [Group("", evidence.pole(pole).strongest)]
    if sample is None:
        return []
    if section == "random":
        return [Group("", sample.random)]
    if section == "intervals":
        return [Group(_interval_title(i), i.passages) for i in sample.intervals[pole]]
    return []


def _interval_title(i: IntervalRow) -> str:
    n = sum(p.n for p in i.passages)
    of = "no window" if not n else f"{n} of {i.n:,} windows" if i.n > n else f"{n} window{'s' * (n > 1)}"
    return f"{number(i.low, 3)} .. {number(i.high, 3)}  {of}"


def passages_body(
    groups: Sequence[Group], opened: Collection[int], scaling: Scaling, columns: int, notes: Sequence[str], *,
    plain: bool,
) -> Body:  # fmt: skip
    """The passages, those in `opened` with the whole window, then the notes, wrapped."""
    rows: list[BodyRow] = []
    passages: list[Passage] = []
    for title, found in groups:
        if title:
            rows.append(BodyRow(line(Span(f"  {title}", "title"))))
        for p in found:
            n = len(passages)
            passages.append(p)
            rows.append(BodyRow(None, n))
            if n in opened:
                rows += [BodyRow(x, n) for x in whole_lines(p, scaling, columns, plain=plain)]
    if rows and any(notes):
        rows.append(BodyRow(()))
    rows += [BodyRow(x) for note in notes for x in wrapped(note, columns)]
    return Body(rows, passages)


def section_body(
    evidence: Evidence, sample: SampleEvidence | str, section: Section, pole: Pole, scaling: Scaling, columns: int, *,
    opened: Collection[int], plain: bool, share: int, only_peaks: str,
) -> Body:  # fmt: skip
    """The open section. `sample` is a text until it is read, or if it is not stored.

    `opened`: the passages that are shown whole. `share`: one of this number of windows is in the histogram.
    `only_peaks`: how to store the other activations; empty if they are stored.
    """
    if section == "histogram":
        return text_body(histogram_body(evidence, share, columns))
    if section in OF_SAMPLE and isinstance(sample, str):
        return text_body([(), *wrapped(sample, columns)])
    found = None if isinstance(sample, str) else sample
    if section == "tokens" and found is not None:
        return text_body(table_lines(token_table(found, pole), columns, len(found.lookup)))
    groups = groups_of(evidence, found, section, pole)
    some = any(g.passages for g in groups)
    notes = [
        evidence.state_text,
        pole_note(evidence, pole) if section != "random" else "",
        f"only the activation at each peak is stored; {only_peaks}" if some and only_peaks else "",
    ]
    if not some and not any(notes):
        notes = ["no window of these documents"]
    return passages_body(groups, opened, scaling, columns, [x for x in notes if x], plain=plain)


def text_body(lines: Sequence[Line]) -> Body:
    return Body([BodyRow(x) for x in lines], ())


def pole_note(evidence: Evidence, pole: Pole) -> str:
    """What must be known of a pole without an activation of its sign; empty for others."""
    own = evidence.pole(pole)
    if own.value is None:
        return "every activation is zero in these documents"
    if own.has_sign:
        return ""
    word, what = ("positive", "largest") if pole == "+" else ("negative", "smallest")
    return f"no activation is {word} in these documents: these are the {what}"


@dataclass
class TokenTable(RowTable[TokenMean]):
    """The look-up table: the mean activation of each token in the sample."""

    empty: str = "no token occurs twice in the sample"

    def columns(self) -> Sequence[Column]:
        return (
            Column("token", "token", 16), Column("mean", "mean", 10, right=True),
            Column("count", "count", 7, right=True, drop=1), Column("bar", "", 0, drop=4, min_width=9),
            Column("largest", "largest", 9, right=True, drop=2), Column("smallest", "smallest", 9, right=True, drop=3),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.rows[i]
        full = max(abs(self.rows[0].mean), abs(self.rows[-1].mean))  # in order of the mean, of either end
        style = sign_style(r.mean)
        return {
            "token": Span(token_text(r.token), "token"), "mean": Span(number(r.mean), style),
            "count": Span(f"{r.count:,}", "dim"), "bar": Span(signed_bar(r.mean, full, widths.get("bar", 0)), style),
            "largest": Span(number(r.largest, 3), sign_style(r.largest)),
            "smallest": Span(number(r.smallest, 3), sign_style(r.smallest)),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return dict(self.rows[i].__dict__)


def token_table(sample: SampleEvidence, pole: Pole) -> TokenTable:
    """First the tokens at which the mean activation is strongest with the sign of the pole."""
    return TokenTable(sample.lookup if pole == "+" else sample.lookup[::-1])


def table_lines(table: TokenTable, columns: int, n: int) -> list[Line]:
    """The head and the first `n` rows."""
    if not len(table):
        return wrapped(table.empty, columns)
    widths = column_widths(table.columns(), columns)
    rows = (table_row(table, i, widths, cursor=False) for i in range(min(n, len(table))))
    return [table_head(table.columns(), widths), *rows]


def histogram_body(evidence: Evidence, share: int, columns: int) -> list[Line]:
    """All intervals, with moments below."""
    bins = evidence.distribution.bins
    if not bins:
        return wrapped("the histogram counts no token of these documents", columns)
    of = f"{evidence.distribution.n:,} tokens (1 of {share} windows); bars: log10(1 + number)"
    facts = [line(Span(f"{label:>19}  ", "dim"), text) for label, text in moment_facts(evidence)]
    return [line(Span(f"{'activation':>14}{'tokens':>16}  ", "head"), Span(f"  {of}", "dim")),
            *histogram_lines(bins, columns), (), *facts]  # fmt: skip


def side_lines(evidence: Evidence, sample: SampleEvidence | str, pole: Pole, columns: int, height: int) -> list[Line]:
    """Moments, histogram and look-up table; `sample` is a text until it is read, or if it is not stored."""
    facts = moment_facts(evidence)
    lines = [line(Span("activations", "title"))]
    lines += [
        line(*(s for label, text in facts[i : i + 2] for s in (Span(f"{label:9}", "dim"), Span(f"{text:<14}"))))
        for i in range(0, len(facts), 2)
    ]
    lines += [(), line(Span("histogram", "title"), Span("  bars: log10(1 + number)", "dim"))]
    lines += histogram_lines(merged(evidence.distribution.bins, _SIDE_BINS), columns)
    lines += [(), line(Span("tokens by mean activation", "title"))]
    if isinstance(sample, str):
        return [*lines, *wrapped(sample, columns)]
    room = min(_SIDE_TOKENS, max(4, height - len(lines) - 1))
    return [*lines, *table_lines(token_table(sample, pole), columns, room)]


def wrapped(text: str, columns: int, style: str = "dim") -> list[Line]:
    return [line(Span(x, style)) for x in wrap(safe(text), columns)] if text else []
