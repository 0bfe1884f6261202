"""Tokens coloured by activation: emerald is positive, orange negative, and stronger colour is a larger value.

Opacity is that of the viewers, 0.05 + 0.95 log10(1 + 9 r) with r = |value| / full scale, in `LEVELS` steps, which are
classes of the style sheet. Values beyond the full scale have an outline, infinite and undefined ones are hatched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from neuron_signatures.reporting.html import Html, el, join, text
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.records.passages import Passage, acts_of, running
from neuron_signatures.views.scale import strength

LEVELS = 16
POSITIVE, NEGATIVE = "52,211,153", "251,146,60"
_DARK_TEXT_FROM = 0.62


def heat_style() -> str:
    """The classes of the colours, `h1` to `h16` and `g1` to `g16`."""
    rules = []
    for name, colour in (("h", POSITIVE), ("g", NEGATIVE)):
        for i in range(1, LEVELS + 1):
            alpha = 0.05 + 0.95 * i / LEVELS
            ink = ";color:#111" if alpha >= _DARK_TEXT_FROM else ""
            rules.append(f".{name}{i}{{background:rgba({colour},{alpha:.2f}){ink}}}")
    return "".join(rules)


def shade(value: float, full: float) -> str:
    """The classes of a token with this value."""
    if not math.isfinite(value):
        return "t nan"
    if not full > 0 or not value:
        return "t"
    level = max(1, round(LEVELS * strength(abs(value) / full)))
    return f"t {'h' if value > 0 else 'g'}{level}" + (" o" if abs(value) > full * 1.0001 else "")


def prompt_heat(
    tokens: Sequence[str], values: np.ndarray, full: float, *, excluded: int = 1, marked: Sequence[int] = (),
    most: int = 300, numbers: bool | None = None, decimals: int = 1,
) -> Html:  # fmt: skip
    """The tokens of a prompt in boxes, with the values below them if they are few.

    The first `excluded` tokens are faint and have no colour. `marked` positions are underlined.
    """
    shown = min(len(tokens), most)
    small = shown <= 48 if numbers is None else numbers
    cells = []
    for i in range(shown):
        value = float(values[i])
        out = i < excluded
        below = el("small", f"{value:+.{decimals}f}" if math.isfinite(value) else "n/a") if small else None
        cells.append(
            el("span", visible(tokens[i]) or "\u00a0", below,
               class_=("t x" if out else shade(value, full)) + (" k" if i in marked else ""),
               title=f"position {i}, activation {value:+.4g}" + (" (not counted)" if out else ""))
        )  # fmt: skip
    more = el("span", f"… and {len(tokens) - shown:,} more tokens", class_="small") if shown < len(tokens) else None
    return el("div", *cells, more, class_="heat")


def colour_key(full: float, what: str) -> Html:
    """The colour bar with its ends."""
    steps = [*range(-LEVELS, 0, 2), 0, *range(2, LEVELS + 1, 2)]
    bar = join(el("i", class_=("g" if s < 0 else "h") + str(abs(s)) if s else None) for s in steps)
    return el(
        "div", el("span", f"-{full:.3g}"), el("span", bar, class_="ramp"), el("span", f"+{full:.3g}"),
        el("span", what), class_="key",
    )  # fmt: skip


def passage(found: Passage, full: float, *, extra: str = "") -> Html:
    """One window, short, with its value on the left and its document below; the peak is underlined."""
    acts = acts_of(found.window)
    cut = found.cut
    body = [_token(found, i, float(acts[i]), full) for i in range(found.start, found.stop)]
    where = [
        f"\N{MULTIPLICATION SIGN}{found.n}" if found.n > 1 else "",
        " ".join(found.parts),
        found.window.document_name[:80],
        extra,
    ]
    return el(
        "div",
        el("span", "" if found.value is None else f"{found.value:+.3g}", class_="v"),
        el("div", el("div", "…" if cut[0] else None, *body, "…" if cut[1] else None, class_="run"),
           el("div", " · ".join(filter(None, where)), class_="small")),
        class_="pass",
    )  # fmt: skip


def strip(tokens: Sequence[str], values: Sequence[float | None], full: float, *, peak: int | None = None) -> Html:
    """Running text coloured by `values`; None has no colour."""
    cells = []
    for i, (raw, value) in enumerate(zip(tokens, values, strict=True)):
        before, shown = running(raw)
        classes = "t" if value is None else shade(value, full)
        hover = None if value is None else f"{value:+.3g}"
        cells.append(join([text(before), el("span", shown, class_=classes + (" k" if i == peak else ""), title=hover)]))
    return el("div", *cells, class_="run")


def _token(found: Passage, i: int, act: float, full: float) -> Html:
    window = found.window
    before, shown = running(window.tokens[i])
    if window.acts is None and math.isnan(act):
        return join([text(before), text(shown)])
    classes = "t x" if i < window.counted_from else shade(act, full)
    is_peak = i == found.pos and window.pos is not None
    mark = el("span", shown, class_=classes + (" k" if is_peak else ""), title=f"{act:+.3g}")
    return join([text(before), mark])
