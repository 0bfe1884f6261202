"""Passages of a corpus as rows of a table: one line around the peak, coloured by activation, or the whole window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from neuron_signatures.runs.plain import strict
from neuron_signatures.tui.layout.coloured import Coloured, on_one_line, whole
from neuron_signatures.tui.layout.text import Column, Line, RowTable, Span, beginning, line, number, safe, sign_style
from neuron_signatures.tui.run.scaling import Scaling
from neuron_signatures.views.records.passages import Passage, acts_of, counted

_INDENT = 4


@dataclass
class PassageTable(RowTable[Passage]):
    """One passage a row. `screen` is the width of the screen: wider ones show more of the documents' names."""

    scaling: Scaling
    screen: int
    plain: bool
    empty: str = ""

    def columns(self) -> Sequence[Column]:
        document = 12 if self.screen < 100 else 20 if self.screen < 140 else 30
        return (
            Column("value", "activation", 10, right=True), Column("n", "", 4, drop=1),
            Column("text", "text around the peak", 0, min_width=24),
            Column("part", "part", 7, drop=3), Column("document", "document", document, drop=2),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        p = self.rows[i]
        return {
            "value": Span(number(p.value) or "not stored", sign_style(p.value) or "dim"),
            "n": Span(f"x{p.n}" if p.n > 1 else "", "mark"),
            "text": on_one_line(coloured(p, self.scaling), widths["text"], p.pos, plain=self.plain),
            "part": Span(p.window.part, "dim"), "document": Span(beginning(p.window.document_name), "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return passage_record(self.rows[i])


def coloured(p: Passage, scaling: Scaling) -> Coloured:
    """The tokens of the window, and the peak as the marked one. Tokens without a stored activation have no colour."""
    acts = acts_of(p.window)
    shown = np.where(np.isnan(acts), 0.0, scaling.shown(acts)) if p.window.acts is None else scaling.shown(acts)
    mask = counted(p.window) if p.is_stored else np.ones(len(acts), bool)
    return Coloured(p.window.tokens, shown, mask, scaling.full, None if p.window.pos is None else p.pos)


@lru_cache(maxsize=256)
def whole_lines(p: Passage, scaling: Scaling, columns: int, *, plain: bool) -> Sequence[Line]:
    """The whole window, wrapped, and where it is from. Cached: a window of 128 tokens takes 2 ms."""
    gap = Span(" " * _INDENT)
    text = [(gap, *x) for x in whole(coloured(p, scaling), max(8, columns - _INDENT - 1), plain=plain)]
    return [*text, line(gap, Span(source_text(p), "dim")), ()]


def source_text(p: Passage) -> str:
    """The document, the place of the window in the corpus, and the windows that are folded into this one."""
    w = p.window
    place = f"token {p.pos + 1} of {len(w.tokens)}, window {w.window}"
    text = f"{beginning(w.document_name)}, document {w.document}, {place}, part {w.part}"
    if p.n > 1:
        others = ", ".join(beginning(x.document_name)[:40] for x in p.windows[1:4])
        text += f"; equal to {p.n - 1} more: {others}" + (", ..." if p.n > 4 else "")
    return text


def passage_text(p: Passage) -> str:
    """The value, the text around the peak, and where it is from, escaped, on one line."""
    return f"{number(p.value)}  {safe(p.short_text.strip())}  ({source_text(p)})".strip()


def passage_record(p: Passage) -> dict[str, Any]:
    """A passage as data, with unescaped text; `acts` is null if only the activation at the peak is stored."""
    w = p.window
    return {
        "value": p.value, "pos": p.pos, "is_peak": w.pos is not None, "part": w.part, "document": w.document_name,
        "document_number": w.document, "window": w.window, "n": p.n, "windows": [x.window for x in p.windows],
        "counted_from": w.counted_from, "tokens": list(w.tokens), "token_ids": list(w.token_ids),
        "acts": None if w.acts is None else strict(w.acts),
    }  # fmt: skip
