"""The application: paints the first frame, opens the run, shows it, and checks its files for changes.

Imports Textual only at module level: numpy, pydantic and pyarrow are imported after the first paint.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import constants, events
from textual.app import App, ComposeResult
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.driver import Driver
from textual.screen import Screen

from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, escape_controls
from neuron_signatures.tui.keys import COMMON, Key, bindings
from neuron_signatures.tui.layout.widgets import Block
from neuron_signatures.tui.options import Options

if TYPE_CHECKING:
    from neuron_signatures.tui.run.cursor import Cursor
    from neuron_signatures.tui.run.opened_run import OpenedRun
    from neuron_signatures.tui.run.opening import OpenResult
    from neuron_signatures.tui.screens.page import Page

# Seconds before the heavy imports: they would delay the thread in which Textual writes the first frame.
_HEAD_START = 0.01
# Seconds until a computing thread yields to the drawing thread; Python's default of 5 ms slows every redraw.
_M_ARENA_MAX = -8  # of <malloc.h>
_SWITCH = 0.0005

Paint = Literal["frame", "data", "move"]


class KeyCommands(Provider):
    """Command palette entries: all keys of the screen under the palette, as `Content` (not parsed as markup)."""

    async def discover(self) -> Hits:
        for key in _keys_of(self.screen):
            yield DiscoveryHit(Content(f"{key.words}  ({key.shown})"), self._command(key), text=key.words)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for key in _keys_of(self.screen):
            score = matcher.match(key.words)
            if score > 0:
                yield Hit(score, Content(f"{key.words}  ({key.shown})"), self._command(key), text=key.words)

    def _command(self, key: Key) -> Callable[[], Awaitable[object]]:
        return partial(self.screen.run_action, key.action)


class Opening(Screen[None]):
    """The first frame."""

    BINDINGS = bindings(tuple(k for k in COMMON if k.action == "app.quit"))

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        yield Block("opening")

    def on_mount(self) -> None:
        from neuron_signatures.tui.layout.text import line, safe

        self.query_one(Block).show([line(f"reading {safe(self._what)} ..."), (), line("q quits")])


class BrowseApp(App[ProjectError | None]):
    """The browser. Returns the error that ended it, or None.

    `on_paint` is called after each paint: the frame, the first data, the response to a key. Every `poll_seconds` the
    files are checked for changes. A thread reads the other prompts `rest_seconds` after the last move.
    """

    COMMANDS: ClassVar = {KeyCommands}
    ALLOW_SELECT = False  # the terminal selects text, with Shift
    BINDINGS: ClassVar = []
    CSS = "Screen { layout: vertical; }"

    def __init__(
        self,
        options: Options,
        *,
        on_paint: Callable[[Paint], None] | None = None,
        poll_seconds: float = 2.0,
        rest_seconds: float = 0.1,
    ) -> None:
        super().__init__()
        self.title = "neuron signatures"
        self.options = options
        self.result: OpenResult | None = None
        self.cursor: Cursor | None = None
        """The cursor of the browser, also while another screen covers it."""
        self.stale = ""
        """Names of the files that changed since the run was read; empty if none."""
        self.rest_seconds = rest_seconds
        self._poll_seconds = poll_seconds
        self._on_paint = on_paint

    def get_driver_class(self) -> type[Driver]:
        if sys.platform == "win32" or constants.DRIVER is not None:
            return super().get_driver_class()
        from neuron_signatures.tui.terminal import Terminal

        return Terminal

    def get_default_screen(self) -> Screen[None]:
        return Opening(str(self.options.run_dir or self.options.runs_root))

    def on_mount(self) -> None:
        self.call_after_refresh(self.set_timer, _HEAD_START, self._begin)

    @property
    def plain(self) -> bool:
        """Whether the terminal has too few colours for backgrounds, so that marks replace them."""
        return self.no_color or (not self.is_headless and self.console.color_system in (None, "standard", "windows"))

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

    async def on_event(self, event: events.Event) -> None:
        """Escape control characters in pasted text: Textual would write them to the terminal."""
        if isinstance(event, events.Paste) and not event.text.isprintable():
            event.text = escape_controls(event.text.strip())
        await super().on_event(event)

    def action_command_palette(self) -> None:
        """Open the palette; ignored over an input box and the first frame, which have no commands."""
        if self._page():
            super().action_command_palette()

    def action_help(self) -> None:
        """Show all keys; from the help, go back."""
        from neuron_signatures.tui.screens.texts import HelpPage

        page = self._page()
        if isinstance(page, HelpPage):
            self.back()
        elif page is not None:
            self.push_screen(HelpPage(page.all_keys()))

    def action_reload(self) -> None:
        """Read the current run, or the list of runs, again."""
        from neuron_signatures.tui.screens.runs import RunsPage

        page = self._page()
        if isinstance(page, RunsPage):
            page.read()
        elif page is not None:
            page.show_message("reloading ..." if self.result else "no run is open")
            if self.result is not None:
                self.open_run(self.result.run_dir, self.cursor)

    def action_suspend(self) -> None:
        """Stop the process until the shell's `fg`, if a shell waits for it."""
        if self._driver is not None and self._driver.can_suspend:
            self.action_suspend_process()
        elif page := self._page():
            page.show_message("no shell to return to; q quits")

    def open_run(self, run_dir: Path, cursor: Cursor | None = None) -> None:
        """Read a run in a thread, so that keys still respond, then show it instead of the current one."""

        def work() -> None:
            _import_screens()
            from neuron_signatures.tui.run.opening import open_run

            try:
                self.call_later(self.show_run, open_run(run_dir, self.options, cursor))
            except ProjectError as e:
                self.call_later(self.exit, e)

        self.run_worker(work, thread=True, group="load", exclusive=True)

    def show_run(self, result: OpenResult) -> None:
        """Replace all screens except the list of runs; after a reload, reopen the screens that were open."""
        from neuron_signatures.tui.screens.navigation import pages_of, reopened

        try:
            pages = pages_of(result, self.options)
        except ProjectError as e:
            self.exit(e)
            return
        if self.result is not None and self.result.run_dir == result.run_dir:
            pages = reopened(self.screen_stack, result, pages)
        self.result, self.stale = result, ""
        self.options = replace(self.options, screen=None, query=None, list_name=None)  # used only at the start
        while len(self.screen_stack) > (1 if self.options.run_dir else 2):
            self.pop_screen()
        for page in pages:
            self.push_screen(page)
        self.painted("data")

    def show_changes(self, opened: OpenedRun, names: list[str]) -> None:
        """Report the files of a run that changed on disk, unless another run is open now."""
        if self.result is None or opened is not self.result.opened:
            return
        page = self._page()
        if page is not None and not page.is_drawable:
            return  # the next check reports it
        names = names if page is None else page.files_changed(names)
        self.stale = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
        if page is not None:
            page.draw_status()

    def _page(self) -> Page | None:
        """The current screen, unless it is the first frame, an input box or the palette."""
        from neuron_signatures.tui.screens.page import Page

        return self.screen if isinstance(self.screen, Page) else None

    def _begin(self) -> None:
        if self._on_paint is not None:
            self._on_paint("frame")
        if self.options.run_dir is not None:
            self.open_run(self.options.run_dir)
        else:
            self.run_worker(self._load_runs, thread=True, group="load")
        self.set_interval(self._poll_seconds, self._check_files)

    def _load_runs(self) -> None:
        _import_screens()
        from neuron_signatures.tui.screens.runs import RunsPage

        self.call_later(lambda: self.push_screen(RunsPage(self.options.runs_root, self.open_run)))
        self.call_later(self.painted, "data")

    def _check_files(self) -> None:
        if self.result and (opened := self.result.opened):
            self.run_worker(
                lambda: self.call_later(self.show_changes, opened, opened.changed()),
                thread=True,
                group="check",
                exclusive=True,
            )


def browse(options: Options) -> int:
    """Run the browser; returns 0, or 128 + the signal that ended it. Raises the error that ended it."""
    sys.setswitchinterval(_SWITCH)
    _use_one_arena()
    app = BrowseApp(options)
    with _without_pandas():
        error = app.run()
    if error is not None:
        raise error
    if app.return_code is None or app.return_code == 1:  # None: Textual failed outside its message loop
        raise EnvironmentProblem("the browser ended with an error")
    return app.return_code


def _import_screens() -> None:
    """Import the screens, in the calling thread to keep keys responsive. The garbage collector neither runs meanwhile
    (70 ms) nor traverses the libraries' objects later.
    """
    if "neuron_signatures.tui.screens.navigation" in sys.modules:
        return
    gc.disable()
    try:
        import neuron_signatures.tui.screens.navigation  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _use_one_arena() -> None:
    """Let all threads allocate from one arena of glibc: each job's thread would keep the memory that it freed."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another libc, or Windows
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class _NoPandas(MetaPathFinder):
    """Reports pandas as not installed. Nothing here uses it, but pyarrow 26 imports it with the first table: 0.2 s."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used by the browser", name=name)


@contextlib.contextmanager
def _without_pandas() -> Iterator[None]:
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _keys_of(screen: Screen[Any]) -> Sequence[Key]:
    from neuron_signatures.tui.screens.page import Page

    return screen.all_keys() if isinstance(screen, Page) else COMMON
