"""Base class of the screens that are opened from the browser."""

from __future__ import annotations

from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.page import Page, TablePage
from neuron_signatures.tui.tables.ranked_list import Walk


class BrowserChild(TablePage):
    """A screen that is opened from the browser and returns to it."""

    def __init__(self, browser: BrowserPage) -> None:
        super().__init__()
        self.browser = browser
        self.run_ = browser.opened.run
        self.cursor = browser.cursor

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page | None:
        return self.again(first) if isinstance(first, BrowserPage) else None

    def again(self, browser: BrowserPage) -> Page | None:
        """The same screen over the browser of a reloaded run; None if it no longer exists."""
        return type(self)(browser)

    def go(self, cursor: Cursor, *, walk: Walk | None = None) -> None:
        """Return to the browser at this cursor."""
        while self.app.screen is not self.browser and self.app.back():
            pass
        self.browser.go(cursor, walk=walk)
