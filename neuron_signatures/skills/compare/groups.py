"""Which groups of texts are compared: pairs of classes, and pairs of skills of a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.reader import text_groups
from neuron_signatures.skills.compare.draws import SMALLEST

if TYPE_CHECKING:
    import pandas as pd


class Group(NamedTuple):
    """The texts of a class, or of a skill of it (otherwise `skill` is empty)."""

    class_name: str
    skill: str

    @property
    def name(self) -> str:
        return f"{self.class_name}\0{self.skill}"


class Compared(NamedTuple):
    level: str
    a: Group
    b: Group


@dataclass(frozen=True)
class Groups:
    """The chosen texts. `texts` are their numbers in the run; groups have places in `texts`."""

    texts: Int64[np.ndarray, " text"]
    classes: Mapping[str, Int64[np.ndarray, " _"]]
    members: Mapping[Group, Int64[np.ndarray, " _"]]
    compared: tuple[Compared, ...]
    too_small: tuple[str, ...]
    """Classes and skills with fewer than `SMALLEST` texts, which are not compared."""


def choose_groups(texts: pd.DataFrame, classes: tuple[str, ...] | None) -> Groups:
    """Raises `UsageError` for a class that was not collected, or if no two classes are left."""
    found = list(dict.fromkeys(sorted(texts["class"])))
    if missing := sorted(set(classes or ()) - set(found)):
        raise UsageError(f"{missing[0]!r} has no texts; there are {', '.join(found)}", where="--classes")
    rows = np.flatnonzero(texts["class"].isin(classes or found).to_numpy())
    chosen = texts.iloc[rows].reset_index(drop=True)
    members = {Group(str(name), ""): at for name, at in text_groups(chosen, ["class"]).items()}
    for (name, skill), at in text_groups(chosen, ["class", "skill"]).items():
        if skill:
            members[Group(str(name), str(skill))] = at
    large = {group: np.asarray(at, np.int64) for group, at in members.items() if len(at) >= SMALLEST}
    whole = [g for g in large if not g.skill]
    if len(whole) < 2:
        what = f"needs two classes with at least {SMALLEST} texts, and there is {len(whole)}"
        raise UsageError(what, where="--mode compare", next_step="Collect texts of several classes")
    compared = [Compared("between", a, b) for a, b in combinations(whole, 2)]
    for group in whole:
        skills = [g for g in large if g.skill and g.class_name == group.class_name]
        compared += [Compared("within", a, b) for a, b in combinations(skills, 2)]
    small = tuple(f"{g.class_name} {g.skill}".strip() for g in members if g not in large)
    return Groups(rows, {g.class_name: large[g] for g in whole}, large, tuple(compared), small)
