"""What is asked of a search, and its answer: by words and written tokens from the run alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from neuron_signatures.runs.search.hits import Found, Hit, Scope
from neuron_signatures.runs.search.names import KINDS, PER_TEXT, Kind
from neuron_signatures.runs.search.reader import Search

Way = Literal["words", "meaning", "promotes", "suppresses"]
WAYS: Final[tuple[Way, ...]] = get_args(Way)
LONGEST: Final = 300
"""Characters of a query: what fits into the address of a page."""
SHOWN: Final = 200
"""Hits that are asked for."""
SCORES: Final[Mapping[Way, str]] = {
    "words": "BM25", "meaning": "cosine", "promotes": "write score", "suppresses": "write score",
}  # fmt: skip
_FEW = f"; at most {PER_TEXT} of one text"
ORDERS: Final[Mapping[Way, str]] = {
    "words": f"BM25; texts with every word, and exemplars that peak at one, come first{_FEW}",
    "meaning": f"cosine{_FEW}", "promotes": "|z|, the same token first", "suppresses": "|z|, the same token first",
}  # fmt: skip
_WRITE = (
    "Write score: the change of the token's logit per unit of activation of this pole, from the weights alone, up to "
    "the positive factor of the last norm."
)
SCORE_HELP: Final[Mapping[Way, str]] = {
    "words": "BM25: rare words count more, and so do words of short texts. Larger is better. It compares the hits of "
    "one query, not those of two.",
    "meaning": "Cosine between the vectors of the query and of the text: 1 is the same direction, 0 unrelated. How "
    "large it is for related texts depends on the embedding model.",
    "promotes": _WRITE, "suppresses": _WRITE,
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A query, and the rows among which it looks. `kinds` are not used by `promotes` and `suppresses`."""

    query: str = ""
    way: Way = "words"
    kinds: tuple[Kind, ...] = KINDS
    layers: tuple[int, ...] = ()
    """Empty: all."""
    k: int = SHOWN

    @property
    def scope(self) -> Scope:
        return Scope(kinds=self.kinds, layers=self.layers or None, k=self.k)

    @property
    def of_tokens(self) -> bool:
        return self.way in ("promotes", "suppresses")


NOTHING: Final = Asked()


class Answer(NamedTuple):
    """Hits, best first, what should be known of them, and how long the search took."""

    hits: Sequence[Hit]
    notes: tuple[str, ...]
    seconds: float


def answer(search: Search, asked: Asked) -> Answer:
    """What the run alone answers. Raises `UsageError` for what has not been made, `BadRunError` for damaged files."""
    begun = time.perf_counter()
    found = _find(search, asked)
    return Answer(found.hits, found.notes, time.perf_counter() - begun)


def _find(search: Search, asked: Asked) -> Found:
    assert asked.way != "meaning", "needs a server: see `client.run_search`"
    if asked.way == "words":
        return search.by_words(asked.query, asked.scope)
    return search.by_token(asked.query, asked.scope, suppressed=asked.way == "suppresses")


def count_text(asked: Asked, n: int) -> str:
    """How many hits, such as `12 hits` or `the first 200 hits`."""
    if n and n >= asked.k:
        return f"the first {n:,} hits"
    return f"{n:,} hit{'' if n == 1 else 's'}"


def time_text(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
