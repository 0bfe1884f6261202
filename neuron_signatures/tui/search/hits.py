"""The hits of a search as a table, and as the open list that `.` and `,` step through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from neuron_signatures.runs.run import Run
from neuron_signatures.tui.layout.text import Column, Line, Span, beginning, line, number, safe, sign_style
from neuron_signatures.tui.search.reading import Told
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.search_run.asked import ORDERS, count_text, time_text
from neuron_signatures.views.search_run.excerpts import Mark, query_pattern
from neuron_signatures.views.search_run.rows import HitRow, hit_row

_STYLES: Mapping[Mark, str] = {"": "", "word": "mark", "peak": "token"}


@dataclass(frozen=True)
class HitList:
    """Hits in their order; `index` is the one that is open."""

    told: Told
    index: int = -1

    def __len__(self) -> int:
        return len(self.told.found.hits)

    def at(self, i: int) -> HitRow:
        return hit_row(self.told.found.hits[i])

    def step(self, by: int, run: Run) -> HitList | None:
        """The next or previous hit of another pole, whose neuron the run stores; None if there is none."""
        hits, i = self.told.found.hits, self.index + by
        now = hits[self.index].at if self.index >= 0 else None
        while 0 <= i < len(hits):
            if hits[i].at != now and run.stores(hits[i].at.layer, hits[i].at.neuron):
                return replace(self, index=i)
            i += by
        return None

    def label(self, at: NeuronAt) -> str:
        """Status text while the neuron of the open hit is shown; empty for another one."""
        if self.index < 0 or self.at(self.index).at != at:
            return ""
        return f"{self.index + 1} of {len(self):,} hits (. next , previous)"


class FoundTable:
    """The hits, laid out while visible."""

    empty = "nothing is found; / changes the text, Tab what it is looked for in"

    def __init__(self, found: HitList) -> None:
        self.found = found
        self._row = lru_cache(maxsize=500)(found.at)
        asked = found.told.asked
        self._pattern = query_pattern(asked.query) if asked.way == "words" else None

    def __len__(self) -> int:
        return len(self.found)

    def columns(self) -> Sequence[Column]:
        neuron = Column("neuron", "neuron", 11)
        if self.found.told.asked.of_tokens:
            explained = (Column("explained", "explanation", 0, drop=3),) if any(self.found.told.explained) else ()
            return (
                neuron, Column("token", "token", 16), Column("rank", "rank", 4, right=True, drop=2),
                Column("score", "writes", 8, right=True), Column("z", "z", 7, right=True, drop=1), *explained,
            )  # fmt: skip
        score = "cosine" if self.found.told.asked.way == "meaning" else "BM25"
        return (
            neuron, Column("score", score, 7, right=True, drop=2), Column("kind", "found in", 11),
            Column("text", "text", 0, min_width=30), Column("value", "act", 8, right=True, drop=4),
            Column("source", "set or window", 16, drop=3),
        )  # fmt: skip

    def cells(self, i: int, widths: Mapping[str, int]) -> Mapping[str, Span | Line]:
        r, hit = self._row(i), self.found.told.found.hits[i]
        shared = {
            "neuron": Span(r.label, "title"), "kind": Span(r.kind, "dim"), "source": Span(safe(r.source), "dim"),
            "z": Span(number(hit.z, 3), sign_style(hit.z)),
            "rank": Span("" if hit.rank is None else str(hit.rank), "dim"),
            "value": Span(number(hit.value, 3), sign_style(hit.value)),
        }  # fmt: skip
        if r.kind == "token":
            told = self.found.told
            explained = safe(told.explained[i]) if told.explained else ""
            return {
                **shared, "token": Span(safe(r.token()), "token"), "explained": Span(explained),
                "score": Span(number(hit.score, 3), sign_style(hit.score)),
            }  # fmt: skip
        parts = r.parts(self._pattern, widths.get("text", 0))
        text = line(*(Span(safe(part.text), _STYLES[part.mark]) for part in parts))
        return {**shared, "text": text, "score": Span(f"{hit.score:.3f}")}

    def record(self, i: int) -> dict[str, Any]:
        row = self.found.told.found.hits[i]._asdict()
        at = row.pop("at")
        return {"layer": at.layer, "neuron": at.neuron, "pole": at.pole, **row}


def found_head(told: Told) -> list[Line]:
    """How many hits, how long it took, what is to be known of them, and the order."""
    n = count_text(told.asked, len(told.found.hits))
    first = line(
        Span("search ", "title"), Span(beginning(told.asked.query), "mark"),
        Span(f"  {n} in {time_text(told.found.seconds)}", "dim"),
    )  # fmt: skip
    order = line(Span(f"by {ORDERS[told.asked.way]}", "dim"))
    return [first, *(line(Span(safe(note), "warn")) for note in told.found.notes), order]
