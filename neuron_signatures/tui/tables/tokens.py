"""One neuron on one prompt: its values, and the table of tokens with signed bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.faults import fault_text, short_fault
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.coloured import Coloured
from neuron_signatures.tui.layout.text import Column, Span, number, sign_style, token_text
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.run.overall import Overall
from neuron_signatures.tui.run.scaling import AS_IT_IS, Scaling, Wanted, scaling
from neuron_signatures.views.acts import Stats, counted, stats_of


@dataclass(frozen=True)
class TokenView:
    """What the browser shows at a cursor. Unreadable tensor: `values` and `stats` are None, `fault` is set."""

    run: Run
    cursor: Cursor
    include_bos: bool
    values: np.ndarray | None
    stats: Stats | None
    counts: np.ndarray
    """Whether each position is included in the statistics and the scale."""
    overall: Overall | None
    """None until the run has been read."""
    scaling: Scaling
    predicted: str
    """What the model predicted after the prompt; empty if the run does not record it."""
    fault: str = ""
    brief: str = ""
    """The fault, shortened."""

    @property
    def prompt(self) -> PromptRecord:
        return self.run.prompts[self.cursor.prompt]

    @property
    def act(self) -> float | None:
        """The activation at the cursor; None if it cannot be read."""
        return None if self.values is None else float(self.values[self.cursor.pos])

    @property
    def coloured(self) -> Coloured:
        """The tokens with the values that colour them."""
        tokens = self.prompt.tokens
        values = np.zeros(len(tokens)) if self.values is None else self.scaling.shown(self.values)
        return Coloured(tokens, values, self.counts, self.scaling.full, self.cursor.pos)

    def shown(self, window: int | None) -> range:
        """The positions shown: all, or `window` positions around the cursor."""
        n = self.prompt.seq_len
        if window is None or window >= n:
            return range(n)
        first = max(0, min(self.cursor.pos - window // 2, n - window))
        return range(first, first + window)

    def marks(self, pos: int) -> str:
        """Labels of a token: `max`, `min`, `BOS`."""
        words = []
        if self.stats and pos == self.stats.max_pos:
            words.append("max")
        if self.stats and pos == self.stats.min_pos:
            words.append("min")
        if pos == 0 and self.run.begins_with_bos(self.prompt):
            words.append("BOS")
        return " ".join(words)


def token_view(
    opened: OpenedRun, cursor: Cursor, *, include_bos: bool, overall: Overall | None = None, wanted: Wanted = AS_IT_IS
) -> TokenView:
    """The view at a cursor; does not raise if the tensor cannot be read."""
    counts = counted(opened.run, opened.prompt(cursor), include_bos=include_bos)
    predicted = opened.predicted(cursor.prompt)
    try:
        values = opened.values(cursor)
    except (ProjectError, OSError) as e:
        nothing = scaling(overall, None, wanted)
        fault = fault_text(e), short_fault(e)
        return TokenView(opened.run, cursor, include_bos, None, None, counts, overall, nothing, predicted, *fault)
    stats = stats_of(values, counts)
    extremes = opened.extremes(cursor.at) if wanted.scope == "records" else None
    how = scaling(overall, stats, wanted, extremes)
    return TokenView(opened.run, cursor, include_bos, values, stats, counts, overall, how, predicted)


class TokenTable:
    """The rows of `view.shown(window)`."""

    empty = "no token"

    def __init__(self, view: TokenView, window: int | None) -> None:
        self.view = view
        self.positions = view.shown(window)
        self._shown = np.zeros(0) if view.values is None else view.scaling.shown(view.values)

    @property
    def cursor_row(self) -> int:
        return self.view.cursor.pos - self.positions.start

    def __len__(self) -> int:
        return len(self.positions)

    def columns(self) -> Sequence[Column]:
        return (
            Column("pos", "pos", 5, right=True), Column("id", "id", 7, right=True, drop=4),
            Column("token", "token", 16), Column("act", "act", 10, right=True),
            *((Column("z", "z", 7, right=True),) if self.view.scaling.spread else ()),
            Column("bar", self._bar_title(), 0, drop=2, min_width=12), Column("mark", "", 7, drop=3),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        pos = self.positions[i]
        prompt, v = self.view.prompt, self.view
        value = None if v.values is None else float(v.values[pos])
        shown = 0.0 if value is None else float(self._shown[pos])
        style = sign_style(shown) if v.counts[pos] else "dim"
        bar = "" if value is None or "bar" not in widths else signed_bar(shown, v.scaling.full, widths["bar"])
        marks = v.marks(pos)
        return {
            "pos": Span(str(pos), "dim"),
            "id": Span(str(prompt.token_ids[pos]), "dim"),
            "token": Span(token_text(prompt.tokens[pos]), "token" if v.counts[pos] else "dim"),
            "act": Span(number(value), sign_style(value) if v.counts[pos] else "dim"),
            "z": Span(number(shown, 3), style),
            "bar": Span(bar, style),
            "mark": Span(marks, "dim" if marks == "BOS" else "mark"),
        }

    def record(self, i: int) -> dict[str, Any]:
        pos = self.positions[i]
        v = self.view
        return {
            "pos": pos, "token_id": v.prompt.token_ids[pos], "token": v.prompt.tokens[pos],
            "act": None if v.values is None else strict(v.values[pos]), "counts": bool(v.counts[pos]),
            **({"relative": strict(self._shown[pos])} if v.scaling.spread else {}),
            "marks": v.marks(pos).split(),
        }  # fmt: skip

    def _bar_title(self) -> str:
        words = self.view.scaling.words()
        if not words:
            return "" if self.view.fault else "all zero" if self.view.stats and self.view.stats.n else ""
        return words
