"""A result of an intervention as rows of a page: sentences, facts and small tables, some of which can be opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuron_signatures.runs.intervention_records import (
    Controls,
    EffectRecord,
    SharedList,
    SideEffects,
    SteerRecord,
    SwapPair,
    SwapRecord,
)
from neuron_signatures.tui.layout.facts import Fact, fact_lines
from neuron_signatures.tui.layout.sheets import sheet_lines
from neuron_signatures.tui.layout.text import Column, Line, RowTable, Span, line, safe, wrap
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.interventions import checks, swaps
from neuron_signatures.views.interventions.doses import dose_texts, doses_sheet
from neuron_signatures.views.interventions.effects import prediction_sheet
from neuron_signatures.views.interventions.labels import (
    InterventionRecord,
    pair_settings,
    pair_title,
    pair_verdict,
    settings,
    verdict,
)
from neuron_signatures.views.interventions.sheets import Sheet


class DocRow(NamedTuple):
    """One line; Enter opens its neuron, or its pair."""

    line: Line
    at: NeuronAt | None = None
    pos: int | None = None
    """Position of the neuron in the edited prompt, if the row is of one position."""
    pair: int | None = None
    is_title: bool = False


@dataclass
class DocTable(RowTable[DocRow]):
    empty: str = ""

    def columns(self) -> Sequence[Column]:
        return (Column("line", "Enter opens the neuron or the pair of a row", 0),)

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Line]:
        return {"line": self.rows[i].line}

    def record(self, i: int) -> dict[str, Any]:
        return {}

    def section(self, row: int, by: int) -> int:
        """The row of the next or previous title; `row` itself if there is none."""
        titles = [i for i, r in enumerate(self.rows) if r.is_title]
        later, earlier = [i for i in titles if i > row], [i for i in titles if i < row]
        return (later[0] if later else row) if by > 0 else (earlier[-1] if earlier else 0)


class _Page:
    """Collects the rows of a page for a number of columns."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[DocRow] = []

    def lines(self, some: Sequence[Line]) -> None:
        self.rows += [DocRow(x) for x in some]

    def sentence(self, text: str, style: str = "") -> None:
        self.lines([line(Span(part, style)) for part in wrap(safe(text), self.columns)] if text else [])

    def title(self, text: str) -> None:
        self.rows += [DocRow(()), DocRow(line(Span(text, "title")), is_title=True)]

    def facts(self, pairs: Sequence[tuple[str, str]], *, label_width: int = 15) -> None:
        self.lines(fact_lines([Fact(k, v) for k, v in pairs if v], self.columns, label_width=label_width))

    def sheet(
        self, sheet: Sheet, *, bar: str = "", pos: Sequence[int] = (), opens: Callable[[int], int | None] | None = None
    ) -> None:
        """A sheet; `pos` are the positions of its neurons, `opens` gives the pair that a row opens."""
        if not sheet.rows:
            return
        (title, head), rows = sheet_lines(sheet, self.columns, bar=bar)
        self.rows += [DocRow(()), DocRow(title, is_title=True), DocRow(head)]
        for i, x in enumerate(rows):
            at = sheet.neurons[i] if sheet.neurons else None
            self.rows.append(DocRow(x, at, pos[i] if pos else None, opens(i) if opens else None))

    def controls(self, controls: Controls | None) -> None:
        if controls is None:
            self.title("Controls")
            self.sentence("none: the effect cannot be compared with that of random edits", "dim")
            return
        self.sheet(checks.controls_sheet(controls))
        for text in checks.control_lines(controls):
            self.sentence(text, "dim")

    def side_effects(self, side: SideEffects | None, title: str = "Side effects") -> None:
        self.title(title)
        if side is None:
            self.sentence("not measured", "dim")
            return
        self.facts(checks.side_effect_lines(side))
        self.sheet(checks.neutral_sheet(side))


def document(
    record: InterventionRecord, columns: int, *, single: Sheet | str = "", pair: int | None = None
) -> DocTable:
    """The rows for this many columns. `single` are the effects of single neurons, or why they cannot be read.

    `pair`: only this pair of a swap.
    """
    page = _Page(columns)
    if isinstance(record, SwapRecord) and pair is not None and pair < len(record.pairs):
        chosen = record.pairs[pair]
        page.sentence(f"{pair_title(chosen)}. {pair_verdict(chosen)}", "mark")
        _pair(page, chosen)
        return DocTable(page.rows)
    page.sentence(verdict(record), "mark")
    for warning in record.warnings:
        page.sentence(f"warning: {warning}", "warn")
    page.facts(settings(record))
    if isinstance(record, SwapRecord):
        _swap(page, record)
    elif isinstance(record, EffectRecord):
        _effect(page, record, single)
    else:
        _steer(page, record)
    return DocTable(page.rows)


def _swap(page: _Page, record: SwapRecord) -> None:
    if len(record.pairs) == 1:
        _pair(page, record.pairs[0])
        return
    if record.summary is not None:
        page.facts(swaps.summary_lines(record.summary))
    page.sheet(swaps.pairs_sheet(record), opens=lambda i: i)
    if record.summary is not None:
        page.sheet(swaps.shares_sheet(record.summary), bar="flipped")
    if record.shared is not None:
        _shared(page, record.shared)


def _pair(page: _Page, pair: SwapPair) -> None:
    page.facts(pair_settings(pair))
    page.sheet(swaps.answers_sheet(pair))
    if pair.curve:
        page.sheet(swaps.curve_sheet(pair), bar="difference")
    page.sheet(swaps.cells_sheet(pair.cells, pair.destination.tokens), pos=[c.pos for c in pair.cells])
    page.controls(pair.controls)
    if pair.top_before or pair.top_after:
        page.sheet(swaps.top_sheet(pair.top_before, pair.top_after))
    page.side_effects(pair.side_effects)


def _shared(page: _Page, shared: SharedList) -> None:
    page.title("One list for all pairs")
    page.facts(swaps.shared_lines(shared))
    page.sheet(swaps.shared_shares_sheet(shared))
    page.sheet(swaps.shared_cells_sheet(shared))
    if shared.side_effects is not None:
        page.side_effects(shared.side_effects, "Side effects of the shared list")


def _effect(page: _Page, record: EffectRecord, single: Sheet | str) -> None:
    page.sheet(prediction_sheet(record))
    edited = record.as_set.top if record.as_set else ()
    if record.clean.top or edited:
        page.sheet(swaps.top_sheet(record.clean.top, edited, ("clean", "edited")))
    if record.as_set is not None:
        page.controls(record.controls)
    if isinstance(single, Sheet):
        pos = record.positions[:1] * len(single.rows) if len(record.positions) == 1 else ()
        page.sheet(single, bar="effect", pos=pos)
    elif single:
        page.title("Single neurons")
        page.sentence(single, "warn")
    page.sheet(swaps.cells_sheet(record.cells, record.prompt.tokens), pos=[c.pos for c in record.cells])
    page.side_effects(record.side_effects)


def _steer(page: _Page, record: SteerRecord) -> None:
    page.sheet(doses_sheet(record), bar="change")
    texts = dose_texts(record)
    if texts:
        page.title("Texts")
        page.facts(texts, label_width=24)
    page.side_effects(record.side_effects)
