"""Cuts a long text into documents at the ends of paragraphs, lines or words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from neuron_signatures.records.corpus.sources.items import Item


def pieces(chunks: Iterable[str], limit: int) -> Iterator[str]:
    """The text of all chunks in pieces of at most `limit` characters. Joined they are the text.

    A piece ends at the last paragraph, line or word end of its second half, in this order of preference, else at the
    limit. Holds at most one piece and one chunk.
    """
    rest = ""
    for chunk in chunks:
        buffer, start = rest + chunk, 0
        while len(buffer) - start > limit:
            end = _end(buffer, start, limit)
            yield buffer[start:end]
            start = end
        rest = buffer[start:]
    if rest:
        yield rest


def cut_items(items: Iterable[Item], limit: int) -> Iterator[Item]:
    """The items, with texts of more than `limit` characters in pieces whose names end in ` (1)`, ` (2)`, ..."""
    for item in items:
        if len(item.text) <= limit:
            yield item
            continue
        for number, piece in enumerate(pieces([item.text], limit), start=1):
            yield replace(item, name=f"{item.name} ({number})", text=piece)


def _end(text: str, start: int, limit: int) -> int:
    """Where the piece ends that begins at `start`."""
    for mark in ("\n\n", "\n", " "):
        at = text.rfind(mark, start + limit // 2, start + limit)
        if at >= 0:
            return at + len(mark)
    return start + limit
