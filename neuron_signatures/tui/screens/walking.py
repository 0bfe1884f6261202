"""Opening the neuron of a row of a ranked list in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuron_signatures.tui.screens.page import Send, Stop
from neuron_signatures.tui.tables.ranked_list import Walk, cursor_of_row, peak_of_row

if TYPE_CHECKING:
    from neuron_signatures.tui.screens.browser import BrowserPage
    from neuron_signatures.tui.screens.browser_child import BrowserChild


def open_walk(page: BrowserPage | BrowserChild, walk: Walk, message: str) -> None:
    """Open the neuron of a row of a list. The job `walk` looks for its peak if the list does not contain it."""
    cursor = cursor_of_row(page.run_, walk.row(), page.cursor)
    if cursor is not None:
        page.go(cursor, walk=walk)
        return

    def work(stop: Stop, send: Send) -> None:
        with page.run_.another_reader() as reader:
            send((peak_of_row(reader, walk.row(), page.cursor), walk))

    page.show_message(message)
    page.start("walk", work)
