"""Classifies neurons by their signatures; the first match wins: semantic, say_x, relationship, else unclassified.

Depth is layer / (n_layers - 1) of the model: 0 is the first layer, 1 the last. All counts and shares are over
different texts (`texts.first_of_text`). A class stands only if the pole's most frequent peak token is more frequent
than positions alone explain (q ≤ `max_q`, over all poles tested); `settle` applies this when all poles are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int8, Int32

from neuron_signatures.analysis.signatures.metrics import TokenMetrics
from neuron_signatures.stats.chance import benjamini_hochberg
from neuron_signatures.stats.proportions import ratio

CLASSES: Final = ("unclassified", "semantic", "say_x", "relationship")
REASONS: Final = ("weak_pole", "few_texts", "no_rule", "chance")
"""Why a pole is unclassified; the first that holds."""


@dataclass(frozen=True)
class ClassRules:
    """The thresholds of the classes. Shares and depths are in [0, 1]."""

    min_active: int = 4
    """Poles with peaks on fewer different texts are unclassified."""
    weak_pole: float = 0.1
    """A pole whose largest peak is below this share of the other pole's is unclassified."""
    max_q: float = 0.05
    """Largest q-value of a class, and of the name of a say_x pole; 1 turns the tests off."""
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

    `subject` is the index of a concept for semantic, and of a key for say_x (its target) and relationship (its mode
    peak token, if that is semantic).
    """

    kind: Int8[np.ndarray, " neuron"]
    subject: Int32[np.ndarray, " neuron"]
    reason: Int8[np.ndarray, " neuron"]
    """Index into `REASONS`; -1 for a classified neuron."""


def weak_poles(
    max_peaks: Sequence[Float32[np.ndarray, " neuron"]], share: float
) -> tuple[Bool[np.ndarray, " neuron"], Bool[np.ndarray, " neuron"]]:
    """For each of the two poles, whether its largest peak is below `share` of the other's."""
    plus, minus = max_peaks
    return plus < np.float32(share) * minus, minus < np.float32(share) * plus


def classify(
    sparsity: Float32[np.ndarray, " neuron"],
    t: TokenMetrics,
    *,
    weak: Bool[np.ndarray, " neuron"],
    depth: float,
    rules: ClassRules,
) -> Classified:
    """The first class whose conditions hold, without the test; a condition on an undefined value does not hold.

    `sparsity` is the median over active prompts (`Activity.median_sparsity`).
    """
    consistency = ratio(t.concept_hits, t.concept_prompts)
    conf_semantic = ratio(t.semantic.times, t.n_semantic)
    semantic = (
        (consistency >= rules.semantic_min_consistency)
        & (t.token.n_distinct <= rules.semantic_max_distinct)
        & ((depth <= rules.semantic_max_depth) | (conf_semantic >= rules.semantic_min_conf))
    )
    say = (
        (ratio(t.n_functional, t.n) >= rules.say_min_functional)
        & (ratio(t.functional.times, t.n_functional) >= rules.say_min_conf)
        & (depth >= rules.say_min_depth)
    )
    relationship = sparsity < rules.relationship_max_sparsity
    few = t.n < rules.min_active
    enough = ~few & ~weak
    kind = np.select([enough & semantic, enough & say, enough & relationship], [1, 2, 3], 0).astype(np.int8)
    related = np.where(t.semantic.value == t.token.value, t.semantic.value, -1)
    subject = np.select([kind == 1, kind == 2, kind == 3], [t.concept, t.target.value, related], -1)
    reason = np.select([kind > 0, weak, few], [-1, 0, 1], 2)
    return Classified(kind, subject.astype(np.int32), reason.astype(np.int8))


def settle(frame: pd.DataFrame, rules: ClassRules) -> float:
    """Add the q-values to the table of all poles, and remove the classes and names that chance explains.

    Returns the largest p that passes: null draws are classified by it. Names of say_x poles rest on their target, which
    has a test of its own among the say_x poles that remain.
    """
    everything = rules.max_q >= 1
    p = frame["p"].to_numpy(np.float64)
    q = benjamini_hochberg(p)
    passes = (q <= rules.max_q) | everything
    by_chance = (frame["class"] != CLASSES[0]).to_numpy() & ~passes
    frame.loc[by_chance, ["class", "reason"]] = [CLASSES[0], REASONS[3]]
    say = (frame["class"] == CLASSES[2]).to_numpy()
    target_p = np.where(say, frame["target_p"].to_numpy(np.float64), np.nan)
    target_q = benjamini_hochberg(target_p)
    for name, values in {"p": p, "q": q, "target_p": target_p, "target_q": target_q}.items():
        frame[name] = values.astype(np.float32)
    unnamed = by_chance | (say & ~((target_q <= rules.max_q) | everything))
    frame.loc[unnamed, "name"] = None
    if everything:
        return np.inf
    return float(p[q <= rules.max_q].max(initial=-1))


class Drawn(NamedTuple):
    """The classified poles of one null draw."""

    kind: Int8[np.ndarray, " pole"]
    p: Float64[np.ndarray, " pole"]


def drawn_counts(parts: Sequence[Drawn], n_poles: int, largest_p: float) -> dict[str, int]:
    """Class counts of one draw over all blocks of neurons, with the test of `settle`."""
    kind, p = (np.concatenate(x) for x in zip(*parts, strict=True))
    kept = kind[p <= largest_p] if np.isfinite(largest_p) else kind
    counts = class_counts(kept)
    counts[CLASSES[0]] += n_poles - len(kept)
    return counts


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


def make_groups(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Groups of neurons and poles with the same class and name, the largest first; members as `L18N3428+`.

    `n_texts` has the number of different texts that each member rests on. Unclassified and unnamed neurons are in no
    group.
    """
    named = frame[frame["name"].notna()]
    members = "L" + named["layer"].astype(str) + "N" + named["neuron"].astype(str) + named["pole"].astype(str)
    groups = [
        {
            "name": name, "class": kind, "n_members": len(who), "members": who.tolist(),
            "n_texts": named.loc[who.index, "n_texts"].tolist(),
        }
        for (kind, name), who in members.groupby([named["class"], named["name"]], sort=True)
    ]  # fmt: skip
    return sorted(groups, key=lambda g: -g["n_members"])


def class_counts(kinds: np.ndarray) -> dict[str, int]:
    """Number of neurons and poles per class, in the order semantic, say_x, relationship, unclassified."""
    counts = np.bincount(kinds, minlength=len(CLASSES))
    return {CLASSES[i]: int(counts[i]) for i in (1, 2, 3, 0)}
