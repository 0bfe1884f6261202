"""Windows of a corpus as viewers show them: short around the peak, and equal ones as one passage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.records.names import PARTS, Part
from neuron_signatures.runs.records.windows import Window
from neuron_signatures.runs.tokens import MAX_SHOWN, visible

if TYPE_CHECKING:
    from jaxtyping import Bool

AROUND = 12
"""Tokens before and after the peak in the short form."""


class Passage(NamedTuple):
    """A window, and the further ones whose short text is the same."""

    window: Window
    """The strongest of them."""
    pos: int
    """The peak; in a window without one, the largest |activation| at a token that counts, else the middle."""
    value: float | None
    """The activation at `pos`; None if it is not stored."""
    start: int
    stop: int
    """The short form is `window.tokens[start:stop]`."""
    windows: tuple[Window, ...]
    """All of them, strongest first."""

    @property
    def n(self) -> int:
        return len(self.windows)

    @property
    def cut(self) -> tuple[bool, bool]:
        """Whether the short form leaves out tokens before and after it."""
        return self.start > 0, self.stop < len(self.window.tokens)

    @property
    def short_text(self) -> str:
        """Raw."""
        return "".join(self.window.tokens[self.start : self.stop])

    @property
    def peak_token(self) -> str:
        """Raw."""
        return self.window.tokens[self.pos]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that its windows are of, in the order of `PARTS`."""
        found = {w.part for w in self.windows}
        return tuple(part for part in PARTS if part in found)

    @property
    def is_stored(self) -> bool:
        """Whether every activation of the window is stored, or only that of the peak."""
        return self.window.acts is not None


def passages(windows: Iterable[Window], *, around: int = AROUND, fold: bool = True) -> list[Passage]:
    """Passages in the order of the windows.

    With `fold`, windows with equal short texts up to white space, and the same token at the peak, are one passage.
    """
    found: dict[tuple[str, str] | int, Passage] = {}
    for i, window in enumerate(windows):
        passage = _passage(window, around)
        key = (_folded(passage.short_text), passage.peak_token.strip()) if fold else i
        first = found.get(key)
        found[key] = passage if first is None else first._replace(windows=(*first.windows, window))
    return list(found.values())


def counted(window: Window) -> Bool[np.ndarray, " pos"]:
    """Mask of the tokens that count in statistics and lists."""
    return np.arange(len(window.tokens)) >= window.counted_from


def acts_of(window: Window) -> np.ndarray:
    """The activation of each token; NaN where it is not stored, which is everywhere but at the peak or nowhere."""
    if window.acts is not None:
        return window.acts
    acts = np.full(len(window.tokens), np.nan, np.float32)
    if window.pos is not None and window.value is not None:
        acts[window.pos] = window.value
    return acts


def running(token: str) -> tuple[str, str]:
    """A token inside a text, as displayed: the spaces before it, which get no colour, and the rest.

    Spaces stay spaces, a line break is `⏎`, other control characters are escapes. A token of spaces alone is the rest.
    """
    body = token.lstrip(" ")
    if not body:
        return "", token[:MAX_SHOWN] or "\u200a"
    before = min(len(token) - len(body), MAX_SHOWN)
    after = min(len(body) - len(body.rstrip(" ")), MAX_SHOWN)
    return " " * before, visible(body.rstrip(" ")) + " " * after


def _passage(window: Window, around: int) -> Passage:
    pos = _focus(window) if window.pos is None else window.pos
    value = window.value if window.pos is not None else None if window.acts is None else float(window.acts[pos])
    start, stop = max(pos - around, 0), min(pos + around + 1, len(window.tokens))
    return Passage(window, pos, value, start, stop, (window,))


def _focus(window: Window) -> int:
    if window.acts is None:
        return len(window.tokens) // 2
    size = np.where(counted(window) & np.isfinite(window.acts), np.abs(window.acts), -1.0)
    return int(size.argmax())


def _folded(text: str) -> str:
    return " ".join(text.split())
