"""Planted neurons: a known rule writes their activations on the demo corpus, so that what they mean is known.

They test explainers and scorers: an explainer must find the rule, and a scorer must rank its description above false
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from neuron_signatures.demo.geography import STATES
from neuron_signatures.runs.records.names import Part
from neuron_signatures.scoring.planted.passages import Passages
from neuron_signatures.scoring.texts import Text

if TYPE_CHECKING:
    from jaxtyping import Float32

PlantedKind = Literal["token", "class", "position", "pair", "negation"]
PLANTED_KINDS: tuple[PlantedKind, ...] = ("token", "class", "position", "pair", "negation")

CLASSES: dict[str, str] = {
    "names of US states": " ".join(s.name for s in STATES if " " not in s.name),
    "capitals of US states": " ".join(s.capital for s in STATES if " " not in s.capital),
    "digits": "0 1 2 3 4 5 6 7 8 9",
    "words about places": "capital state city located containing country cities",
    "words of computer programs": "print def return while if else try except range",
    "question words": "What Which who where whose",
    "words about feelings": "happy sad angry afraid proud lonely glad feel love welcome",
    "words about space": "planet moon star orbits turns",
    "words of arithmetic": "sum plus minus times equals solution answer Solve",
    "pronouns": "I you You me it my your they he she",
}
"""Words of the demo world by what explains them. Those that are one token and occur often enough can be planted."""
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
N_FALSE = 3
MIN_COUNT = 40
"""Occurrences in the corpus of a token that is planted."""
_MEMBERS = 3, 6
"""Least and most words of a class."""
_NOISE = 0.05
_LARGEST = 4.0
_MISSED = 0.03
"""Share of the positions named by the rule at which the neuron is silent."""
_SPURIOUS = 0.0003
"""Share of all positions at which it is active without a reason."""


class PlantedRule(NamedTuple):
    """Where a neuron is active, and that in words."""

    kind: PlantedKind
    truth: str
    tokens: tuple[str, ...] = ()
    before: str | None = None
    """A negation is silent where this token comes right before."""
    pos: int | None = None
    """Of a position: from the beginning, or from the end if negative."""

    def strength_index(self, tokens: Sequence[str]) -> list[int]:
        """At each token the place in `tokens` of the rule (0 for a position); -1 where the neuron is silent."""
        if self.pos is not None:
            at = self.pos if self.pos >= 0 else len(tokens) + self.pos
            return [0 if i == at else -1 for i in range(len(tokens))]
        place = {token: i for i, token in enumerate(self.tokens)}
        previous = (None, *tokens[:-1])
        return [
            -1 if p is not None and p == self.before else place.get(t, -1)
            for t, p in zip(tokens, previous, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Planted:
    """A neuron whose meaning is known."""

    rule: PlantedRule
    false: tuple[str, ...]
    """False explanations: what is true of other neurons of the same kind, without a token in common."""
    acts: tuple[Float32[np.ndarray, " pos"], ...]
    """Of each passage."""

    def texts(self, passages: Passages, part: Part) -> list[Text]:
        """All passages of a part; each is a window and a document."""
        rows = zip(passages.tokens, self.acts, passages.parts, strict=True)
        return [
            Text(i, i, tokens, acts, np.ones(len(tokens), bool))
            for i, (tokens, acts, own) in enumerate(rows)
            if own == part
        ]

    def labels(self, passages: Passages) -> list[Float32[np.ndarray, " pos"]]:
        """Of each passage: 1 where the rule says that the neuron is active, else 0."""
        return [(np.array(self.rule.strength_index(tokens)) >= 0).astype(np.float32) for tokens in passages.tokens]


def plant(passages: Passages, kind: PlantedKind, n: int, *, seed: int) -> list[Planted]:
    """`n` neurons of a kind. Equal seeds give equal neurons.

    Each token of a rule has a strength of its own (.6 to 1), and each occurrence a share of it (.7 to 1). All other
    positions have weak noise. A few occurrences are silent, and a few other positions active.
    """
    random = np.random.default_rng([seed, PLANTED_KINDS.index(kind)])
    rules = _possible_rules(passages, kind, random)
    return [_planted(passages, rules[i % len(rules)], rules, random) for i in range(n)]


def _planted(
    passages: Passages, rule: PlantedRule, rules: Sequence[PlantedRule], random: np.random.Generator
) -> Planted:
    other = [r.truth for r in rules if r.truth != rule.truth and not set(r.tokens) & set(rule.tokens)]
    other = list(dict.fromkeys(other))
    false = tuple(other[i] for i in random.permutation(len(other))[:N_FALSE])
    strength = np.append(random.uniform(0.6, 1, size=max(1, len(rule.tokens))), 0)
    return Planted(rule, false, tuple(_acts(rule.strength_index(t), strength, random) for t in passages.tokens))


def _acts(index: list[int], strength: np.ndarray, random: np.random.Generator) -> Float32[np.ndarray, " pos"]:
    n = len(index)
    fires = strength[index] * (random.random(n) >= _MISSED)
    fires = np.where(random.random(n) < _SPURIOUS, strength[0], fires)
    acts: np.ndarray = _LARGEST * fires * random.uniform(0.7, 1, n) + random.normal(0, _NOISE, n)
    return acts.astype(np.float32)


def _possible_rules(passages: Passages, kind: PlantedKind, random: np.random.Generator) -> list[PlantedRule]:
    """All rules of a kind that can be planted, in random order."""
    words = [t for t, n in sorted(passages.counts.items()) if n >= MIN_COUNT and t.strip().isalpha()]
    words = [words[i] for i in random.permutation(len(words))]
    if kind == "token":
        return [PlantedRule("token", f'the word "{t.strip()}"', (t,)) for t in words]
    if kind == "pair":
        pairs = zip(words[::2], words[1::2], strict=False)
        return [PlantedRule("pair", f'the words "{a.strip()}" and "{b.strip()}"', (a, b)) for a, b in pairs]
    if kind == "class":
        return _classes(passages, random)
    return _negations(passages, random) if kind == "negation" else _positions(random)


def _classes(passages: Passages, random: np.random.Generator) -> list[PlantedRule]:
    """Each class four times, with other words."""
    rules = []
    for label, words in list(CLASSES.items()) * 4:
        known = [t for w in words.split() for t in (f" {w}", w) if passages.counts[t] >= MIN_COUNT]
        n = int(random.integers(_MEMBERS[0], _MEMBERS[1] + 1))
        tokens = tuple(known[i] for i in random.permutation(len(known))[:n])
        if len(tokens) >= _MEMBERS[0]:
            shown = ", ".join(dict.fromkeys(t.strip() for t in tokens))
            rules.append(PlantedRule("class", f"{label}, such as {shown}", tokens))
    return rules


def _negations(passages: Passages, random: np.random.Generator) -> list[PlantedRule]:
    """Words that have a certain word before them at a fifth to four fifths of their occurrences."""
    rules = []
    for (before, token), n in sorted(passages.pairs.items()):
        share = n / passages.counts[token]
        if passages.counts[token] >= MIN_COUNT and 0.2 <= share <= 0.8 and (before + token).replace(" ", "").isalpha():
            truth = f'the word "{token.strip()}", unless "{before.strip()}" comes right before it'
            rules.append(PlantedRule("negation", truth, (token,), before))
    return [rules[i] for i in random.permutation(len(rules))]


def _positions(random: np.random.Generator) -> list[PlantedRule]:
    rules = [PlantedRule("position", f"the {o} word of a text", pos=i) for i, o in enumerate(ORDINALS)]
    rules.append(PlantedRule("position", "the last word of a text", pos=-1))
    return [rules[i] for i in random.permutation(len(rules))]
