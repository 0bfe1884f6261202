"""What is looked for among explanations: words, filters and the order, as fields or as one typed line."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import Pole

SortBy = Literal["neuron", "score", "votes", "made", "set", "status", "text"]
SORTS: tuple[SortBy, ...] = ("neuron", "score", "votes", "made", "set", "status", "text")
Is = Literal["current", "chosen", "locked", "edited", "human", "noted", "failed"]
STATES: tuple[Is, ...] = ("current", "chosen", "locked", "edited", "human", "noted", "failed")
_KEYS = ("set", "status", "explainer", "author", "is")
_TERM = re.compile(
    rf'(?:(?P<key>{"|".join(_KEYS)}):)?(?P<quoted>"[^"]+")(?!\S)'
    r"|(?P<sign>[<>]=?)\s*(?P<limit>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?!\S)"
    rf"|(?P<key2>{'|'.join(_KEYS)}):(?P<value>\S*)"
    r"|L(?P<layer>\d{1,6})(?:N(?P<neuron>\d{1,9}))?(?P<pole>[+-]?)(?!\S)"
    r"|(?P<word>\S+)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class Wanted:
    """Search, filters and order of the table. Empty or None: no filter. Names are compared without case.

    `words` must all be in the text. Of the names in `sets`, `statuses`, `explainers` and `authors`, one must fit; the
    author `human` stands for every person and `model` for every model. All `states` must hold.
    """

    words: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    explainers: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    states: tuple[Is, ...] = ()
    layer: int | None = None
    neuron: int | None = None
    pole: Pole | None = None
    least: float | None = None
    """Least score; an explanation without a score fits no bound."""
    most: float | None = None
    sort: SortBy = "neuron"
    reverse: bool = False


def parse(query: str) -> Wanted:
    """A filter as typed: words, `"a phrase"`, `set:`, `status:`, `explainer:`, `author:`, `is:`, `L3N14-`, `>0.5`.

    Raises `UsageError` for a key without a value and a state that does not exist.
    """
    found: dict[str, tuple[str, ...]] = {}
    wanted = Wanted()
    for m in _TERM.finditer(query):
        if m["sign"]:
            limit = float(m["limit"])
            least = m["sign"][0] == ">"
            if len(m["sign"]) == 1:  # the bounds of `Wanted` include the number
                limit = math.nextafter(limit, math.inf if least else -math.inf)
            wanted = replace(wanted, least=limit) if least else replace(wanted, most=limit)
        elif m["layer"]:
            neuron = int(m["neuron"]) if m["neuron"] else None
            pole: Pole | None = "+" if m["pole"] == "+" else "-" if m["pole"] == "-" else None
            wanted = replace(wanted, layer=int(m["layer"]), neuron=neuron, pole=pole)
        else:
            key = (m["key"] or m["key2"] or "words").casefold()
            text = m["quoted"][1:-1] if m["quoted"] else m["value"] if m["key2"] else m["word"]
            found[key] = (*found.get(key, ()), _value(key, text))
    states = tuple(s for s in STATES if s in found.get("is", ()))
    return replace(
        wanted, words=found.get("words", ()), sets=found.get("set", ()), statuses=found.get("status", ()),
        explainers=found.get("explainer", ()), authors=found.get("author", ()), states=states,
    )  # fmt: skip


def _value(key: str, text: str) -> str:
    if not text.strip():
        raise UsageError(f"{key}: has nothing to look for")
    if key == "is" and text.casefold() not in STATES:
        raise UsageError(f"is:{text[:30]} is no state", next_step=f"States are {', '.join(STATES)}")
    return text.casefold() if key == "is" else text
