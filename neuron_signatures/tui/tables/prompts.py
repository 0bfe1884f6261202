"""Tables of the run's prompts and of search hits. Prompts are numbered from 0, as in files and flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.layout.text import Column, RowTable, Span, beginning, token_text
from neuron_signatures.views.search import TokenHit


@dataclass
class PromptTable(RowTable[PromptRecord]):
    """The run's prompts, and what the model predicted after each as far as the run records it."""

    predicted: Callable[[int], str]
    empty = "the run holds no prompt"

    @cached_property
    def _any_predicted(self) -> bool:
        return any(self.predicted(i) for i in range(len(self.rows)))

    def columns(self) -> Sequence[Column]:
        return (
            Column("#", "#", 5, right=True), Column("id", "id", 22), Column("n", "tokens", 6, right=True, drop=3),
            Column("last", "last token", 14, drop=4), Column("text", "text", 0, drop=1),
            *((Column("predicted", "predicted", 24, drop=2),) if self._any_predicted else ()),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        p = self.rows[i]
        return {
            "#": Span(str(i), "dim"), "id": Span(beginning(p.probe_id)), "n": Span(str(p.seq_len)),
            "last": Span(token_text(p.tokens[-1]), "token"), "text": Span(beginning(p.text)),
            "predicted": Span(self.predicted(i), "title"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        p = self.rows[i]
        which = {"prompt_index": i, "prompt_id": p.probe_id, "seq_len": p.seq_len}
        return {**which, "text": p.text, "tokens": p.tokens, "prediction": self.predicted(i) or None}


@dataclass
class HitTable(RowTable[TokenHit]):
    """The tokens that a search found, with their context."""

    run: Run
    empty = "no token matches"

    def columns(self) -> Sequence[Column]:
        return (
            Column("#", "#", 5, right=True), Column("id", "prompt", 20), Column("pos", "pos", 5, right=True, drop=1),
            Column("token", "token", 14), Column("around", "around it", 0, drop=2),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        h = self.rows[i]
        tokens = self.run.prompts[h.prompt_index].tokens
        here = f"[{token_text(h.token)}]"
        before = token_text("".join(tokens[max(0, h.pos - 8) : h.pos]))
        after = token_text("".join(tokens[h.pos + 1 : h.pos + 9]))
        before = before[-max(1, (widths.get("around", 0) - width(here)) // 2) :]
        return {
            "#": Span(str(h.prompt_index), "dim"), "id": Span(beginning(h.prompt_id)), "pos": Span(str(h.pos)),
            "token": Span(token_text(h.token), "token"),
            "around": Span(f"{before}{here}{after}", "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return self.rows[i]._asdict()
