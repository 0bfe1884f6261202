"""Classifies neurons by their signatures; the first match wins: semantic, say_x, relationship, else unclassified.

Depth is layer / (n_layers - 1) of the model: 0 is the first layer, 1 the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int8, Int32

from neuron_signatures.analysis.signatures.metrics import Activity, TokenMetrics
from neuron_signatures.stats.proportions import ratio

CLASSES: Final = ("unclassified", "semantic", "say_x", "relationship")


@dataclass(frozen=True)
class ClassRules:
    """The thresholds of the classes. Shares and depths are in [0, 1]."""

    min_active: int = 3
    """Poles that are active in fewer prompts are unclassified."""
    semantic_min_consistency: float = 0.80
    semantic_max_distinct: int = 1
    semantic_max_depth: float = 0.12
    semantic_min_conf: float = 0.50
    say_min_functional: float = 0.50
    say_min_conf: float = 0.90
    say_min_depth: float = 0.27
    relationship_max_sparsity: float = 0.45


class Classified(NamedTuple):
    """The class of each neuron as an index into `CLASSES`, and the subject of its name (-1: no name).

    `subject` is the index of a concept for semantic, and of a key for say_x (its target) and relationship (the semantic
    token that most peaks are on).
    """

    kind: Int8[np.ndarray, " neuron"]
    subject: Int32[np.ndarray, " neuron"]


def classify(a: Activity, t: TokenMetrics, *, depth: float, rules: ClassRules) -> Classified:
    """The first class whose conditions hold; a condition on an undefined value does not hold."""
    consistency = ratio(t.concept_hits, t.concept_prompts)
    conf_semantic = ratio(t.semantic.times, t.n_semantic)
    semantic = (
        (consistency >= rules.semantic_min_consistency)
        & (t.token.n_distinct <= rules.semantic_max_distinct)
        & ((depth <= rules.semantic_max_depth) | (conf_semantic >= rules.semantic_min_conf))
    )
    say = (
        (ratio(t.n_functional, a.n_active) >= rules.say_min_functional)
        & (ratio(t.functional.times, t.n_functional) >= rules.say_min_conf)
        & (depth >= rules.say_min_depth)
    )
    relationship = a.median_sparsity < rules.relationship_max_sparsity
    enough = a.n_active >= rules.min_active
    kind = np.select([enough & semantic, enough & say, enough & relationship], [1, 2, 3], 0).astype(np.int8)
    subject = np.select([kind == 1, kind == 2, kind == 3], [t.concept, t.target.value, t.semantic.value], -1)
    return Classified(kind, subject.astype(np.int32))


class Names(NamedTuple):
    """All names that a neuron of the run can have: of semantic, then say_x, then relationship neurons."""

    texts: list[str]
    n_concepts: int
    n_keys: int

    def of(self, c: Classified) -> Int32[np.ndarray, " neuron"]:
        """Index into `texts`, -1 for a neuron without a name."""
        offset = np.array([0, 0, self.n_concepts, self.n_concepts + self.n_keys], np.int32)[c.kind]
        return np.where(c.subject >= 0, offset + c.subject, -1).astype(np.int32)


def make_names(concepts: Sequence[str], keys: Sequence[str]) -> Names:
    """`Texas` for semantic, `Say (Austin)` for say_x, `(containing) related` for relationship."""
    texts = [*concepts, *(f"Say ({k})" for k in keys), *(f"({k}) related" for k in keys)]
    return Names(texts, len(concepts), len(keys))


def make_groups(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Groups of neurons and poles with the same class and name, the largest first; members as `L18N3428+`.

    Unclassified and unnamed neurons are in no group.
    """
    named = frame[frame["name"].notna()]
    members = "L" + named["layer"].astype(str) + "N" + named["neuron"].astype(str) + named["pole"].astype(str)
    groups = [
        {"name": name, "class": kind, "n_members": len(who), "members": who.tolist()}
        for (kind, name), who in members.groupby([named["class"], named["name"]], sort=True)
    ]
    return sorted(groups, key=lambda g: -g["n_members"])


def class_counts(kinds: np.ndarray) -> dict[str, int]:
    """Number of neurons and poles per class, in the order semantic, say_x, relationship, unclassified."""
    counts = np.bincount(kinds, minlength=len(CLASSES))
    return {CLASSES[i]: int(counts[i]) for i in (1, 2, 3, 0)}
