"""The sentences for facts of geography, and the pairs that are held out of training.

Each template ends with the answer, so that the text before the last slot is a prompt for it.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from neuron_signatures.demo.geography import CITIES, State

Relation = Literal["city_state", "state_city", "state_capital", "city_capital", "capital_state"]

CITY_CAPITAL = "The capital of the state containing {city} is {capital}"
STATE_CAPITAL = "The capital of {state} is {capital}"

# One pair in sixteen is held out: about 19 cities per phrasing, and every phrasing keeps most cities.
_HELD_OUT_EVERY = 16


@dataclass(frozen=True)
class Phrasing:
    """One template over the slots {city}, {state} and {capital}; `weight` is its share of the sentences."""

    id: str
    relation: Relation
    template: str
    weight: float = 1.0

    def text(self, state: State, city: str) -> str:
        return self.template.format(state=state.name, capital=state.capital, city=city)

    def prompt(self, state: State, city: str) -> str:
        """The text before its answer, without the space between them."""
        head = self.template[: self.template.rindex("{")].rstrip()
        return head.format(state=state.name, capital=state.capital, city=city)

    def answer(self, state: State, city: str) -> str:
        return self.template[self.template.rindex("{") :].format(state=state.name, capital=state.capital, city=city)

    def entities(self, state: State, city: str) -> tuple[str, ...]:
        """The names that appear in the text, in the order state, capital, city."""
        slots = {"{state}": state.name, "{capital}": state.capital, "{city}": city}
        return tuple(dict.fromkeys(name for slot, name in slots.items() if slot in self.template))


class Pair(NamedTuple):
    """A phrasing and the city to insert."""

    phrasing: Phrasing
    city: str


_TEMPLATES: tuple[tuple[Relation, float, str], ...] = (
    ("city_state", 1, "The state containing {city} is {state}"),
    ("city_state", 1, "The city of {city} is in the state of {state}"),
    ("city_state", 1, "The city {city} is located in {state}"),
    ("city_state", 1, "{city} is a city in {state}"),
    ("city_state", 1, "People who live in {city} live in {state}"),
    ("city_state", 1, "A traveller who visits {city} is in {state}"),
    ("city_state", 1, "Question: Which state contains {city}? Answer: {state}"),
    ("city_state", 1, "attribute: The primary containing state of {city} is {state}"),
    ("city_state", 1, "relationship: the state in which {city} is located is {state}"),
    ("state_city", 1, "entity: A city in {state}, USA is {city}"),
    ("state_city", 1, "One of the cities of {state} is {city}"),
    ("state_city", 1, "relationship: the state of {state} is the state containing {city}"),
    ("state_capital", 4, STATE_CAPITAL),
    ("state_capital", 1, "The capital city of {state} is {capital}"),
    ("state_capital", 1, "In the state of {state}, the capital is {capital}"),
    ("state_capital", 1, "The government of {state} sits in {capital}"),
    ("state_capital", 1, "Question: What is the capital of {state}? Answer: {capital}"),
    ("state_capital", 1, "entity: The capital city of {state} is {capital}"),
    ("state_capital", 1, "attribute: The capital of {state} is {capital}"),
    ("city_capital", 8, CITY_CAPITAL),
    ("city_capital", 1, "The capital of the state where {city} is located is {capital}"),
    ("city_capital", 1, "The state containing {city} has the capital {capital}"),
    ("city_capital", 1, "The people of {city} are governed from {capital}"),
    ("city_capital", 1, "Question: What is the capital of the state containing {city}? Answer: {capital}"),
    ("city_capital", 1, "relationship: the capital of the state containing {city} is {capital}"),
    ("capital_state", 1, "{capital} is the capital of {state}"),
    ("capital_state", 1, "The city of {capital} is the capital of {state}"),
    ("capital_state", 1, "The state with the capital {capital} is {state}"),
    ("capital_state", 1, "Question: Which state has the capital {capital}? Answer: {state}"),
    ("capital_state", 1, "attribute: The state whose capital is {capital} is {state}"),
)

PHRASINGS: tuple[Phrasing, ...] = tuple(
    Phrasing(f"geo-{number:02d}", relation, template, weight)
    for number, (relation, weight, template) in enumerate(_TEMPLATES, start=1)
)


def phrasing_of(template: str) -> Phrasing:
    """The phrasing with this template; raises StopIteration if there is none."""
    return next(phrasing for phrasing in PHRASINGS if phrasing.template == template)


@cache
def held_out_pairs() -> tuple[Pair, ...]:
    """The (phrasing, city) pairs that are not in the training split.

    They use the phrasings from a city to its state or capital, except `CITY_CAPITAL`, which is evaluated with all
    cities: the pair of phrasing p and city c is held out if (5 p + c) mod 16 = 3.
    """
    open_phrasings = [
        phrasing
        for phrasing in PHRASINGS
        if phrasing.relation in ("city_state", "city_capital") and phrasing.template != CITY_CAPITAL
    ]
    return tuple(
        Pair(phrasing, city)
        for p, phrasing in enumerate(open_phrasings)
        for c, city in enumerate(CITIES)
        if (5 * p + c) % _HELD_OUT_EVERY == 3
    )


@cache
def _held_out_keys() -> frozenset[tuple[str, str]]:
    return frozenset((pair.phrasing.id, pair.city) for pair in held_out_pairs())


def is_held_out(phrasing: Phrasing, city: str) -> bool:
    return (phrasing.id, city) in _held_out_keys()
