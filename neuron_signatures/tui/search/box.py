"""The input box of a search; Tab changes what is looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType

from neuron_signatures.runs.run import Run
from neuron_signatures.tui.screens.input_box import Ask
from neuron_signatures.tui.search.ways import TITLES, SearchBy, next_way


class AskSearch(Ask):
    """As `Ask`, and calls `accept` with the way too."""

    CSS = Ask.CSS.replace("Ask ", "AskSearch ")  # Textual 8.2 scopes rules by the name of the class
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,down", "way(1)", "next way to search", show=False),
        Binding("shift+tab,up", "way(-1)", "previous way", show=False),
    ]

    def __init__(self, run: Run, accept: Callable[[str, SearchBy], object], by: SearchBy, value: str = "") -> None:
        super().__init__(_label(by), lambda text: accept(text, self._by), value)
        self._by = by
        self._run_of = run

    def action_way(self, by: int) -> None:
        self._by = next_way(self._run_of, self._by, by)
        self._label = _label(self._by)
        self._show("")


def _label(by: SearchBy) -> str:
    return f"search {TITLES[by]}   Tab: others"
