"""A closed world in English: a seeded stream of labelled documents and the facts behind them.

The same seed gives the same documents in every process. Four skills, each with sub-skills: knowledge,
mathematics, programming, empathy. Example:

    for document in documents(seed=0, n=3):
        print(document.id, document.skill, document.sub_skill, document.text)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Literal, NamedTuple

from neuron_signatures.demo import empathy, knowledge, mathematics, programming
from neuron_signatures.demo.draft import pick
from neuron_signatures.demo.geography import CITIES, STATES, state_of_city
from neuron_signatures.demo.invented import DOMAINS

Skill = Literal["knowledge", "mathematics", "programming", "empathy"]

SKILLS: dict[Skill, tuple[str, ...]] = {
    "knowledge": ("geography", *DOMAINS),
    "mathematics": ("arithmetic", "comparison", "algebra", "sequences"),
    "programming": ("loops", "functions", "conditions", "errors"),
    "empathy": tuple(empathy.EMOTIONS),
}

# Shares of the documents. Knowledge has by far the most facts; programs and dialogues are longer texts.
_MIX: tuple[tuple[float, Skill], ...] = (
    (58.0, "knowledge"),
    (28.0, "mathematics"),
    (7.0, "programming"),
    (7.0, "empathy"),
)
_DRAW = {
    "knowledge": knowledge.draw,
    "mathematics": mathematics.draw,
    "programming": programming.draw,
    "empathy": empathy.draw,
}


@dataclass(frozen=True)
class Document:
    """One text with its labels. `entities` are the distinct names in it.

    `held_out` marks a text with a (phrasing, city) pair that is not in the training split.
    """

    id: str
    text: str
    skill: Skill
    sub_skill: str
    entities: tuple[str, ...]
    held_out: bool = False


class Fact(NamedTuple):
    """A true statement of the world, such as ("Dallas", "state", "Texas")."""

    subject: str
    relation: str
    object: str


def documents(
    seed: int, n: int | None = None, *, skill: Skill | None = None, train_only: bool = False
) -> Iterator[Document]:
    """The first `n` documents of the infinite stream of this seed (all if `n` is None).

    `skill` selects one skill, `train_only` drops the held-out pairs. Both filter the same stream, so an id always
    refers to the same text.
    """
    selected = (
        document
        for document in _stream(seed)
        if (skill is None or document.skill == skill) and not (train_only and document.held_out)
    )
    return islice(selected, n)


def _stream(seed: int) -> Iterator[Document]:
    rng, number = Random(seed), 0
    while True:
        skill = pick(rng, _MIX)
        draft = _DRAW[skill](rng)
        name = f"{skill}-{draft.sub_skill}-s{seed}-{number:07d}"
        yield Document(name, draft.text, skill, draft.sub_skill, draft.entities, draft.held_out)
        number += 1


def facts() -> tuple[Fact, ...]:
    """All facts in the knowledge documents: geography, then the invented domains."""
    capitals = [Fact(state.name, "capital", state.capital) for state in STATES]
    places = [Fact(city, "state", state_of_city(city).name) for city in CITIES]
    invented = [
        Fact(subject, relation, value)
        for domain in DOMAINS.values()
        for (_, subject), *attributes in (member.items() for member in domain.members)
        for relation, value in attributes
    ]
    return (*capitals, *places, *invented)
