"""The return type of the generators of all skills, before the world adds an id."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Draft(NamedTuple):
    """One text with its labels. `held_out` marks a (phrasing, city) pair kept out of training."""

    sub_skill: str
    text: str
    entities: tuple[str, ...] = ()
    held_out: bool = False


def pick(rng: Random, options: Sequence[tuple[float, T]]) -> T:
    """One option, drawn with probability proportional to its weight."""
    return rng.choices([option for _, option in options], [weight for weight, _ in options])[0]


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names in order of first appearance."""
    return tuple(dict.fromkeys(names))
