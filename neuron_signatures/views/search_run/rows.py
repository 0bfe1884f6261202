"""Hits as rows for display: escaped, on one line."""

from __future__ import annotations

from typing import NamedTuple

from neuron_signatures.runs.records.names import Pole
from neuron_signatures.runs.search.hits import Hit
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.texts import one_line

BEFORE = 120
"""Characters of a window before its peak that are shown."""


class Excerpt(NamedTuple):
    """An escaped text on one line; `peak` is the token with the peak of an exemplar, empty elsewhere."""

    before: str
    peak: str
    after: str

    @property
    def line(self) -> str:
        """With the peak in brackets."""
        return f"{self.before}[{self.peak}]{self.after}" if self.peak else self.before + self.after


class HitRow(NamedTuple):
    """One hit. `source` is the set of an explanation, or the place of an exemplar among the strongest windows."""

    at: NeuronAt
    label: str
    pole: Pole
    id: str
    """Of an explanation; empty elsewhere."""
    kind: str
    source: str
    excerpt: Excerpt
    score: float
    rank: int | None
    value: float | None
    z: float | None


def hit_row(hit: Hit) -> HitRow:
    at = NeuronAt(hit.at.layer, hit.at.neuron)
    return HitRow(
        at,
        hit.at.label,
        hit.at.pole,
        hit.id,
        hit.kind,
        _source(hit),
        _excerpt(hit),
        hit.score,
        hit.rank,
        hit.value,
        hit.z,
    )


def _source(hit: Hit) -> str:
    if hit.kind == "exemplar":
        return "" if hit.rank is None else f"window {hit.rank}"
    if hit.kind == "token":
        return ""
    of = "" if not hit.explainer or hit.explainer == hit.set else f" ({brief(hit.explainer)})"
    return f"{brief(hit.set)}{of}"


def _excerpt(hit: Hit) -> Excerpt:
    if hit.kind == "token":
        return Excerpt("", "", visible(hit.text))
    start, end = hit.peak or (0, 0)
    if not 0 <= start < end <= len(hit.text):
        return Excerpt("", "", one_line(hit.text))
    cut = max(0, start - BEFORE)
    before = one_line(hit.text[cut:start])
    return Excerpt(f"… {before}" if cut else before, visible(hit.text[start:end]), _after(hit.text[end:]))


def _after(text: str) -> str:
    """As `one_line`, with the space at the beginning, if there is one."""
    shown = one_line(text)
    return f" {shown}" if shown and text[:1].isspace() else shown
