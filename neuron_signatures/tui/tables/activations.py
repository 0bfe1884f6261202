"""Tables of activations: layers on a prompt, top neurons at a token, one neuron on every prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.plain import strict
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.coloured import Coloured, legend, on_one_line
from neuron_signatures.tui.layout.text import (
    Column,
    Line,
    RowTable,
    Span,
    beginning,
    column_widths,
    number,
    sign_style,
    size,
    token_text,
)
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.run.overall import overall_of, passage
from neuron_signatures.tui.run.scaling import AS_IT_IS, Scaling, Wanted, scaling
from neuron_signatures.views.acts import LayerLine, NeuronAct, OnPrompt, counted
from neuron_signatures.views.coords import NeuronAt


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
    """One neuron on every prompt, one row each, with the coloured text around its peak, on a common scale."""

    empty = "reading ..."

    def __init__(
        self, opened: OpenedRun, at: NeuronAt, *, include_bos: bool, wanted: Wanted = AS_IT_IS, plain: bool = True
    ) -> None:
        """`plain`: marks instead of colours."""
        self._opened, self._at, self._plain = opened, at, plain
        self._wanted = wanted._replace(scope="run")
        self.run = opened.run
        self.include_bos = include_bos
        self.rows: list[OnPrompt] = []
        self._largest = 0.0
        self.scaling = scaling(opened.overall(at, include_bos), None, self._wanted)

    def add(self, rows: Iterable[OnPrompt]) -> None:
        """Add rows. Until the last, the scale is the largest |act| so far; then it is that of the run."""
        self.rows.extend(rows)
        self._largest = max([self._largest, *(r.stats.peak_abs or 0.0 for r in self.rows)])
        overall = self._opened.overall(self._at, self.include_bos)
        if overall is None and len(self.rows) == len(self.run.prompts) and not any(r.fault for r in self.rows):
            in_order = sorted(self.rows, key=lambda r: r.prompt_index)
            overall = overall_of(self.run, in_order, include_bos=self.include_bos)
            self._opened.remember(self._at, self.include_bos, overall)
        known = overall is not None and overall.spread is not None
        self.scaling = scaling(overall, None, self._wanted) if known else Scaling(self._largest or None, "run")

    def sort(self, *, by_peak: bool) -> None:
        """Sort by largest |act|, or in run order."""
        self.rows.sort(key=lambda r: (-(r.stats.peak_abs or 0) if by_peak else 0, r.prompt_index))

    def __len__(self) -> int:
        return len(self.rows)

    def legend(self, columns: int) -> str:
        """What the colours or marks mean; empty where the texts do not fit the width."""
        shown = "text" in column_widths(self.columns(), columns)
        return legend(self.scaling.words(), plain=self._plain) if shown else ""

    def columns(self) -> Sequence[Column]:
        return (
            Column("#", "#", 5, right=True), Column("id", "prompt", 18), Column("max", "max", 10, right=True),
            Column("min", "min", 10, right=True, drop=1),
            Column("text", "text around the peak", 0, drop=2, min_width=24),
            Column("predicted", "predicted", 24, drop=3),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        p = self.rows[i]
        which = {"#": Span(str(p.prompt_index), "dim"), "id": Span(beginning(p.prompt.probe_id))}
        if p.fault:
            return {**which, "max": Span("unread", "warn"), "text": Span(beginning(p.fault), "warn")}
        s = p.stats
        return {
            **which,
            "max": Span(number(s.max), sign_style(s.max)), "min": Span(number(s.min), sign_style(s.min)),
            "text": self._text(p, widths["text"]) if "text" in widths else Span(""),
            "predicted": Span(self._opened.predicted(p.prompt_index), "title"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        p = self.rows[i]
        return {
            "prompt_index": p.prompt_index, "prompt_id": p.prompt.probe_id, "stats": p.stats._asdict(),
            "tokens": p.prompt.tokens, "acts": None if p.fault else strict(p.values), "fault": p.fault or None,
            "prediction": self._opened.predicted(p.prompt_index) or None,
        }  # fmt: skip

    def _text(self, p: OnPrompt, columns: int) -> Line:
        near = passage(p, counted(self.run, p.prompt, include_bos=self.include_bos))
        tokens = p.prompt.tokens[near.first : near.first + len(near.values)]
        text = Coloured(tokens, self.scaling.shown(near.values), near.counts, self.scaling.full)
        return on_one_line(text, columns, near.pos - near.first, plain=self._plain)
