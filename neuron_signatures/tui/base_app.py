"""State shared by all screens: flags, open run, cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from textual.app import App

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.tui.options import Options

if TYPE_CHECKING:
    from neuron_signatures.tui.cursor import Cursor
    from neuron_signatures.tui.opened_run import OpenResult

Paint = Literal["frame", "data", "move"]


class BaseApp(App[ProjectError | None]):
    """The part of the application that screens use; `BrowseApp` adds what depends on the screens."""

    def __init__(self, options: Options, *, on_paint: Callable[[Paint], None] | None, rest_seconds: float) -> None:
        super().__init__()
        self.options = options
        self.result: OpenResult | None = None
        self.cursor: Cursor | None = None
        """The cursor of the browser, also while another screen covers it."""
        self.stale = ""
        """Names of the files that changed since the run was read; empty if none."""
        self.rest_seconds = rest_seconds
        self._on_paint = on_paint

    def painted(self, what: Paint) -> None:
        """Call `on_paint` after the next refresh."""
        if self._on_paint is not None:
            self.call_after_refresh(self._on_paint, what)

    def back(self) -> bool:
        """Close the current screen; False if it is the first one. In the list of runs no run is open."""
        if len(self.screen_stack) <= 2:
            return False
        self.pop_screen()
        if self.options.run_dir is None and len(self.screen_stack) == 2:
            self.result, self.stale = None, ""
        return True
