"""One neuron on one prompt: header lines and the table of tokens with signed bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.cursor import Cursor
from neuron_signatures.tui.faults import fault_text, short_fault
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.header import Peak, neuron_line, run_line, statistics
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    Span,
    beginning,
    line,
    number,
    safe,
    sign_style,
    size,
    token_text,
)
from neuron_signatures.tui.opened_run import OpenedRun
from neuron_signatures.tui.overall import Extreme, Overall
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
    fault: str = ""
    brief: str = ""
    """The fault, shortened."""

    @property
    def prompt(self) -> PromptRecord:
        return self.run.prompts[self.cursor.prompt]

    @property
    def scale(self) -> float | None:
        """Full scale of the bars; None if no value is included or all are zero."""
        return (self.stats.peak_abs or None) if self.stats else None

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


def token_view(opened: OpenedRun, cursor: Cursor, *, include_bos: bool) -> TokenView:
    """The view at a cursor; does not raise if the tensor cannot be read."""
    counts = counted(opened.run, opened.prompt(cursor), include_bos=include_bos)
    try:
        values = opened.values(cursor)
    except (ProjectError, OSError) as e:
        return TokenView(opened.run, cursor, include_bos, None, None, counts, fault_text(e), short_fault(e))
    return TokenView(opened.run, cursor, include_bos, values, stats_of(values, counts), counts)


class TokenTable:
    """The rows of `view.shown(window)`."""

    empty = "no token"

    def __init__(self, view: TokenView, window: int | None) -> None:
        self.view = view
        self.positions = view.shown(window)

    @property
    def cursor_row(self) -> int:
        return self.view.cursor.pos - self.positions.start

    def __len__(self) -> int:
        return len(self.positions)

    def columns(self) -> Sequence[Column]:
        return (
            Column("pos", "pos", 5, right=True), Column("id", "id", 7, right=True, drop=4),
            Column("token", "token", 16), Column("act", "act", 10, right=True),
            Column("bar", self._bar_title(), 0, drop=2, min_width=9), Column("mark", "", 7, drop=3),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        pos = self.positions[i]
        prompt, v = self.view.prompt, self.view
        value = None if v.values is None else float(v.values[pos])
        style = sign_style(value) if v.counts[pos] else "dim"
        bar = "" if value is None or "bar" not in widths else signed_bar(value, v.scale, widths["bar"])
        marks = v.marks(pos)
        return {
            "pos": Span(str(pos), "dim"),
            "id": Span(str(prompt.token_ids[pos]), "dim"),
            "token": Span(token_text(prompt.tokens[pos]), "token" if v.counts[pos] else "dim"),
            "act": Span(number(value), style),
            "bar": Span(bar, style),
            "mark": Span(marks, "dim" if marks == "BOS" else "mark"),
        }

    def record(self, i: int) -> dict[str, Any]:
        pos = self.positions[i]
        v = self.view
        return {
            "pos": pos, "token_id": v.prompt.token_ids[pos], "token": v.prompt.tokens[pos],
            "act": None if v.values is None else strict(v.values[pos]), "counts": bool(v.counts[pos]),
            "marks": v.marks(pos).split(),
        }  # fmt: skip

    def _bar_title(self) -> str:
        scale = self.view.scale
        if scale is None:
            return "" if self.view.fault else "bar: all zero" if self.view.stats and self.view.stats.n else ""
        return f"bar to ±{size(scale, 3)}"


def header(view: TokenView, overall: Overall | None, columns: int, n: int = 5) -> list[Line]:
    """The `n` most important of: neuron, this prompt, prompt text, all prompts, run; in reading order."""
    m, p, cursor = view.run.manifest, view.prompt, view.cursor
    value = None if view.values is None else float(view.values[cursor.pos])
    neuron = neuron_line(
        cursor.at.label, Span(number(value) or "unread", sign_style(value) or "mark"),
        layers=f" of layers {spans(view.run.layers)} x {m.d_mlp}", where=f"{cursor.pos}/{p.seq_len - 1}",
        token=token_text(p.tokens[cursor.pos]), token_id=f" (id {p.token_ids[cursor.pos]})", columns=columns,
    )  # fmt: skip
    prompt = line(
        Span("prompt ", "dim"), Span(f"{cursor.prompt + 1}/{len(view.run.prompts)} ", "mark"), Span(safe(p.probe_id)),
        Span(": ", "dim"), Span(beginning(p.text)),
    )  # fmt: skip
    this_prompt, all_prompts = _this_prompt(view, columns), _all_prompts(view, overall, columns)
    lines = ((5, run_line(view.run, columns)), (3, prompt), (1, neuron), (2, this_prompt), (4, all_prompts))
    return [x for importance, x in lines if importance <= n]


def summary(view: TokenView, overall: Overall | None) -> dict[str, Any]:
    """The header as data."""
    m, p, cursor = view.run.manifest, view.prompt, view.cursor
    return {
        "run": str(view.run.path), "format_version": view.run.format_version, "model": m.model_name,
        "model_revision": m.model_revision, "hook": m.hook_name, "layers": view.run.layers, "d_mlp": m.d_mlp,
        "prompt_index": cursor.prompt, "n_prompts": len(view.run.prompts), "prompt_id": p.probe_id, "text": p.text,
        "layer": cursor.layer, "neuron": cursor.neuron, "pos": cursor.pos, "token": p.tokens[cursor.pos],
        "include_bos": view.include_bos, "scale": view.scale, "stats": view.stats._asdict() if view.stats else None,
        "all_prompts": None if overall is None else _overall_record(view, overall), "fault": view.fault or None,
    }  # fmt: skip


def _this_prompt(view: TokenView, columns: int) -> Line:
    if view.stats is None:
        return line(Span("cannot be read: ", "warn"), Span(safe(view.brief), "warn"))
    s, tokens = view.stats, view.prompt.tokens
    head = Span("this prompt  ", "dim")
    if s.n == 0 or s.max is None or s.max_pos is None or s.min is None or s.min_pos is None:
        why = "no finite value" if s.n_nonfinite else "only the first position; i includes it"
        return line(head, Span(f"no value included: {why}", "warn"))
    high = Peak(s.max, f"at {s.max_pos}", token_text(tokens[s.max_pos]))
    low = Peak(s.min, f"at {s.min_pos}", token_text(tokens[s.min_pos]))
    return statistics("this prompt", s.mean, s.std, high, low, n_nonfinite=s.n_nonfinite, digits=4, columns=columns)


def _all_prompts(view: TokenView, overall: Overall | None, columns: int) -> Line:
    head = Span("all prompts  ", "dim")
    if view.fault:
        return line(head, Span("-", "dim"))
    if overall is None:
        return line(head, Span("reading ...", "dim"))
    if overall.fault:
        return line(head, Span(f"cannot be read: {safe(overall.fault)}", "warn"))
    bad = (Span(f"  {overall.n_nonfinite} not finite", "warn"),) if overall.n_nonfinite else ()
    if overall.max is None or overall.min is None:
        return line(head, Span("no value included", "warn"), *bad)
    high, low = (
        Peak(e.value, f"#{e.prompt + 1}:{e.pos}", token_text(view.run.prompts[e.prompt].tokens[e.pos]))
        for e in (overall.max, overall.min)
    )
    return statistics(
        "all prompts", overall.mean, overall.std, high, low, n_nonfinite=overall.n_nonfinite, digits=3, columns=columns
    )


def _overall_record(view: TokenView, overall: Overall) -> dict[str, Any]:
    def extreme_record(e: Extreme | None) -> dict[str, Any] | None:
        if e is None:
            return None
        p = view.run.prompts[e.prompt]
        token = {"pos": e.pos, "token": p.tokens[e.pos]}
        return {"value": e.value, "prompt_index": e.prompt, "prompt_id": p.probe_id, **token}

    more = {"max": extreme_record(overall.max), "min": extreme_record(overall.min), "fault": overall.fault or None}
    return {**overall._asdict(), **more}
