"""The state of the browser: cursor, settings, the open list, and what threads read of the run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.timer import Timer

from neuron_signatures.runs.run import Run
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import Notes, OpenedRun
from neuron_signatures.tui.run.opening import OpenResult, default_view, landing
from neuron_signatures.tui.run.overall import Overall, read_overall
from neuron_signatures.tui.run.scaling import AS_IT_IS
from neuron_signatures.tui.screens.page import Page, Send, Stop
from neuron_signatures.tui.tables.ranked_list import ListView, Walk
from neuron_signatures.tui.tables.tokens import TokenView, token_view
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.descriptions import NOTHING

if TYPE_CHECKING:
    from neuron_signatures.tui.explanations.listing import ExplanationList
    from neuron_signatures.tui.search.hits import HitList


class BrowserState(Page):
    """Owns the cursor, the BOS setting and the open list (`walk`)."""

    def __init__(self, result: OpenResult, options: Options) -> None:
        super().__init__()
        assert result.opened is not None and result.cursor is not None
        self.result = result
        self.opened: OpenedRun = result.opened
        self.cursor: Cursor = result.cursor
        self.window = options.window
        self.all_tokens = options.all_tokens
        self.include_bos = options.include_bos
        self.wanted = AS_IT_IS
        self.walk: Walk | None = result.walk
        self.listed: ExplanationList | HitList | None = None
        """The list of explanations, if a row of it was opened later than one of a ranked list."""
        self._options = options
        self._landed = result.cursor if result.listed else None
        """Where a list starts that is still to be read."""
        self._default: ListView | None = None
        """The list beside the tokens while none is open."""
        self._default_read = False
        self._rest: Timer | None = None
        self._read_for: tuple[NeuronAt, bool] | None = None
        """Neuron and BOS setting for which a thread last read all prompts."""

    @property
    def run_(self) -> Run:
        return self.opened.run

    def keep(self, before: BrowserState) -> bool:
        """The scale, and the open list if its files are unchanged."""
        self.wanted, self._landed = before.wanted, before._landed
        if before.listed is not None and self.opened.explained.stamps == before.opened.explained.stamps:
            self.listed = before.listed
        if before.walk is not None:
            view = before.walk.view
            if view.files and view.files == self.opened.list_stamps(view.ranked.ref):
                self.walk = before.walk
            else:
                self.message = "the open list has changed; w shows the lists"
        return True

    def go(self, cursor: Cursor, message: str = "", *, walk: Walk | None = None) -> None:
        """Move to a cursor and redraw. `walk`: the list that is open from now on; None: the same as before."""
        self.follow(cursor)
        self.message, self.walk = message, walk or self.walk
        self.listed = self.listed if walk is None else None
        self.draw()
        self.app.painted("move")

    def follow(self, cursor: Cursor) -> None:
        """Move to a cursor, to be drawn when this screen is shown again."""
        self.cursor = self.app.cursor = cursor

    def keep_listed(self, listed: ExplanationList | HitList) -> None:
        """Make the list of explanations the open list, without opening its row here."""
        self.listed = listed

    def open_explained(self, listed: ExplanationList | HitList) -> None:
        """Open the neuron of a row of the list of explanations, which is the open list from now on."""
        self.listed = listed
        at = listed.at(listed.index).at
        self.go(self.cursor._replace(layer=at.layer, neuron=at.neuron))

    def view(self) -> TokenView:
        """What is shown at the cursor."""
        overall = self.opened.overall(self.cursor.at, self.include_bos)
        return token_view(self.opened, self.cursor, include_bos=self.include_bos, overall=overall, wanted=self.wanted)

    def next_of_list(self, by: int) -> Walk | str | None:
        """The next or previous stored row of the open list, or why there is none; None while the list is read."""
        now = self.walk or (Walk(self._default, -1) if self._default else None)
        if now is None and "landing" in self.waiting:
            return None  # the status line says so
        if now is None:
            return "no list is open: w shows the lists, Enter opens a row"
        return now.step(by, self.run_) or f"this is the {'last' if by > 0 else 'first'} stored neuron of the list"

    def _read_landing(self) -> None:
        """Read the list on which the run was opened, in a thread, now that its first neuron is shown."""
        opened, options = self.opened, self._options

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                send(landing(opened, options))

        self.start("landing", work)

    def _read_default(self, light: ListView | None) -> None:
        """Read the list beside the tokens, or what it says of its neurons (of `light`), in a thread."""
        if "default" in self.waiting:
            return
        opened = self.opened

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                send(ListView.read(opened, light.ranked.ref) if light else default_view(opened, described=True))

        self.start("default", work)

    def _read_more_later(self, view: TokenView, notes: Notes | None) -> None:
        """Once the cursor rests, read all prompts and the tables in a thread."""
        if self._rest is not None:
            self._rest.stop()
        if self._read_for != (self.cursor.at, self.include_bos):
            self.abandon("more")  # a thread that reads another neuron would delay this one
        needed = (view.overall is None and not view.fault, notes is None)
        if any(needed):
            self.waiting.add("more")
            self._rest = self.set_timer(self.app.rest_seconds, lambda: self._read_more(*needed))

    def _read_more(self, overall: bool, notes: bool) -> None:
        opened, at, include_bos = self.opened, self.cursor.at, self.include_bos
        if "more" in self._tickets and self._read_for == (at, include_bos):
            return  # already reading
        self._read_for = (at, include_bos)

        def work(stop: Stop, send: Send) -> None:
            with opened.table_lock:
                if notes and not stop():
                    send((at, include_bos, opened.notes_of(at)))
            found = read_overall(opened.run, at, include_bos=include_bos, stop=stop) if overall else None
            if found is not None:
                usable = bool(found.fault) or opened.is_current()
                send((at, include_bos, found if usable else Overall(fault="the files changed; r reloads them")))

        self.start("more", work)

    def arrived(self, job: str, data: Any) -> None:
        if job == "walk":
            cursor, walk = data
            self.go(cursor, walk=walk)
            return
        if job == "landing":
            self.abandon(job)
            cursor, walk = data
            if self.walk is None and self.cursor == self._landed:
                self.cursor = self.app.cursor = cursor  # another one only if the table contradicts the JSON
            self.walk, self._landed = self.walk or walk, None
            self.draw()
            return
        if job == "default":
            self._default, self._default_read = data, True
            if self.walk and data and self.walk.view.ranked.described is NOTHING:
                self.walk = replace(self.walk, view=data)
            self.draw()
            return
        self.opened.remember(*data)
        self.draw()
