"""Hits of a search as lines of text and as JSON. Texts come from the run: they are escaped."""

from __future__ import annotations

from typing import Any, Final

from neuron_signatures.runs.search.hits import Found, Hit
from neuron_signatures.runs.tokens import escape, visible

_AROUND: Final = 50
"""Characters before and after the token of the peak."""
_LONGEST: Final = 140
_TEXT_NAMES: Final = ("score", "what", "text")


def found_lines(found: Found) -> list[str]:
    """A line per hit, then the notes."""
    names = ("write", "rank", "token, by |z|") if found.hits and found.hits[0].kind == "token" else _TEXT_NAMES
    lines = ["{:>7}  {:12} {:18} {}".format(names[0], "neuron", *names[1:])] if found.hits else ["nothing was found"]
    for hit in found.hits:
        score = f"{hit.score:7.3f}" if abs(hit.score) < 1000 else f"{hit.score:7.0f}"
        lines.append(f"{score}  {hit.at.label:12} {escape(_what(hit))[:30]:18} {hit_text(hit)}")
    return lines + [f"note: {escape(note)}" for note in found.notes]


def hit_text(hit: Hit) -> str:
    """The text on one line: of an exemplar the surroundings of the peak, whose token is between » and «."""
    if hit.kind == "token":
        return visible(hit.text) + ("" if hit.z is None else f"  (z {hit.z:+.1f})")
    if hit.peak is None:
        return _one_line(hit.text[:_LONGEST]) + ("…" if len(hit.text) > _LONGEST else "")
    start, stop = hit.peak
    first, last = max(0, start - _AROUND), stop + _AROUND
    before, after = "…" if first else "", "…" if last < len(hit.text) else ""
    peak = f"»{_one_line(hit.text[start:stop])}«"
    return f"{before}{_one_line(hit.text[first:start])}{peak}{_one_line(hit.text[stop:last])}{after}"


def hit_fields(hit: Hit) -> dict[str, Any]:
    """As JSON."""
    own = {name: value for name, value in hit._asdict().items() if name != "at"}
    return {"layer": hit.at.layer, "neuron": hit.at.neuron, "pole": hit.at.pole, **own}


def _what(hit: Hit) -> str:
    if hit.kind == "explanation":
        return hit.set
    return f"exemplar {hit.rank}" if hit.kind == "exemplar" else f"{hit.rank}"


def _one_line(text: str) -> str:
    return escape(text.replace("\n", "⏎").replace("\t", " "))
