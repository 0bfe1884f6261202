"""The explanations of a neuron with their state: which is current, chosen, locked, voted on, and what led to it.

Texts are raw, as they were answered: viewers show what `texts` and `provenance` make of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.records.names import POLES, Pole
from neuron_signatures.views.coords import NeuronAt


class Vote(NamedTuple):
    """The newest vote of a person about an explanation."""

    author: str
    value: int
    """1 or -1."""


class Note(NamedTuple):
    """What a person wrote about an explanation."""

    author: str
    text: str
    created_at_utc: str


@dataclass(frozen=True)
class ExplanationView:
    """One explanation of one pole with its state."""

    entry: Entry
    is_current: bool
    """Whether it is the one to read for its pole in its set."""
    is_chosen: bool
    """Whether the newest choice of its set names it; False without a choice."""
    n_samples: int
    """Samples of this pole in the set."""
    score: float | None = None
    """Its value in the newest choice of its set; None without one, or where undefined."""
    select_by: str | None = None
    """What the score is."""
    votes: tuple[Vote, ...] = ()
    locked_by: str | None = None
    """Who locked it; None if it is not locked."""
    notes: tuple[Note, ...] = ()
    chain: tuple[Entry, ...] = ()
    """What it revises or edits, oldest first, without itself."""
    is_finished: bool = True
    """Whether its set is finished."""

    @property
    def at(self) -> NeuronAt:
        return NeuronAt(self.entry.layer, self.entry.neuron)

    @property
    def label(self) -> str:
        """Such as `L3N508+`."""
        return self.entry.neuron_name

    @property
    def is_ok(self) -> bool:
        """Whether it says something: the request succeeded, and the text is not empty."""
        return self.entry.status == "ok" and bool(self.entry.text.strip())

    @property
    def is_human(self) -> bool:
        return self.entry.author == "human"

    @property
    def author(self) -> str:
        """The person's name, or the model's, or `lookup` without a language model; raw."""
        e = self.entry
        if e.author == "human":
            return e.author_name or "a person"
        return e.answered_by or e.model or e.explainer

    @property
    def n_up(self) -> int:
        return sum(v.value > 0 for v in self.votes)

    @property
    def n_down(self) -> int:
        return sum(v.value < 0 for v in self.votes)


@dataclass(frozen=True)
class PoleExplanations:
    """The explanations of one pole over all sets: the one to read first, then the current ones of other sets."""

    pole: Pole
    shown: tuple[ExplanationView, ...]

    @property
    def first(self) -> ExplanationView | None:
        """The one to read; None if no explanation of this pole says something."""
        return next((s for s in self.shown if s.is_current and s.is_ok), None)


@dataclass(frozen=True)
class NeuronExplanations:
    """The explanations of one neuron."""

    at: NeuronAt
    poles: tuple[PoleExplanations, PoleExplanations]

    def pole(self, pole: Pole) -> PoleExplanations:
        return self.poles[POLES.index(pole)]

    @property
    def n(self) -> int:
        return sum(len(p.shown) for p in self.poles)

    @property
    def shown(self) -> tuple[ExplanationView, ...]:
        """Of both poles, `+` first."""
        return self.poles[0].shown + self.poles[1].shown


def arranged(shown: Iterable[ExplanationView]) -> list[ExplanationView]:
    """The explanations of one pole, the one to read first.

    Current ones of all sets: a locked one, one by a person, then those of finished sets, the newest first. Then the
    others in the same order, and of one set those with the larger score first. Failed ones are last.
    """
    newest = sorted(shown, key=lambda s: (s.entry.created_at_utc, s.entry.revision, -s.entry.sample), reverse=True)
    return sorted(newest, key=_rank)


def of_neuron(at: NeuronAt, shown: Sequence[ExplanationView]) -> NeuronExplanations:
    """The explanations among `shown` that are of this neuron, both poles in the order to read."""
    own = [s for s in shown if s.at == at]
    high, low = (PoleExplanations(p, tuple(arranged(s for s in own if s.entry.pole == p))) for p in POLES)
    return NeuronExplanations(at, (high, low))


def _rank(s: ExplanationView) -> tuple[float, ...]:
    score = -math.inf if s.score is None else s.score
    read_first = (s.is_ok, s.is_current, s.locked_by is not None, s.is_human, s.is_finished, s.is_chosen)
    return *(not x for x in read_first), -score
