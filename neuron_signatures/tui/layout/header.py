"""Header lines that fit the width: less important parts are shortened or left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import fit
from neuron_signatures.tui.layout.text import Line, Span, line, line_text, number, safe, sign_style, size, width

_SHORT = 8
"""Length of a shortened commit hash, and minimum length of a shortened name."""


class Peak(NamedTuple):
    """A maximum or minimum, its location in words, and its token (escaped)."""

    value: float
    where: str
    token: str


def statistics(
    title: str, mean: float | None, std: float | None, high: Peak, low: Peak, *, n_nonfinite: int, digits: int,
    columns: int,
) -> Line:  # fmt: skip
    """Mean, standard deviation, maximum and minimum with their tokens.

    To fit the width, tokens are cut, then digits, then std and mean are left out; maximum and minimum always stay.
    """
    tokens = [width(p.token) for p in (high, low)]

    def layout(digits: int, token_widths: tuple[int, int], moments: int) -> Line:
        both = (f"mean {number(mean, min(3, digits))} ", f"std {size(std, min(3, digits))} ")[:moments]
        words = "".join(both) + " " if moments else ""
        bad = (Span(f"{n_nonfinite} not finite  ", "warn"),) if n_nonfinite else ()
        parts: list[Span] = [Span(f"{title}  ", "dim"), Span(words), *bad]
        for name, p, n in (("max ", high, token_widths[0]), ("  min ", low, token_widths[1])):
            token = _cut(p.token, n) if n > 0 else ""
            value = Span(number(p.value, digits), sign_style(p.value))
            parts += [Span(name), value, Span(f" {p.where} "), Span(token, "token")]
        return tuple(parts)

    for n, moments in ((digits, 2), (3, 2), (2, 2), (2, 1), (3, 0), (2, 0)):
        free = columns - sum(width(p.text) for p in layout(n, (0, 0), moments))
        if free >= sum(min(t, 3) for t in tokens):
            break
    first = min(tokens[0], max(free - tokens[1], free // 2))
    return layout(n, (first, free - first), moments)


def neuron_line(
    neuron: str, value: Span, *, layers: str, where: str, token: str, token_id: str, always: Sequence[str], columns: int
) -> Line:
    """The neuron, the token under the cursor, the activation, and whether it is `always` on (longest text first).

    To fit the width, the layers are left out, then the longer text, then the id; then the token is cut or left out, and
    the shorter text is left out; the value always stays.
    """

    def layout(layers: str, token: str, token_id: str, always: str) -> Line:
        return line(Span(neuron, "title"), Span(layers, "dim"), "  token ", Span(f"{where} ", "mark"),
                    Span(token, "token"), f"{token_id}  act ", value,
                    *((Span(f"  {always}", "warn"),) if always else ()))  # fmt: skip

    for shown in (
        *(layout(layers, token, token_id, x) for x in always[:1]), *(layout("", token, token_id, x) for x in always),
        layout("", token, "", always[-1]),
    ):  # fmt: skip
        if width(line_text(shown)) <= columns:
            return shown
    for short in (always[-1], ""):
        available = columns - width(line_text(layout("", "", "", short)))
        if available > 2:
            return layout("", fit(token, available), "", short)
    brief = line(Span(neuron, "title"), " act ", value)
    return brief if width(line_text(brief)) <= columns else (value,)


def writes_line(up: Sequence[str], down: Sequence[str], columns: int) -> Line:
    """The tokens (escaped) that a neuron promotes and suppresses; the last ones are left out to fit the width."""
    first = _tokens("promotes ", up, columns * 3 // 5)
    return line(*first, "   ", *_tokens("suppresses ", down, columns - width(line_text(first)) - 3))


def run_line(run: Run, columns: int) -> Line:
    """The run, its model and hook.

    To fit the width, the revision is shortened, then labels are left out, then names are cut; the facts show all of it.
    """
    m = run.manifest
    name, hook, revision = safe(run.path.name or str(run.path)), safe(m.hook_name), m.model_revision or ""
    short = revision[:_SHORT] if re.fullmatch(r"[0-9a-f]{20,}", revision) else revision
    model, brief = (safe(m.model_name + (f" @ {r}" if r else "")) for r in (revision, short))
    bare = line(Span(name), Span("  "), Span(brief), Span("  "), Span(hook, "dim"))
    for shown in (_labelled(name, model, hook), _labelled(name, brief, hook), bare):
        if width(line_text(shown)) <= columns:
            return shown
    available = max(2 * _SHORT, columns - width(hook) - 4)
    first = min(width(name), max(available - width(brief), available // 2))
    return line(Span(_cut(name, first)), "  ", Span(_cut(brief, available - first)), "  ", Span(hook, "dim"))


def _labelled(name: str, model: str, hook: str) -> Line:
    return line(
        Span("run ", "dim"), Span(name), Span("  model ", "dim"), Span(model), Span("  hook ", "dim"),
        Span(hook, "dim"),
    )  # fmt: skip


def _tokens(label: str, tokens: Sequence[str], columns: int) -> Line:
    shown, used = [Span(label, "dim")], width(label)
    for i, token in enumerate(tokens):
        if i and used + width(token) + 2 > columns:
            break
        shown.append(Span(f"{token}  ", "token"))
        used += width(token) + 2
    return tuple(shown)


def _cut(text: str, columns: int) -> str:
    return text if width(text) <= columns else fit(text, columns)
