"""The table of the neurons that are like one neuron, by weights and on the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_signatures.tui.layout.text import Column, RowTable, Span, number, safe, sign_style
from neuron_signatures.views.at_large.commands import weights_command
from neuron_signatures.views.at_large.neuron import AtLarge
from neuron_signatures.views.at_large.related import Related

_WORDS = {"activation": "activation on the corpus", "windows +": "strongest windows +",
          "windows -": "strongest windows -", "output": "output weights", "input": "input weights",
          "gate": "gate weights"}  # fmt: skip


def nothing_related(run_dir: Path, known: AtLarge) -> str:
    """What an empty table says, with the command that fills it."""
    if "statistics" in known.done:
        return f"no neuron is known to be like {known.at.label}"
    return (
        f"no neuron is known to be like {known.at.label}; make neighbours by weights with: {weights_command(run_dir)}"
    )


@dataclass
class RelatedTable(RowTable[Related]):
    """Cosine of weights, correlation of activations, or Jaccard index of strongest windows."""

    empty: str

    def columns(self) -> Sequence[Column]:
        return (
            Column("by", "alike by", 0, min_width=20), Column("rank", "rank", 4, right=True),
            Column("neuron", "neuron", 12), Column("value", "value", 8, right=True),
            Column("null", "by chance", 10, right=True, drop=1),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.rows[i]
        return {
            "by": Span(_WORDS[r.by], "dim"), "rank": Span(str(r.rank)),
            "neuron": Span(safe(f"{r.at.label}{r.pole}"), "title"),
            "value": Span(number(r.value, 3), sign_style(r.value)),
            "null": Span("" if r.null is None else f"<= {r.null:.3f}", "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        r = self.rows[i]
        return {"by": r.by, "rank": r.rank, **r.at._asdict(), "pole": r.pole, "value": r.value, "null": r.null}
