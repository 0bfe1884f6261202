"""The windows that an item needs, each once, and what was predicted in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.scoring.design import Group, NeuronTexts
from neuron_signatures.scoring.simulators.base import Simulated
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32

GROUPS: tuple[Group, ...] = ("top", "random", "uniform", "sixty")


class Place(NamedTuple):
    """What tells texts of a neuron apart: the tokens of a window from the first one shown."""

    window: int
    first: int
    n_tokens: int


def place(text: Text) -> Place:
    return Place(text.window, text.first, len(text.tokens))


def needed_texts(texts: NeuronTexts) -> tuple[Text, ...]:
    """The scored windows by group, then the fitted ones; each once. Their order is that of the requests."""
    by_group = (part.get(group, ()) for part in (texts.scored, texts.fitted) for group in GROUPS)
    return distinct(text for group in by_group for text in group)


def distinct(texts: Iterable[Text]) -> tuple[Text, ...]:
    found: dict[Place, Text] = {}
    for text in texts:
        found.setdefault(place(text), text)
    return tuple(found.values())


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted in each text of an item."""

    by_place: Mapping[Place, Simulated]

    @staticmethod
    def of(texts: Sequence[Text], simulated: Sequence[Simulated]) -> Predictions:
        return Predictions({place(t): found for t, found in zip(texts, simulated, strict=True)})

    def values(self, texts: Sequence[Text]) -> list[Float32[np.ndarray, " pos"] | None]:
        """None where the request failed."""
        return [self.by_place[place(text)].values for text in texts]
