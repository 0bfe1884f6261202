"""The corpus screen of a neuron as lines: its heading, the sections, and the pane at the side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.records.reader import TokenMean
from neuron_signatures.tui.corpus.histogram import histogram_lines, merged
from neuron_signatures.tui.corpus.reading import SECTIONS, Section, Shown
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.coloured import legend
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    RowTable,
    Span,
    column_widths,
    line,
    line_text,
    number,
    safe,
    sign_style,
    size,
    table_head,
    table_row,
    token_text,
    width,
    wrap,
)
from neuron_signatures.tui.run.scaling import Scaling
from neuron_signatures.views.records.evidence import Evidence, SampleEvidence
from neuron_signatures.views.records.passages import Passage

_TITLES: Mapping[Section, str] = {
    "strongest": "strongest", "intervals": "intervals", "random": "random", "tokens": "tokens",
    "histogram": "histogram",
}  # fmt: skip
_SIDE_BINS, _SIDE_TOKENS = 16, 16


class Group(NamedTuple):
    """Passages under a title; the title is empty for the only group."""

    title: str
    passages: Sequence[Passage]


def pole_of(evidence: Evidence, shown: Shown) -> Pole:
    return evidence.first_pole if shown.pole is None else shown.pole


def groups(evidence: Evidence, sample: SampleEvidence | None, shown: Shown) -> list[Group]:
    """The passages of a section; none for a section without passages."""
    pole = pole_of(evidence, shown)
    if shown.section == "strongest":
        return [Group("", evidence.pole(pole).strongest)]
    if sample is None:
        return []
    if shown.section == "random":
        return [Group("", sample.random)]
    if shown.section == "intervals":
        return [Group(f"{number(i.low, 3)} to {number(i.high, 3)}", i.passages) for i in sample.intervals[pole]]
    return []


@dataclass
class TokenTable(RowTable[TokenMean]):
    """The look-up table: mean activation of each token in the sample."""

    empty: str = "no token occurs twice in the sample"

    def columns(self) -> Sequence[Column]:
        return (
            Column("token", "token", 16), Column("mean", "mean", 10, right=True),
            Column("count", "count", 7, right=True, drop=1), Column("bar", "", 0, drop=4, min_width=9),
            Column("largest", "largest", 10, right=True, drop=2), Column("smallest", "smallest", 10, right=True, drop=3),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.rows[i]
        full = max((abs(x.mean) for x in self.rows), default=0.0)
        style = sign_style(r.mean)
        return {
            "token": Span(token_text(r.token), "token"), "mean": Span(number(r.mean), style),
            "count": Span(f"{r.count:,}", "dim"), "bar": Span(signed_bar(r.mean, full, widths.get("bar", 0)), style),
            "largest": Span(number(r.largest, 3), sign_style(r.largest)),
            "smallest": Span(number(r.smallest, 3), sign_style(r.smallest)),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return {**self.rows[i].__dict__}


def tokens_of(sample: SampleEvidence, pole: Pole) -> Sequence[TokenMean]:
    """The look-up table, with the tokens first on which the neuron is strongest with this sign."""
    return sample.lookup if pole == "+" else sample.lookup[::-1]


def table_lines(table: TokenTable, columns: int, n: int) -> list[Line]:
    """The head and the first `n` rows."""
    if not len(table):
        return [line(Span(x, "dim")) for x in wrap(table.empty, columns)]
    widths = column_widths(table.columns(), columns)
    rows = (table_row(table, i, widths, cursor=False) for i in range(min(n, len(table))))
    return [table_head(table.columns(), widths), *rows]


def tabs_line(evidence: Evidence | None, shown: Shown, columns: int) -> Line:
    """The sections, with the open one in brackets; before them pole and parts."""
    pole = shown.pole or "+" if evidence is None else pole_of(evidence, shown)
    parts: list[Span] = [Span(f"pole {pole} ", "plus" if pole == "+" else "minus")]
    for name in SECTIONS:
        here = name == shown.section
        parts.append(Span(f"[{_TITLES[name]}]" if here else f" {_TITLES[name]} ", "mark" if here else "dim"))
    of = Span(f"  {shown.part} documents" if shown.part else "  all parts", "mark" if shown.part else "dim")
    return line(*parts, of) if width(line_text(line(*parts, of))) <= columns else line(*parts[:1], parts[1:][_at(shown)])


def _at(shown: Shown) -> int:
    return SECTIONS.index(shown.section)


def moments_line(evidence: Evidence, columns: int) -> Line:
    """Extremes and moments; the last ones are left out where they do not fit."""
    facts = [f for f in moment_facts(evidence) if f[0] not in ("share of tokens",)]
    shown: list[Span] = []
    for label, value in facts:
        more = [Span(f"{label} ", "dim"), Span(f"{value}  ")]
        if shown and width("".join(s.text for s in [*shown, *more]).rstrip()) > columns:
            break
        shown += more
    return tuple(shown)


def moment_facts(evidence: Evidence) -> list[tuple[str, str]]:
    """Labels and numbers; what is undefined is left out."""
    m = evidence.moments
    found = [
        ("largest", number(evidence.largest, 4)), ("smallest", number(evidence.smallest, 4)),
        ("mean", number(m.mean, 3)), ("std", size(m.std, 3)), ("skewness", number(m.skewness, 3)),
        ("kurtosis", size(m.kurtosis, 3)), ("tokens", f"{m.count:,}"),
    ]  # fmt: skip
    return [(label, text) for label, text in found if text]


def pole_note(evidence: Evidence, pole: Pole) -> str:
    """What has to be known of a pole without activations of its sign; empty otherwise."""
    own = evidence.pole(pole)
    if own.value is None:
        return "every activation is zero in these documents"
    if own.has_sign:
        return ""
    word = "positive" if pole == "+" else "negative"
    return f"no activation is {word} in these documents: these are the {'largest' if pole == '+' else 'smallest'}"


def legend_text(scaling: Scaling, *, plain: bool) -> str:
    """What colours and marks mean."""
    found = legend(scaling.words(), plain=plain)
    return f"{found}, {'[ ]' if plain else 'underlined:'} the peak" if found else ""


def side_lines(evidence: Evidence, sample: SampleEvidence | str, pole: Pole, columns: int, height: int) -> list[Line]:
    """Moments, histogram and look-up table; `sample` is a text until it is read, or if there is none."""
    lines = [line(Span("activations", "title"))]
    facts = moment_facts(evidence)
    for pair in (facts[i : i + 2] for i in range(0, len(facts), 2)):
        lines.append(line(*(s for label, text in pair for s in (Span(f"{label:9}", "dim"), Span(f"{text:<14}")))))
    lines += [(), line(Span("histogram", "title"), Span("  log counts", "dim"))]
    lines += histogram_lines(merged(evidence.distribution.bins, _SIDE_BINS), columns)
    lines += [(), line(Span("tokens by mean activation", "title"))]
    if isinstance(sample, str):
        return [*lines, *(line(Span(x, "dim")) for x in wrap(safe(sample), columns))]
    room = max(4, height - len(lines) - 2)
    return [*lines, *table_lines(TokenTable(tokens_of(sample, pole)), columns, min(room, _SIDE_TOKENS))]


def wrapped(text: str, columns: int, style: str = "dim") -> list[Line]:
    return [line(Span(x, style)) for x in wrap(safe(text), columns)] if text else []


def fitting(texts: Iterable[str], columns: int) -> str:
    """The first of the texts that fits, else the last."""
    found = ""
    for found in texts:
        if width(found) <= columns:
            return found
    return found
