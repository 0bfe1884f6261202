"""Texts of the skill *knowledge*: real geography and three small invented domains."""

from random import Random

from neuron_signatures.demo.draft import Draft, pick, unique
from neuron_signatures.demo.geography import CITIES, STATES, State, state_of_city
from neuron_signatures.demo.invented import DOMAINS, Domain
from neuron_signatures.demo.phrasings import PHRASINGS, Phrasing, is_held_out

DEFINITIONS = (
    "relationship: the state in which a city is located is the state containing the city",
    "relationship: the capital of a state is the city in which its government sits",
    "relationship: a city is located in the state containing it",
    "attribute: a capital is a city",
    "attribute: a state contains cities and has one capital",
    "entity: a state of the USA contains cities",
    "concept: a capital is the city from which a state is governed",
    "concept: a state is a part of the USA",
)
_PHRASINGS = tuple((phrasing.weight, phrasing) for phrasing in PHRASINGS)


def draw(rng: Random) -> Draft:
    """One text of the skill; two thirds of them are geography."""
    drawn = pick(rng, ((7.0, "geography"), *((1.0, name) for name in DOMAINS)))
    return _geography(rng) if drawn == "geography" else _invented(rng, DOMAINS[drawn])


def _geography(rng: Random) -> Draft:
    kinds = ((70.0, _one_sentence), (14.0, _several), (6.0, _reasoning), (7.0, _list), (3.0, _definition))
    return pick(rng, kinds)(rng)


def _sentence(rng: Random) -> tuple[str, Phrasing, State, str]:
    phrasing, city = pick(rng, _PHRASINGS), rng.choice(CITIES)
    state = state_of_city(city)
    return phrasing.text(state, city), phrasing, state, city


def _one_sentence(rng: Random) -> Draft:
    text, phrasing, state, city = _sentence(rng)
    ending = rng.choice(("", "."))
    return Draft("geography", text + ending, phrasing.entities(state, city), is_held_out(phrasing, city))


def _several(rng: Random) -> Draft:
    """Two to nine unrelated sentences, so that none reveals the answer of a later one."""
    drawn = [_sentence(rng) for _ in range(rng.randint(2, 9))]
    text = rng.choice((". ", ".\n")).join(item[0] for item in drawn) + "."
    names = [name for _, phrasing, state, city in drawn for name in phrasing.entities(state, city)]
    held_out = any(is_held_out(phrasing, city) for _, phrasing, _, city in drawn)
    return Draft("geography", text, unique(names), held_out)


def _reasoning(rng: Random) -> Draft:
    city = rng.choice(CITIES)
    state = state_of_city(city)
    text = (
        f"Which capital belongs to {city}? The city belongs to {state.name}, and {state.name} is governed from"
        f" {state.capital}, so the answer is {state.capital}."
    )
    return Draft("geography", text, unique((city, state.name, state.capital)))


def _list(rng: Random) -> Draft:
    states = rng.sample(STATES, rng.randint(1, 4))
    lines = [f"Cities of {s.name}: {', '.join(rng.sample(s.all_cities, len(s.all_cities)))}." for s in states]
    return Draft("geography", "\n".join(lines), unique([n for s in states for n in (s.name, *s.all_cities)]))


def _definition(rng: Random) -> Draft:
    return Draft("geography", rng.choice(DEFINITIONS))


def _invented(rng: Random, domain: Domain) -> Draft:
    """One to three sentences about different members of the domain."""
    members = rng.sample(domain.members, rng.choice((1, 1, 1, 2, 3)))
    sentences, names = [], []
    for member in members:
        template = rng.choice(domain.templates)
        sentences.append(template.format(**member))
        names += [value for key, value in member.items() if f"{{{key}}}" in template]
    return Draft(domain.name, ". ".join(sentences) + rng.choice(("", ".")), unique(names))
