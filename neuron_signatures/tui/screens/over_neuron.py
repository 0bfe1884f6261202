"""Base of the screens about explanations, which are opened over the browser or the corpus screen."""

from __future__ import annotations

from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.tui.run.opening import OpenResult
from neuron_signatures.tui.screens.browser_state import BrowserState
from neuron_signatures.tui.screens.corpus_state import CorpusState
from neuron_signatures.tui.screens.page import Page, TablePage

Opener = BrowserState | CorpusState


class OverNeuron(TablePage):
    """A screen that moves the cursor of the screen that it was opened from."""

    def __init__(self, opener: Opener) -> None:
        super().__init__()
        self.opener = opener
        self.opened = opener.opened
        self.run_ = opener.run_

    def read(self) -> None:
        """Read what is shown from the explanations as they are now."""
        raise NotImplementedError

    def again(self, opener: Opener) -> Page | None:
        """The same screen of a reloaded run."""
        return type(self)(opener)

    def on_mount(self) -> None:
        self.opened.drop_changed_explanations()
        self.read()

    def reopen(self, result: OpenResult, first: Page, under: Page) -> Page | None:
        opener = under.opener if isinstance(under, OverNeuron) else under
        return self.again(opener) if isinstance(opener, Opener) else None

    def files_changed(self, names: list[str]) -> list[str]:
        own = [n for n in names if n.startswith((f"{EXPLANATIONS}/", f"{SCORES}/"))]
        if own:
            self.opened.drop_changed_explanations()
            self.read()
        return [n for n in names if n not in own]

    def back_to(self, page: Page) -> None:
        """Close the screens over `page`."""
        while self.app.screen is not page and self.app.back():
            pass
