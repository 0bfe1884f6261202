"""The part of a text that shows why it was found: the words of the query, and the peak of an exemplar."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.search.query import parse
from neuron_signatures.runs.tokens import escape, visible

Mark = Literal["", "word", "peak"]
_GAP: Final = "…"
_LEAD: Final = 0.4
"""Of what is shown around a mark, so much is before it."""
_NEAR: Final = 0.9
"""Marks within this share of the room are shown with the beginning of the text."""
_WORD: Final = 12
"""Characters that are left out so as not to cut a word."""
_MOST_MARKS: Final = 200


class Part(NamedTuple):
    """A piece of a text, escaped; `peak` is the token of the peak in brackets, `word` one of the query's words."""

    text: str
    mark: Mark


class _Span(NamedTuple):
    start: int
    end: int
    mark: Mark


def query_pattern(query: str) -> re.Pattern[str] | None:
    """Finds the words of a query in a text; None for a query without words."""
    try:
        words = dict.fromkeys(word for term in parse(query).terms for word in term.words)
    except UsageError:
        return None
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}" for word in sorted(words, key=len, reverse=True)), re.I)


def excerpt(
    text: str, peak: tuple[int, int] | None, pattern: re.Pattern[str] | None, room: int, *, more: int = 0
) -> list[Part]:
    """About `room` characters of a raw text on one line, around the peak and the first word found, and `more` after."""
    found = _marks(text, peak, pattern)
    *ranges, last = _ranges(text, found, max(room, 8))
    ranges.append((last[0], min(last[1] + more, len(text))))
    out: list[Part] = []
    for start, end in ranges:
        if start > 0:
            out.append(Part(_GAP, ""))
        out += _parts(text, start, end, [m for m in found if start <= m.start and m.end <= end])
    if ranges[-1][1] < len(text):
        out.append(Part(_GAP, ""))
    return [part for part in out if part.text]


def plain(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts).strip()


def _marks(text: str, peak: tuple[int, int] | None, pattern: re.Pattern[str] | None) -> list[_Span]:
    """The peak, and the words that do not overlap it, in order."""
    start, end = peak or (0, 0)
    at = _Span(start, end, "peak") if 0 <= start < end <= len(text) else None
    words = [_Span(*m.span(), "word") for m, _ in zip(_matches(text, pattern), range(_MOST_MARKS), strict=False)]
    kept = [w for w in words if at is None or w.end <= at.start or w.start >= at.end]
    return sorted([*kept, at] if at else kept)


def _matches(text: str, pattern: re.Pattern[str] | None) -> Iterator[re.Match[str]]:
    return iter(()) if pattern is None else pattern.finditer(text)


def _ranges(text: str, found: Sequence[_Span], room: int) -> list[tuple[int, int]]:
    """The text, or its beginning if that has the marks, else what is around the peak and the first word."""
    firsts = {m.mark: m for m in reversed(found)}
    if "word" not in firsts:  # the text was found as a whole
        firsts[""] = _Span(0, 0, "")
    if len(text) <= room or max(m.end for m in firsts.values()) < room * _NEAR:
        return [(0, min(room, len(text)))]
    around = max(0, room - sum(m.end - m.start for m in firsts.values())) // len(firsts)
    ranges: list[tuple[int, int]] = []
    for m in sorted(firsts.values()):
        start = _word_start(text, max(0, m.start - int(_LEAD * around)), m.start)
        end = _word_end(text, min(len(text), m.end + around - (m.start - start)), m.end)
        if ranges and start <= ranges[-1][1]:
            start = ranges.pop()[0]
        ranges.append((start, end))
    return ranges


def _word_start(text: str, start: int, most: int) -> int:
    """Where the next word starts, at most at `most`, if it is near."""
    space = text.find(" ", start, min(start + _WORD, most)) if start else -1
    return start if space < 0 else space


def _word_end(text: str, end: int, least: int) -> int:
    """Where the last word ends, at least at `least`, if it is near."""
    space = text.rfind(" ", max(end - _WORD, least), end) if end < len(text) else -1
    return end if space < 0 else space


def _parts(text: str, start: int, end: int, found: Sequence[_Span]) -> Iterator[Part]:
    for m in found:
        yield Part(_flat(text[start : m.start]), "")
        inside = text[m.start : m.end]
        yield Part(f"[{visible(inside)}]" if m.mark == "peak" else escape(inside), m.mark)
        start = m.end
    yield Part(_flat(text[start:end]), "")


def _flat(text: str) -> str:
    """On one line, escaped; spaces at the ends are kept."""
    return escape(re.sub(r"[ \t]+", " ", re.sub(r"\s*\n\s*", " ⏎ ", text)))
