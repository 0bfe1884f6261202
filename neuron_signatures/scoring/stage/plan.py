"""Which texts are scored on a pole: its own explanations and the controls."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from neuron_signatures.runs.explanations.lines import Line
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.line import LineKey
from neuron_signatures.runs.scores.names import CONTROLS, Control
from neuron_signatures.scoring.nulls import draw_others
from neuron_signatures.scoring.scorer import Item
from neuron_signatures.scoring.simulators.base import Said
from neuron_signatures.scoring.stage.set_texts import SetTexts

_TRIES = 10
"""Permutations of words until one differs from the text."""


@dataclass(frozen=True)
class Planned:
    """One item. `line` is the explanation that it names; with the control `other`, `other` is the neuron of it."""

    at: NeuronPole
    control: Control
    line: Line
    other: NeuronPole | None = None

    @property
    def key(self) -> LineKey:
        return LineKey(self.line.id, self.at, self.control)


class Plan:
    """What is scored on each pole of a set. It depends on the set, the seed and the scorer only."""

    def __init__(
        self, texts: SetTexts, *, controls: Collection[str], n_null: int, n_others: int, seed: int
    ) -> None:  # fmt: skip
        self._texts, self._seed, self._n_others = texts, seed, n_others
        self._controls = [c for c in CONTROLS if c in controls]
        self.n_null = n_null if "other" in controls else 0
        self._draws: dict[NeuronPole, list[NeuronPole]] = defaultdict(list)
        if self.n_null:
            for draw in draw_others(texts.poles, per_neuron=n_null, seed=seed):
                self._draws[draw.at].append(draw.other)
        self._of_layer: dict[int, list[NeuronPole]] = defaultdict(list)
        for at in texts.poles if n_others else ():
            self._of_layer[at.layer].append(at)

    def items(self, at: NeuronPole, drawn_before: Collection[str] = ()) -> Iterator[Planned]:
        """In the order of `CONTROLS`. `drawn_before` are the ids of the explanations that were applied to this pole
        as its null already: they stay, also if the set has grown since."""
        current = self._texts.current.get(at, [])
        if not current:
            return
        for control in self._controls:
            if control == "other":
                yield from self._others(at, drawn_before)
            else:
                yield from (Planned(at, control, line) for line in current)

    def drawn(self, at: NeuronPole, keys: Collection[LineKey]) -> Iterator[Planned]:
        """Draws of the null of a pole that were made before and are still draws."""
        wanted = {key.explanation for key in keys}
        for other in self._draws.get(at, []):
            line = self._texts.current[other][0]
            if line.id in wanted:
                yield Planned(at, "other", line, other)

    def item(self, planned: Planned, again: frozenset[int] = frozenset()) -> Item:
        own = self._texts.said(planned.line)
        said = _said(planned, own, self._seed)
        return Item(planned.at, planned.line.id, planned.control, said, again, self._shown_beside(planned, said))

    def _others(self, at: NeuronPole, drawn_before: Collection[str]) -> Iterator[Planned]:
        n_more = self.n_null - len(drawn_before)
        for other in self._draws.get(at, []):
            line = self._texts.current[other][0]
            if n_more > 0 and line.id not in drawn_before:
                n_more -= 1
                yield Planned(at, "other", line, other)

    def _shown_beside(self, planned: Planned, said: Said) -> Sequence[tuple[str, Said]]:
        """Explanations of other neurons of the layer with another text, at random, for scorers that show several."""
        if not self._n_others:
            return ()
        members = self._of_layer[planned.at.layer]
        away = {planned.at.neuron, *(() if planned.other is None else (planned.other.neuron,))}
        random = np.random.default_rng([self._seed, *_digest(planned.at.label, planned.line.id)])
        found: dict[str, tuple[str, Said]] = {}
        for i in random.permutation(len(members)):
            if len(found) == self._n_others:
                break
            if members[i].neuron not in away:
                line = self._texts.current[members[i]][0]
                other = self._texts.said(line)
                if other.text != said.text:
                    found.setdefault(other.text, (line.id, other))
        return tuple(found.values())


def _said(planned: Planned, own: Said, seed: int) -> Said:
    if planned.control == "shuffled":
        return Said(_shuffled(own.text, np.random.default_rng([seed, *_digest(planned.at.label, own.text)])))
    if planned.control == "empty":
        return Said("")
    return Said("text") if planned.control == "text" else own


def _shuffled(text: str, random: np.random.Generator) -> str:
    """The words in random order: another one than that of the text, if there is another."""
    words = text.split()
    for _ in range(_TRIES):
        found = [words[i] for i in random.permutation(len(words))]
        if found != words:
            return " ".join(found)
    return " ".join(words)


def _digest(*texts: str) -> tuple[int, ...]:
    raw = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).digest()
    return tuple(int.from_bytes(raw[i : i + 4], "big") for i in (0, 4))
