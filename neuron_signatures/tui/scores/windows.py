"""True and simulated activations as rows: a line for each token, under a title for each window."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.scores.line import StoredMistake
from neuron_signatures.runs.scores.names import SampleName
from neuron_signatures.runs.tokens import brief
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.facts import count
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    RowTable,
    Span,
    column_widths,
    line,
    line_text,
    number,
    safe,
    sign_style,
    size,
    table_head,
    table_row,
    token_text,
    wrap,
)
from neuron_signatures.views.explanations.texts import one_line, status_words
from neuron_signatures.views.scores.windows import AlignedWindow

_NEAR = 4
"""Tokens on each side of a peak or a mistake in the short form."""
_MARGIN = 2
_SAMPLES: Mapping[SampleName, str] = {
    "top": "strongest", "random": "random", "uniform": "uniform sample", "sixty": "design of sixty",
    "mistake": "with a mistake",
}  # fmt: skip


class SimulatedRow(NamedTuple):
    """A token of a window, or without `token` another line of it."""

    window: int
    token: int | None
    """Its index in the window."""
    line: Line = ()
    is_first: bool = False
    """Whether it is the title of the window."""


class Place(NamedTuple):
    """Where a cursor is, whether windows are whole or short."""

    window: int
    token: int | None


@dataclass
class TokenTable(RowTable[int]):
    """The tokens of one window, by index."""

    window: AlignedWindow
    full: float | None
    empty: str = ""

    def columns(self) -> Sequence[Column]:
        return (
            Column("pos", "pos", 4, right=True, drop=5), Column("token", "token", 14),
            Column("act", "true", 9, right=True),
            Column("true", f"±{size(self.full, 3)}" if self.full else "", 0, drop=3, min_width=7),
            Column("share", "simulated", 9, right=True),
            Column("simulated", "of largest", 0, drop=4, min_width=7), Column("mark", "", 12, drop=2),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        at, w = self.rows[i], self.window
        true, said = _at(w.true_shares, at), _at(w.predicted_shares, at)
        act, counts = _at(w.true, at), at >= w.counted_from
        word = mistake_word(mistake_at(w, at))
        return {
            "pos": Span(str(w.first + at), "dim"),
            "token": Span(token_text(w.tokens[at]), "token" if counts else "dim"),
            "act": Span(number(act, 3), sign_style(act) if counts else "dim"),
            "true": Span("" if true is None else signed_bar(true, 1.0, widths.get("true", 0)), _style(true, counts)),
            "share": Span("" if said is None else f"{said:+.0%}" if said else "0", _style(said, counts)),
            "simulated": Span(
                "" if said is None else signed_bar(said, 1.0, widths.get("simulated", 0)), _style(said, counts)
            ),
            "mark": Span(f"! {word}", "warn") if word else Span("" if counts else "context", "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        at, w = self.rows[i], self.window
        mistake = mistake_at(w, at)
        return {
            "pos": w.first + at, "token": w.tokens[at], "act": _at(w.true, at), "act_share": _at(w.true_shares, at),
            "predicted": _at(w.predicted, at), "predicted_share": _at(w.predicted_shares, at),
            "counts": at >= w.counted_from, "mistake": mistake_word(mistake) or None,
        }  # fmt: skip


@dataclass
class SimulatedTable(RowTable[SimulatedRow]):
    """The rows of all windows with a cursor; tokens are laid out while they are visible."""

    windows: Sequence[AlignedWindow]
    width: int
    """Columns of a line."""
    empty: str = ""

    def __post_init__(self) -> None:
        full = full_scale(self.windows)
        self._tables = [TokenTable(range(len(w.tokens)), w, full) for w in self.windows]

    def columns(self) -> Sequence[Column]:
        return (Column("line", line_text(self.head).strip("\n")[2:] if self.windows else "", 0),)

    @property
    def head(self) -> Line:
        """The names of the columns of tokens."""
        columns = self._tables[0].columns()
        return table_head(columns, column_widths(columns, self.width + _MARGIN))

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Line]:
        return {"line": self.line_of(i)}

    def line_of(self, i: int) -> Line:
        row = self.rows[i]
        if row.token is None:
            return row.line
        table = self._tables[row.window]
        return table_row(table, row.token, column_widths(table.columns(), self.width + _MARGIN), cursor=False)[1:]

    def record(self, i: int) -> dict[str, Any]:
        row = self.rows[i]
        window = self.windows[row.window].window
        return {"window": window} if row.token is None else {"window": window, **self.token_record(i)}

    def token_record(self, i: int) -> dict[str, Any]:
        row = self.rows[i]
        assert row.token is not None
        return self._tables[row.window].record(row.token)

    def section(self, row: int, by: int) -> int:
        """The title of the next or previous window; of this one, if `row` is below its title."""
        firsts = [i for i, r in enumerate(self.rows) if r.is_first]
        later, earlier = [i for i in firsts if i > row], [i for i in firsts if i < row]
        return (later[0] if later else row) if by > 0 else (earlier[-1] if earlier else 0)

    def last_of(self, first: int) -> int:
        """The last row of the window of a row."""
        return max(i for i, r in enumerate(self.rows) if r.window == self.rows[first].window)

    def place(self, row: int) -> Place:
        return Place(self.rows[row].window, self.rows[row].token)

    def row_at(self, place: Place) -> int:
        """The row of a token, or of the last one before it that is shown."""
        own = [i for i, r in enumerate(self.rows) if r.window == place.window]
        wanted = -1 if place.token is None else place.token
        before = [i for i in own if (-1 if self.rows[i].is_first else self.rows[i].token or 0) <= wanted]
        return before[-1] if before else own[0] if own else 0


def simulated_table(windows: Sequence[AlignedWindow], whole: Collection[int], columns: int) -> SimulatedTable:
    """The windows; those whose number is in `whole` with all tokens, the others around peaks and mistakes."""
    rows: list[SimulatedRow] = []
    for n, w in enumerate(windows):
        rows += [SimulatedRow(n, None)] * bool(rows)
        rows += [SimulatedRow(n, None, x, is_first=i == 0) for i, x in enumerate(_title(w, n, len(windows), columns))]
        rows += _tokens(w, n, whole=n in whole)
    return SimulatedTable(rows, windows, columns)


def window_record(w: AlignedWindow) -> dict[str, Any]:
    """A window with all tokens as data; texts are raw."""
    table = TokenTable(range(len(w.tokens)), w, None)
    own = {
        "window": w.window, "sample": w.sample, "status": w.status, "reason": w.reason, "problem": w.problem,
        "part": w.part, "document": w.document_name, "tokens": [table.record(i) for i in range(len(table))],
    }  # fmt: skip
    return dict(strict(own))


def full_scale(windows: Sequence[AlignedWindow]) -> float | None:
    """The magnitude of which the true shares are; None if every activation is 0 or unknown."""
    for w in windows:
        if w.true is not None and w.true_shares is not None and (at := np.flatnonzero(w.true_shares)).size:
            return float(abs(w.true[at[0]] / w.true_shares[at[0]]))
    return None


def mistake_at(w: AlignedWindow, token: int) -> StoredMistake | None:
    return next((m for m in w.mistakes if m.pos == w.first + token), None)


def mistake_word(mistake: StoredMistake | None) -> str:
    """What is wrong with the prediction; empty without a mistake."""
    if mistake is None:
        return ""
    return "too much" if mistake.predicted > mistake.actual else "too little"


def _title(w: AlignedWindow, n: int, n_windows: int, columns: int) -> list[Line]:
    """What the window is, and why something of it is missing."""
    about = [_SAMPLES[w.sample], w.part or "", brief(w.document_name)]
    wrong = count(len(w.mistakes), "mistake") if w.mistakes else ""
    first = line(
        Span(f"window {n + 1} of {n_windows}", "title"), Span(safe("  " + ", ".join(a for a in about if a)), "dim"),
        Span(f"  {wrong}" if wrong else "", "warn"),
    )  # fmt: skip
    failed = "" if w.status == "ok" else f"not simulated: {status_words(w.status)}"
    why = f"{failed} ({one_line(w.reason)})" if failed and w.reason else failed
    notes = [x for note in (why, w.problem) if note for x in wrap(safe(note), columns)]
    return [first, *(line(Span(x, "warn")) for x in notes)]


def _tokens(w: AlignedWindow, n: int, *, whole: bool) -> Iterator[SimulatedRow]:
    shown = range(len(w.tokens)) if whole else sorted(_short(w))
    before = -1
    for i in shown:
        if i > before + 1:
            yield _gap(n, i - before - 1)
        yield SimulatedRow(n, i)
        before = i
    if before < len(w.tokens) - 1:
        yield _gap(n, len(w.tokens) - 1 - before)


def _gap(window: int, n: int) -> SimulatedRow:
    return SimulatedRow(window, None, line(Span(f"     … {count(n, 'token')}", "dim")))


def _short(w: AlignedWindow) -> set[int]:
    """The tokens near the peaks of both, and near mistakes."""
    centres = [m.pos - w.first for m in w.mistakes]
    for shares in (w.true_shares, w.predicted_shares):
        if shares is not None and len(counted := np.abs(shares[w.counted_from :])):
            centres.append(int(counted.argmax()) + w.counted_from)
    near = range(-_NEAR, _NEAR + 1)
    return {c + by for c in centres or [w.counted_from] for by in near if 0 <= c + by < len(w.tokens)}


def _at(values: np.ndarray | None, i: int) -> float | None:
    return None if values is None else float(values[i])


def _style(value: float | None, counts: bool) -> str:
    return sign_style(value) if counts else "dim"
