"""The corpus screen: one neuron in the records of a corpus. In a run without prompts, the first screen."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal

from neuron_signatures.runs.records.names import Pole
from neuron_signatures.tui.corpus.body import (
    Body,
    section_body,
    side_lines,
    text_body,
    wrapped,
)
from neuron_signatures.tui.corpus.head import corpus_head, pole_of
from neuron_signatures.tui.corpus.passages import PassageTable, passage_text
from neuron_signatures.tui.corpus.printed import corpus_printed
from neuron_signatures.tui.export import EXPORT_COLUMNS
from neuron_signatures.tui.keys import CORPUS, CORPUS_FOOTER, bindings
from neuron_signatures.tui.layout.text import Line, Span, clip, column_widths, line, table_head, table_row
from neuron_signatures.tui.layout.widgets import Block, Rows
from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.panes import WIDE
from neuron_signatures.tui.run.cursor import JUMPS, Axis, move
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.run.scaling import Scaling, corpus_scaling
from neuron_signatures.tui.screens.browser import QUESTIONS, BrowserPage
from neuron_signatures.tui.screens.corpus_state import CorpusState
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.screens.page import Page
from neuron_signatures.views.records.evidence import Evidence

_SIDE = 52
"""Least width of the pane at the side."""
_NO_SCALE = Scaling(None, "records")


class CorpusPage(CorpusState):
    """The strongest windows of a neuron and what else the records hold of it."""

    CSS = """
    CorpusPage Horizontal { height: 1fr; }
    CorpusPage #side { padding: 0 0 0 2; }
    """
    BINDINGS = bindings(CORPUS)
    OWN_KEYS = CORPUS
    FOOTER: ClassVar[list[tuple[str, str]]] = CORPUS_FOOTER
    KEY_LINES: ClassVar[int] = 2

    def compose(self) -> ComposeResult:
        yield Block("head")
        with Horizontal():
            yield Rows("rows")
            yield Rows("side")
        yield Block("status")
        yield Block("keys")

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page | None:
        if not isinstance(first, BrowserPage):
            return None
        page = CorpusPage(result, first)
        page.keep(self)
        return page

    def draw(self) -> None:
        columns, height = self.size
        evidence, plain = self.evidence(), self.app.plain
        known = None if isinstance(evidence, str) else evidence
        scaling = _NO_SCALE if known is None else corpus_scaling(known, self.wanted)
        pole = pole_of(known, self.shown)
        head = corpus_head(
            self.run_, self.cursor.at, self.corpus_meta(), known, self.opened.notes.get(self.cursor.at), self.shown,
            scaling, columns, height, has_moments=columns >= WIDE, has_results=bool(self.opened.analysis),
            has_explanations=self.opened.has_explanations, plain=plain,
        )  # fmt: skip
        self.block("head").show([clip(x, columns) for x in head])
        side = self.query_one("#side", Rows)
        side.display = columns >= WIDE and known is not None
        wide = max(_SIDE, columns // 3) if side.display else 0
        if known is not None and side.display:
            side.styles.width = wide
            stored = self.opened.corpus.has_sample(self.cursor.at)
            sample = self.sample() if stored else f"not stored for {self.cursor.at.label}"
            lines = side_lines(known, sample, pole, wide - 2, height - len(head) - 3)
            side.show(len(lines), lambda i, w: clip(lines[i], w), cursor=None)
        self._draw_body(evidence, pole, scaling, columns - wide)
        self.draw_status()
        if known is not None:
            self.read_more_later()

    def _draw_body(self, evidence: Evidence | str, pole: Pole, scaling: Scaling, columns: int) -> None:
        self._body = body = self._body_of(evidence, pole, scaling, columns)
        table = PassageTable(body.passages, scaling, columns, self.app.plain)
        widths = column_widths(table.columns(), columns)
        self._row = at = max(0, min(self._row, len(body.passages) - 1))
        short = lru_cache(maxsize=200)(lambda n: table_row(table, n, widths, cursor=False)[1:])

        def row(i: int, _: int) -> Line:
            content, passage = body.rows[i]
            if content is not None or passage is None:
                return clip(content or (), columns)
            return (Span("> " if passage == self._row else "  ", "cursor"), *short(passage))

        head = [table_head(table.columns(), widths)] if body.passages and self.size.height >= 8 else []
        if not body.passages:
            self.rows.show(len(body.rows), row, cursor=None, head=head)
            return
        lines = body.lines_of(at)
        self.rows.show(len(body.rows), row, cursor=lines.first, head=head)
        self.rows.reveal(lines.top, lines.last)

    def _body_of(self, evidence: Evidence | str, pole: Pole, scaling: Scaling, columns: int) -> Body:
        if isinstance(evidence, str):
            return text_body([(), *wrapped(evidence, columns, "warn")])
        corpus, at = self.opened.corpus, self.cursor.at
        stored = corpus.has_sample(at)
        return section_body(
            evidence, self.sample(), self.shown.section, pole, scaling, columns,
            opened=self._opened(), plain=self.app.plain,
            share=corpus.meta.histogram_share, only_peaks="" if stored else self.keep_text(),
        )  # fmt: skip

    def _opened(self) -> set[int]:
        """The windows that are shown whole; of all, those down to some below the cursor: each takes time."""
        near = range(self._row + max(12, self.size.height // 2)) if self.everything else ()
        return set(near) ^ self._whole

    def idle(self) -> Line:
        n = len(self._body.passages)
        walk = self.browser.walk if self.browser is not None else None
        listed = walk is not None and walk.row().at == self.cursor.at
        label = f"   {walk.label(self.cursor)}" if walk is not None and listed else ""
        if self._listed is not None:
            label = f"   {self._listed.label(self.cursor.at)}"
        if not n:
            last = min(self.rows.top + self.rows.room, self.rows.n)
            return line(
                Span(f"to line {last} of {self.rows.n}" if last < self.rows.n else "", "dim"), Span(label, "dim")
            )
        return line(Span(f"window {self._row + 1} of {n}", "dim"), Span(label, "dim"))

    def on_rows_clicked(self, event: Rows.Clicked) -> None:
        """Move to the window; a click on the window under the cursor shows it whole, or short."""
        passage = self._body.rows[event.index].passage if event.rows.id == "rows" else None
        if passage is None:
            return
        if passage == self._row:
            self.action_choose()
        else:
            self.action_row(passage - self._row)

    def on_rows_wheeled(self, event: Rows.Wheeled) -> None:
        event.rows.roll(event.by)

    def copied(self) -> str:
        found = self._body.passages
        return f"{self.cursor.at.label}  {passage_text(found[self._row])}" if found else self.cursor.at.label

    def exported(self) -> Printed:
        printed = corpus_printed(self.opened, self.cursor.at, EXPORT_COLUMNS, wanted=self.wanted)
        return printed._replace(record={"screen": "corpus", **printed.record})

    def action_move(self, axis: Axis, by: int) -> None:
        self.go(*move(self.run_, self.cursor, axis, by))

    def action_ask(self, what: str) -> None:
        self.app.push_screen(Ask(QUESTIONS[what], lambda text: self.go(JUMPS[what](self.run_, self.cursor, text))))

    def action_pole(self, pole: Pole) -> None:
        self._pole_of_row = False
        self.change(self.shown._replace(pole=pole))

    def action_section(self, by: int) -> None:
        self.change(self.shown.step(by))

    def action_part(self) -> None:
        new = self.shown.next_part()
        self.change(new, f"documents of the part {new.part}" if new.part else "documents of all parts")

    def action_row(self, by: int) -> None:
        if self._body.passages:
            self._row = max(0, min(self._row + by, len(self._body.passages) - 1))
            if self.everything:
                self.draw()  # lays out the windows below
                return
            lines = self._body.lines_of(self._row)
            self.rows.move(lines.first - (self.rows.cursor or 0))
            self.rows.reveal(lines.top, lines.last)
        else:
            self.rows.roll(by)
        self.draw_status()

    def action_choose(self) -> None:
        if self._body.passages:
            self._whole ^= {self._row}
            self.draw()

    def action_all(self) -> None:
        self.everything, self._whole = not self.everything, set()
        self.draw()

    def action_relative(self) -> None:
        """Show (act - mean) / std, or the activations."""
        evidence = self.evidence()
        spread = None if isinstance(evidence, str) else evidence.spread
        if isinstance(evidence, str) or spread is None or spread.std == 0:
            self.show_message("all activations are equal" if spread else "there are no activations")
            return
        new = corpus_scaling(evidence, self.wanted).spread is None
        self.wanted = self.wanted._replace(relative=None if new == bool(spread.always_on) else new)
        self.message = f"colours show {'z: (act - mean) / std over the corpus' if new else 'activations'}"
        self.draw()

    def action_neurons(self) -> None:
        from neuron_signatures.tui.screens.neurons import NeuronsPage  # imports this module

        self.app.push_screen(NeuronsPage(self))

    def action_explanation(self) -> None:
        from neuron_signatures.tui.screens.explanation import ExplanationPage  # imports this module

        self.app.push_screen(ExplanationPage(self))

    def action_explanations(self) -> None:
        from neuron_signatures.tui.screens.explanations import ExplanationsPage  # imports this module

        self.app.push_screen(ExplanationsPage(self))

    def action_at_large(self) -> None:
        from neuron_signatures.tui.screens.at_large import AtLargePage  # imports this module

        self.app.push_screen(AtLargePage(self))

    def action_search(self) -> None:
        from neuron_signatures.tui.screens.search import ask_search  # imports this module

        ask_search(self, self)

    def action_facts(self) -> None:
        from neuron_signatures.tui.screens.texts import FactsPage

        self.app.push_screen(FactsPage(self.result))
