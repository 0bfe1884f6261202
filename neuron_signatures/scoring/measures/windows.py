"""The windows that an item needs, each once."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from neuron_signatures.scoring.design import Group, NeuronTexts
from neuron_signatures.scoring.texts import Text

GROUPS: tuple[Group, ...] = ("top", "random", "uniform", "sixty")


class Members(NamedTuple):
    """Windows of some groups, each once, and their places among all that an item needs."""

    texts: tuple[Text, ...]
    places: tuple[int, ...]


class Plan:
    """The windows of a neuron that are simulated, each once: first the scored ones by group, then the fitted ones.

    Their order is that of the requests. It depends on the windows alone.
    """

    def __init__(self, texts: NeuronTexts) -> None:
        self._parts = {"scored": texts.scored, "fitted": texts.fitted}
        every = (part.get(group, ()) for part in self._parts.values() for group in GROUPS)
        self._found: dict[_Key, int] = {}
        needed: list[Text] = []
        for text in (text for group in every for text in group):
            if self._found.setdefault(_key(text), len(needed)) == len(needed):
                needed.append(text)
        self.needed = tuple(needed)
        self._members: dict[tuple[str, tuple[Group, ...]], Members] = {}

    def members(self, part: Literal["scored", "fitted"], *groups: Group) -> Members:
        """The windows of these groups together."""
        if (part, groups) not in self._members:
            members = (text for group in groups for text in self._parts[part].get(group, ()))
            places = tuple(dict.fromkeys(self.place(text) for text in members))
            self._members[part, groups] = Members(tuple(self.needed[i] for i in places), places)
        return self._members[part, groups]

    def place(self, text: Text) -> int:
        """Of a window among those needed."""
        return self._found[_key(text)]


@lru_cache(maxsize=32)
def plan_of(texts: NeuronTexts) -> Plan:
    """Kept for the other items of the neuron."""
    return Plan(texts)


_Key = tuple[int, int, int]


def _key(text: Text) -> _Key:
    """What tells texts of a neuron apart: the window, and the part of it that is shown."""
    return text.window, text.first, len(text.tokens)
