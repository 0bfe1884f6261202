"""The state of the corpus screen: the neuron, what is shown of it, and what threads read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.timer import Timer

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.tui.corpus.body import Body, text_body
from neuron_signatures.tui.corpus.neurons import NeuronList
from neuron_signatures.tui.corpus.reading import AS_OPENED, OF_SAMPLE, Shown
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.panes import WIDE
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import Notes
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.run.scaling import AS_IT_IS
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.page import Page, Send, Stop
from neuron_signatures.tui.tables.ranked_list import Walk, cursor_of_row, pole_of_row
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.commands import keep_command
from neuron_signatures.views.records.evidence import Evidence, SampleEvidence

if TYPE_CHECKING:
    from neuron_signatures.tui.explanations.listing import ExplanationList
    from neuron_signatures.tui.search.hits import HitList


class CorpusState(Page):
    """Moves go from neuron to neuron. Over a browser, its cursor and its open list move too."""

    def __init__(self, result: OpenResult, browser: BrowserPage | None = None, shown: Shown = AS_OPENED) -> None:
        """`browser` is None in a run without prompts."""
        super().__init__()
        assert result.opened is not None and result.cursor is not None
        self.result = result
        self.opened = result.opened
        self.run_ = result.opened.run
        self.browser = browser
        self.cursor: Cursor = result.cursor if browser is None else browser.cursor
        self.shown = shown
        self.wanted = AS_IT_IS if browser is None else browser.wanted
        self._pole_of_row = False
        """Whether the pole is that of a row of the open list, so that it is not meant for other neurons."""
        self.everything = False
        """Whether all windows are shown whole, except those in `_whole`."""
        self._whole: set[int] = set()
        """The windows that are shown whole, by number in the section, or short if all others are whole."""
        self._listed: NeuronList | ExplanationList | HitList | None = None if browser is None else browser.listed
        """The list of neurons or of explanations, once a row of it was opened."""
        self._row = 0
        self._body: Body = text_body(())
        self._rest: Timer | None = None
        self._fault: tuple[NeuronAt, str] | None = None
        """Why the sample of a neuron cannot be read."""

    def on_mount(self) -> None:
        self.app.cursor = self.cursor

    def keep(self, before: CorpusState) -> bool:
        self.shown, self.wanted, self.everything = before.shown, before.wanted, before.everything
        self._row, self._whole = before._row, set(before._whole)
        same = self.opened.recorded == before.opened.recorded
        if before.listed is not None:
            same = self.opened.explained.stamps == before.opened.explained.stamps
        if same:
            self._listed = before._listed
        return True

    def evidence(self) -> Evidence | str:
        """The evidence of the neuron in the chosen parts, or why it cannot be read."""
        try:
            return self.opened.corpus.evidence(self.cursor.at, self.shown.parts)
        except (ProjectError, OSError) as e:
            return fault_text(e)

    def sample(self) -> SampleEvidence | str:
        """What pass 2 kept of the neuron, or why it is not here."""
        at, corpus = self.cursor.at, self.opened.corpus
        if self._fault is not None and self._fault[0] == at:
            return self._fault[1]
        if not corpus.has_sample(at):
            return f"the activations of {at.label} in a sample of windows are not stored; {self.keep_text()}"
        return corpus.known_sample(at, self.shown.parts) or "reading ..."

    def keep_text(self) -> str:
        kept = self.opened.corpus.records.sampled_neurons
        return f"this keeps all: {keep_command(self.run_.path, self.cursor.at, kept)}"

    def corpus_meta(self) -> CorpusMeta | None:
        try:
            return self.opened.corpus.records.corpus.meta
        except (ProjectError, OSError):
            return None

    def read_more_later(self) -> None:
        """Once the cursor rests, read write scores and the sample in a thread; the sample at once if it is shown."""
        if self._rest is not None:
            self._rest.stop()
        at, parts = self.cursor.at, self.shown.parts
        notes = at not in self.opened.notes
        shows = self.shown.section in OF_SAMPLE or self.size.width >= WIDE
        sample = shows and self.sample() == "reading ..."
        if notes or sample:
            self.waiting.add("more")
            self._rest = self.set_timer(self.app.rest_seconds, lambda: self._read_more(at, parts, notes, sample))

    def _read_more(self, at: NeuronAt, parts: tuple[Any, ...], notes: bool, sample: bool) -> None:
        opened = self.opened

        def work(stop: Stop, send: Send) -> None:
            if sample and not stop():
                opened.corpus.sample(at, parts)
                send(at)
            if notes and not stop():
                with opened.table_lock:
                    send((at, opened.notes_of(at)))

        self.start("more", work)

    def arrived(self, job: str, data: Any) -> None:
        if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Notes):
            self.opened.remember(data[0], False, data[1])
        self.draw()

    def failed(self, job: str, text: str) -> None:
        self._fault = (self.cursor.at, text)
        self.draw()

    def go(self, cursor: Cursor, message: str = "", *, walk: Walk | None = None) -> None:
        """Move to another neuron and redraw."""
        self.follow(cursor)
        self.message = message
        if walk is not None or self._pole_of_row:
            self.shown = self.shown._replace(pole=None if walk is None else pole_of_row(walk))
            self._pole_of_row = walk is not None
        if self.browser is not None:
            self.browser.walk = walk or self.browser.walk
        self.draw()
        self.app.painted("move")

    def follow(self, cursor: Cursor) -> None:
        """Move to another neuron, to be drawn when this screen is shown again."""
        if cursor.at != self.cursor.at:
            self._row, self._whole, self._fault = 0, set(), None
            self.rows.top = 0
            self.abandon("more")
        self.cursor = self.app.cursor = cursor
        if self.browser is not None:
            self.browser.cursor = cursor

    def change(self, shown: Shown, message: str = "") -> None:
        """Show another section, pole or part."""
        self.shown, self.message = shown, message
        self._row, self._whole = 0, set()
        self.rows.top = 0
        self.draw()

    @property
    def listed(self) -> ExplanationList | HitList | None:
        """The open list, if it is the one of explanations."""
        return None if self._listed is None or isinstance(self._listed, NeuronList) else self._listed

    def open_neuron(self, listed: NeuronList) -> None:
        """Open the neuron of a row of the list of neurons, which is the open list from now on."""
        self._listed = listed
        at = listed.at(listed.index).at
        self.go(self.cursor._replace(layer=at.layer, neuron=at.neuron))

    def keep_listed(self, listed: ExplanationList | HitList) -> None:
        """Make the list of explanations the open list, without opening its row here."""
        self._listed = listed
        if self.browser is not None:
            self.browser.listed = listed

    def open_explained(self, listed: ExplanationList | HitList) -> None:
        """The same for the list of explanations; shows the pole of the row."""
        self.keep_listed(listed)
        row = listed.at(listed.index)
        self.go(self.cursor._replace(layer=row.at.layer, neuron=row.at.neuron))
        self._pole_of_row = True
        self.change(self.shown._replace(pole=row.pole))

    def action_walk(self, by: int) -> None:
        """Open the neuron of the next or previous row of the open list."""
        if self._listed is not None:
            step = self._listed.step(by, self.run_)
            if step is None:
                self.show_message(f"this is the {'last' if by > 0 else 'first'} neuron of the list")
            elif isinstance(step, NeuronList):
                self.open_neuron(step)
            else:
                self.open_explained(step)
            return
        none = "no list is open: w lists the neurons, Enter opens a row"
        found = none if self.browser is None else self.browser.next_of_list(by)
        if isinstance(found, str):
            self.show_message(found)
        elif found is not None:
            row = found.row()
            there = cursor_of_row(self.run_, row, self.cursor)
            self.go(there or self.cursor._replace(layer=row.at.layer, neuron=row.at.neuron), walk=found)
