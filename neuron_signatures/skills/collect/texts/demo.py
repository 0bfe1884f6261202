"""Labelled texts of the demo world: its skills are the classes, its sub-skills the skills."""

from __future__ import annotations

from collections import Counter
from typing import Final

from neuron_signatures.demo.world import SKILLS, documents
from neuron_signatures.skills.collect.texts.labelled import LabelledText

DEMO: Final = "demo"
DEMO_SEED: Final = 1_000_033
"""Of the stream: the demo model was trained on another one, but short sentences repeat between streams."""
DEMO_PER_CLASS: Final = 200


def demo_texts(n_per_class: int, seed: int) -> list[LabelledText]:
    """`n_per_class` different texts of each class, spread evenly over its skills, in the order of the stream."""
    stream = documents(DEMO_SEED + seed)
    left = {(cls, skill): n for cls, skills in SKILLS.items() for skill, n in _shares(skills, n_per_class).items()}
    found: list[LabelledText] = []
    seen: set[str] = set()
    idle: Counter[tuple[str, str]] = Counter()
    while any(left.values()):
        document = next(stream)
        key = (document.skill, document.sub_skill)
        if not left.get(key):
            continue
        if document.text in seen:
            idle[key] += 1
            if idle[key] >= _ENOUGH:  # the world has no more sentences of this skill
                left[key] = 0
            continue
        idle[key] = 0
        seen.add(document.text)
        left[key] -= 1
        found.append(LabelledText(document.text, document.skill, document.sub_skill))
    return found


_ENOUGH: Final = 2000
"""Repeated texts of a skill in a row, after which there are taken to be no more."""


def _shares(skills: tuple[str, ...], n: int) -> dict[str, int]:
    """How many of `n` texts each skill has; the first ones have the rest."""
    return {skill: n // len(skills) + (i < n % len(skills)) for i, skill in enumerate(skills)}
