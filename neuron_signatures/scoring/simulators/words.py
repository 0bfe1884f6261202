"""Words of texts: in explanations those that carry content, in tokens those that end at a position."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_APOSTROPHES = "'\u2019"
_WORD = re.compile(rf"[^\W_]+(?:[{_APOSTROPHES}][^\W_]+)*")
_QUOTED = re.compile(
    r"[\"\u201c`\u00ab]([^\"\u201d`\u00bb\n]{1,80})[\"\u201d`\u00bb]"
    rf"|(?<!\w)['\u2018]([^{_APOSTROPHES}\n]{{1,80}})[{_APOSTROPHES}](?!\w)"
)
_FUNCTION_WORDS = """
a about after all also an and any are as at be because been before being between both but by can could did do does
either etc every for from had has have he her his how i if in into is it its may me might more most my no nor not of on
one only or other others our out over she should so some such than that the their them then there these they this those
through to too under up us use used using very was we were what when where whether which while who whom whose why will
with within without would you your
"""
_ABOUT_NEURONS = """
activate activates activation activations active appear appearing appears associated category character characters class
concept concepts contain containing contains context contexts describe describes describing detect detects especially
example examples explain explanation expression expressions fire fires firing follow followed following follows general
including indicate indicates indicating instance instances kind kinds like likely mention mentioned mentioning mentions
neuron occur occurs particular particularly phrase phrases precision precede preceded preceding presence present recall
refer reference references referring refers related relating respond responds sentence sentences sequence sequences
signify specific specifically strongly term terms text texts token tokens type types typically usually
various word words
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split()) | frozenset(_ABOUT_NEURONS.split())
"""Left out of an explanation unless quoted: function words, and those that explanations of all neurons share."""


def explanation_stems(text: str) -> frozenset[str]:
    """Stems of the words of an explanation. Stop words count only in quotation marks."""
    quoted = " ".join(a or b for a, b in _QUOTED.findall(text))
    words = [w for w in _words(text) if w not in STOP_WORDS]
    return frozenset(map(stem, [*words, *_words(quoted)]))


@lru_cache(maxsize=4096)
def stems_by_end(tokens: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """At each token the stems of the words that end in it. A word may begin several tokens earlier.

    Kept for some texts, since the neurons of a run share the windows of its sample.
    """
    text = "".join(tokens)
    ends: list[set[str]] = [set() for _ in tokens]
    at, last = 0, 0
    for word, stop in _spans(text):
        while at < len(tokens) and last + len(tokens[at]) < stop:
            last += len(tokens[at])
            at += 1
        ends[at].add(stem(word))
    return tuple(frozenset(found) for found in ends)


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A word without its commonest English endings: plural, -ed, -ing, -ly, 's, and a final e after them.

    Words that differ only in these have the same stem; a stem need not be a word.
    """
    word = re.sub(rf"[{_APOSTROPHES}]s?$", "", word)
    for ending, new in (("sses", "ss"), ("ies", "y"), ("ying", "y"), ("ing", ""), ("edly", ""), ("ed", ""), ("ly", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return _bare(word[: -len(ending)] + new)
    if word.endswith("es") and len(word) > 4 and word[-3] in "sxzh":
        return _bare(word[:-2])
    if word.endswith("s") and len(word) > 3 and word[-2] not in "sui":
        return _bare(word[:-1])
    return _bare(word)


def _bare(word: str) -> str:
    """Without a doubled last consonant (`stopp`) or a final e (`move`), and with y for i at the end."""
    if len(word) > 4 and word[-1] == word[-2] and word[-1] in "bdgmnprt":
        word = word[:-1]
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    return word[:-1] + "y" if len(word) > 2 and word.endswith("i") else word


def _words(text: str) -> list[str]:
    return [word for word, _ in _spans(text)]


def _spans(text: str) -> Iterator[tuple[str, int]]:
    """Words in lower case, and where each ends."""
    for match in _WORD.finditer(text):
        yield match.group().lower(), match.end()
