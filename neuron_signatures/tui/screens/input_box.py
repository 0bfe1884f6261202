"""The box at the bottom that takes one line. A mistake is said beside it and changes nothing."""

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
    """An input that can hold printable characters only: Textual 8.2 writes any other to the terminal as it is."""

    def on_mount(self) -> None:
        self.cursor_blink = False  # over SSH every blink is traffic

    def validate_value(self, value: str) -> str:
        return escape_controls(value)


class Ask(ModalScreen[None]):
    """`accept` takes what was typed; the `ProjectError` it raises is shown, and the box stays open."""

    CSS = """
    Ask { align: left bottom; background: $background 0%; }
    Ask Block { width: 1fr; background: $panel; }
    Ask Input, Ask Input:focus { border: none; height: 1; padding: 0; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "leave the box", show=False),
        Binding("ctrl+c", "cancel", show=False, priority=True),
    ]

    def __init__(
        self, label: str, accept: Callable[[str], object], value: str = "", *, empty_too: bool = False
    ) -> None:
        super().__init__()
        self._label = label
        self._accept = accept
        self._value = value
        self._empty_too = empty_too

    def compose(self) -> ComposeResult:
        yield Block("ask")
        yield Box(value=self._value, select_on_focus=False)

    def on_resize(self) -> None:
        self._show("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not event.value.strip() and not self._empty_too:
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

    def action_cancel(self) -> None:
        self.dismiss()

    def _show(self, fault: str) -> None:
        text = Span(safe(fault), "warn") if fault else Span(f"{self._label}   (Enter, or Esc)", "mark")
        self.query_one(Block).show([clip(line(text), self.size.width)])
