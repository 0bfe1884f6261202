"""The one-line input box at the bottom. A rejected input is explained there and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input

from neuron_signatures.runs.errors import ProjectError, escape_controls
from neuron_signatures.tui.layout.text import Span, clip, line, safe
from neuron_signatures.tui.layout.widgets import Block


class Box(Input):
    """An input that escapes non-printable characters: Textual 8.2 writes them to the terminal."""

    def on_mount(self) -> None:
        self.cursor_blink = False  # blinking causes traffic over SSH

    def validate_value(self, value: str) -> str:
        return escape_controls(value)


class Ask(ModalScreen[None]):
    """Calls `accept` with the text; if it raises `ProjectError`, shows the error and stays open."""

    CSS = """
    Ask { align: left bottom; background: $background 0%; }
    Ask Block { width: 1fr; background: $panel; }
    Ask Input, Ask Input:focus { border: none; height: 1; padding: 0; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "cancel", show=False),
        Binding("ctrl+c", "dismiss", show=False, priority=True),
    ]

    def __init__(
        self, label: str, accept: Callable[[str], object], value: str = "", *, allow_empty: bool = False
    ) -> None:
        super().__init__()
        self._label = label
        self._accept = accept
        self._value = value
        self._allow_empty = allow_empty

    def compose(self) -> ComposeResult:
        yield Block("ask")
        yield Box(value=self._value, select_on_focus=False)

    def on_resize(self) -> None:
        self._show("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value.strip() and not self._allow_empty:
            self.dismiss()
            return
        try:
            self._accept(event.value)
        except ProjectError as e:
            self._show(e.line())
        else:
            self.dismiss()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show("")

    def _show(self, fault: str) -> None:
        text = Span(safe(fault), "warn") if fault else Span(f"{self._label}   (Enter, or Esc)", "mark")
        self.query_one(Block).show([clip(line(text), self.size.width)])
