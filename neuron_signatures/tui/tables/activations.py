"""Tables of activations: layers on a prompt, top neurons at a token, one neuron on every prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.layout.bars import signed_bar, strip
from neuron_signatures.tui.layout.text import (
    Column,
    RowTable,
    Span,
    beginning,
    column_widths,
    number,
    sign_style,
    size,
    token_text,
)
from neuron_signatures.views.acts import LayerLine, NeuronAct, OnPrompt


@dataclass
class LayerTable(RowTable[LayerLine]):
    """One row per layer on one prompt; the bar is the activation with the largest |act|."""

    prompt: PromptRecord
    empty = "reading ..."

    def columns(self) -> Sequence[Column]:
        return (
            Column("layer", "layer", 5, right=True), Column("max", "largest", 10, right=True),
            Column("neuron", "neuron", 8, right=True), Column("pos", "pos", 5, right=True, drop=2),
            Column("token", "token", 16, drop=1), Column("mean", "mean |act|", 10, right=True, drop=4),
            Column("bar", "bar", 0, drop=3, min_width=9),
            *((Column("bad", "not finite", 10, right=True),) if any(r.n_nonfinite for r in self.rows) else ()),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.rows[i]
        scale = max((x.max_abs or 0 for x in self.rows), default=0)
        bar = signed_bar(r.value, scale, widths["bar"]) if r.value is not None and "bar" in widths else ""
        return {
            "layer": Span(str(r.layer), "title"), "max": Span(number(r.value) or "none", sign_style(r.value)),
            "neuron": Span("" if r.neuron is None else str(r.neuron)),
            "pos": Span("" if r.pos is None else str(r.pos), "dim"),
            "token": Span("" if r.pos is None else token_text(self.prompt.tokens[r.pos]), "token"),
            "mean": Span(size(r.mean_abs)), "bar": Span(bar, sign_style(r.value)),
            "bad": Span(str(r.n_nonfinite) if r.n_nonfinite else "", "warn"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        r = self.rows[i]
        return {**strict(r._asdict()), "token": None if r.pos is None else self.prompt.tokens[r.pos]}


@dataclass
class TopTable(RowTable[NeuronAct]):
    """The neurons with the largest |act| at one token."""

    empty = "no finite activation at this token"

    def columns(self) -> Sequence[Column]:
        return (
            Column("rank", "#", 3, right=True), Column("neuron", "neuron", 11), Column("act", "act", 10, right=True),
            Column("bar", "bar", 0, drop=1, min_width=9),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        at, act = self.rows[i]
        bar = signed_bar(act, abs(self.rows[0].act), widths["bar"]) if "bar" in widths else ""
        return {
            "rank": Span(str(i + 1), "dim"), "neuron": Span(at.label, "title"),
            "act": Span(number(act), sign_style(act)), "bar": Span(bar, sign_style(act)),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        at, act = self.rows[i]
        return {"rank": i + 1, "layer": at.layer, "neuron": at.neuron, "act": act}


class StackTable:
    """One neuron on every prompt, one row each, on a common scale."""

    empty = "reading ..."

    def __init__(self, run: Run, rows: Sequence[OnPrompt], *, include_bos: bool) -> None:
        self.run = run
        self.include_bos = include_bos
        self.rows: list[OnPrompt] = []
        self.scale = 0.0
        self.add(rows)

    def add(self, rows: Sequence[OnPrompt]) -> None:
        self.rows.extend(rows)
        self.scale = max([self.scale, *(r.stats.peak_abs or 0.0 for r in rows)])

    def sort(self, *, by_peak: bool) -> None:
        """Sort by largest |act|, or in run order."""
        self.rows.sort(key=lambda r: (-(r.stats.peak_abs or 0) if by_peak else 0, r.prompt_index))

    def __len__(self) -> int:
        return len(self.rows)

    def has_strip(self, columns: int) -> bool:
        """Whether the marks of the tokens fit the width."""
        return "strip" in column_widths(self.columns(), columns)

    def columns(self) -> Sequence[Column]:
        return (
            Column("#", "#", 5, right=True), Column("id", "prompt", 20), Column("max", "max", 10, right=True),
            Column("maxtok", "at", 10, drop=3), Column("min", "min", 10, right=True, drop=1),
            Column("mintok", "at", 10, drop=4),
            Column("strip", "tokens", 0, drop=2, min_width=24),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        p = self.rows[i]
        which = {"#": Span(str(p.prompt_index + 1), "dim"), "id": Span(beginning(p.prompt.probe_id))}
        if p.fault:
            return {**which, "max": Span("unread", "warn"), "strip": Span(beginning(p.fault), "warn")}
        s, tokens = p.stats, p.prompt.tokens
        levels = strip(p.values, self.scale or None, widths["strip"]) if "strip" in widths else ""
        if levels and not self.include_bos:
            levels = "B" + levels[1:]
        return {
            **which,
            "max": Span(number(s.max), sign_style(s.max)), "min": Span(number(s.min), sign_style(s.min)),
            "maxtok": Span("" if s.max_pos is None else token_text(tokens[s.max_pos]), "token"),
            "mintok": Span("" if s.min_pos is None else token_text(tokens[s.min_pos]), "token"),
            "strip": Span(levels),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        p = self.rows[i]
        return {
            "prompt_index": p.prompt_index, "prompt_id": p.prompt.probe_id, "stats": p.stats._asdict(),
            "tokens": p.prompt.tokens, "acts": None if p.fault else strict(p.values), "fault": p.fault or None,
        }  # fmt: skip
