"""HTML as text. Every string becomes HTML through `text`; only what `el` returns is already HTML.

Tokens, prompts, names and explanations are hostile input: `text` escapes control and bidi characters for display, and
then the characters of HTML. Attribute values pass it too.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from neuron_signatures.runs.tokens import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Html | None
"""A plain string is text from anywhere and is escaped; None is nothing."""
NOTHING = Html("")
_VOID = frozenset(("meta", "br", "hr", "line", "rect", "circle", "path", "polyline", "polygon"))


def text(value: str) -> Html:
    """A text of any origin as HTML: the one escaping function."""
    return Html(html.escape(escape(value)))


def el(name: str, /, *content: Content, **attributes: str | int | float | None) -> Html:
    """An element. `class_` is class, `stroke_width` is stroke-width; attributes that are None are left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}/>" if name not in ("meta", "br", "hr") else f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(content)}</{name}>")


def join(content: Iterable[Content], between: str | Html = NOTHING) -> Html:
    """Contents one after the other; strings are escaped."""
    return Html(as_html(between).join(as_html(c) for c in content if c is not None))


def as_html(content: str | Html) -> Html:
    return content if isinstance(content, Html) else text(content)


def _value(value: str | int | float) -> str:
    """Coordinates of figures have at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
