"""Tables of what there is: runs, ranked lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.listing import RunSummary
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.tui.layout.text import Column, RowTable, Span, beginning
from neuron_signatures.views.lists.ranked import ListRef
from neuron_signatures.views.lists.validated import Validated


def no_runs(root: Path) -> str:
    """How to make a first run."""
    return f"no runs in {root}; make one with: python -m neuron_signatures.poc1_dump_activations"


@dataclass
class RunTable(RowTable[RunSummary]):
    """The runs of a folder, including broken ones."""

    empty: str = "reading ..."

    def columns(self) -> Sequence[Column]:
        return (
            Column("name", "run", 0, min_width=18), Column("status", "status", 8), Column("model", "model", 14, drop=2),
            Column("prompts", "prompts", 7, right=True, drop=3), Column("tokens", "tokens", 8, right=True, drop=5),
            Column("bytes", "size", 9, right=True, drop=4),
            Column("stages", "stages, or fault", 0, drop=1, min_width=14),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.rows[i]
        stages = Span(_stages(r), "dim")
        return {
            "name": Span(beginning(r.name), "title"), "status": Span(r.status, "warn" if r.status == "broken" else ""),
            "model": Span(beginning(r.model)), "prompts": Span("" if r.n_prompts is None else str(r.n_prompts)),
            "tokens": Span("" if r.n_tokens is None else str(r.n_tokens), "dim"),
            "bytes": Span(human_bytes(r.n_bytes)),
            "stages": Span(beginning(r.problem), "warn") if r.problem else stages,
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return dict(self.rows[i].__dict__)


def scores_text(r: RunSummary) -> str:
    """What was scored, escaped; empty without scores."""
    return beginning(f"scores: {r.scores}") if r.scores else ""


def _stages(r: RunSummary) -> str:
    if r.n_prompts == 0 and not r.problem:
        others = [s for s in r.stages if s != RECORDS]
        return ", ".join(["records, no prompts" if RECORDS in r.stages else "no prompts, no records", *others])
    return ", ".join(r.stages) or "none yet"


@dataclass
class RefTable(RowTable[ListRef]):
    """The ranked lists of a run, each with its validation."""

    empty: str
    validated: Mapping[str, Validated] = field(default_factory=dict)
    """By stem."""

    def row_of(self, stem: str, otherwise: int) -> int:
        """Row of the list with this name, or `otherwise`."""
        return next((i for i, r in enumerate(self.rows) if r.stem == stem), otherwise)

    def columns(self) -> Sequence[Column]:
        return (
            Column("kind", "kind", 10),
            Column("title", "list", 0, min_width=36),
            Column("validated", "agreement with ablation", 27, drop=1),
            Column("made", "made (UTC)", 16, drop=2),
        )

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span]:
        r = self.rows[i]
        title = f"broken: {r.problem}" if r.problem else f"from another dump? {r.title}" if r.doubt else r.title
        return {
            "kind": Span(r.kind, "title"), "title": Span(beginning(title), "warn" if r.problem or r.doubt else ""),
            "validated": Span("" if (v := self.validated.get(r.stem)) is None else v.short(), "mark"),
            "made": Span(beginning(r.created_at_utc[:16].replace("T", " ")), "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        r = self.rows[i]
        return {**r._asdict(), "validated": v.short() if (v := self.validated.get(r.stem)) else None}
