"""Hits as rows for display."""

from __future__ import annotations

import re
from typing import NamedTuple

from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.search.hits import Hit
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.search_run.excerpts import Part, excerpt


class HitRow(NamedTuple):
    """One hit. `source` is the set of an explanation, or the place of an exemplar among the strongest windows."""

    at: NeuronAt
    label: str
    pole: Pole
    id: str
    """Of an explanation; empty elsewhere."""
    kind: str
    source: str
    hit: Hit

    def token(self) -> str:
        """The written token, escaped."""
        return visible(self.hit.text)

    def parts(self, pattern: re.Pattern[str] | None, room: int, *, more: int = 0) -> list[Part]:
        """About `room` characters of the text that show why it was found, and `more` after them; escaped."""
        text = self.hit.text.strip() if self.hit.peak is None else self.hit.text
        return excerpt(text, self.hit.peak, pattern, room, more=more)


def hit_row(hit: Hit) -> HitRow:
    at = NeuronAt(hit.at.layer, hit.at.neuron)
    return HitRow(at, hit.at.label, hit.at.pole, hit.id, hit.kind, _source(hit), hit)


def _source(hit: Hit) -> str:
    if hit.kind == "exemplar":
        return "" if hit.rank is None else f"window {hit.rank}"
    if hit.kind == "token":
        return ""
    of = "" if not hit.explainer or hit.explainer == hit.set else f" ({brief(hit.explainer)})"
    return f"{brief(hit.set)}{of}"
