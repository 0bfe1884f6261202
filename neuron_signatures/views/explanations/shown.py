"""The explanations of a neuron as viewers show them: both poles, the one to read first.

Texts are raw, as they were answered: viewers show what `texts` and `provenance` make of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.explanations.shown import Choice, Note, Shown, Vote
from neuron_signatures.runs.records.names import POLES, Pole
from neuron_signatures.views.coords import NeuronAt

NO_NAME = "a person"
"""Instead of the name of an author that is not recorded."""


@dataclass(frozen=True)
class ExplanationView:
    """One explanation of one pole with its state."""

    entry: Entry
    is_current: bool
    """Whether it is the one to read for its pole (and mode) in its set."""
    is_chosen: bool
    """Whether the newest choice of its set names it; False without a choice."""
    n_samples: int
    """Samples of this pole in the set."""
    score: float | None = None
    """Its value in the newest choice of its set; None without one, or where undefined."""
    select_by: str | None = None
    """What the score is; None without a choice that compared it."""
    compared: tuple[float | None, ...] = ()
    """The scores of all explanations that this choice compared, the largest first; empty without one."""
    votes: tuple[Vote, ...] = ()
    """The newest vote of each author."""
    locked_by: str | None = None
    """Who locked it; None if it is not locked."""
    notes: tuple[Note, ...] = ()
    chain: tuple[Entry, ...] = ()
    """What it revises or edits, oldest first, without itself."""
    is_finished: bool = True
    """Whether its set is finished."""
    is_replaced: bool = False
    """Whether its request failed and was sent again later."""

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
        return says_something(self.entry)

    @property
    def is_human(self) -> bool:
        return self.entry.author == "human"

    @property
    def author(self) -> str:
        """The person's name, or the model's as it answered, or the explainer that needs no model; raw."""
        return author_of(self.entry)

    @property
    def n_up(self) -> int:
        return sum(v.value > 0 for v in self.votes)

    @property
    def n_down(self) -> int:
        return sum(v.value < 0 for v in self.votes)


@dataclass(frozen=True)
class PoleExplanations:
    """The explanations of one pole over all sets, the one to read first, then the current ones of other sets."""

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


def views_of(found: Sequence[Shown], finished: Mapping[str, bool]) -> list[ExplanationView]:
    """Explanations as the reader gives them, whole poles of whole sets. `finished`: whether each set is finished."""
    samples: dict[tuple[object, str], set[int]] = {}
    for s in found:
        if s.entry.author == "model":
            samples.setdefault((s.at, s.set), set()).add(s.entry.sample)
    choices = {(s.at, s.set, s.entry.mode): s.choice for s in found if s.choice is not None}
    views = []
    for s in found:
        choice = choices.get((s.at, s.set, s.entry.mode))
        compared = choice is not None and s.id in choice.values
        views.append(
            ExplanationView(
                entry=s.entry, is_current=s.current, is_chosen=s.chosen, n_samples=len(samples.get((s.at, s.set), ())),
                score=choice.values[s.id] if choice is not None and compared else None,
                select_by=choice.select_by if choice is not None and (compared or s.chosen) else None,
                compared=_compared(choice), votes=s.votes, locked_by=s.locked_by, notes=s.notes, chain=s.chain,
                is_finished=finished.get(s.set, True), is_replaced=s.replaced,
            )
        )  # fmt: skip
    return views


def arranged(views: Iterable[ExplanationView]) -> list[ExplanationView]:
    """The explanations of one pole, the one to read first.

    Current ones of all sets: a locked one, one by a person, then those of finished sets, the newest first; of several
    modes, the one that covers the largest share. Then the others in the same order, those of one set with a larger
    score first. Failed ones are last.
    """
    rows = sorted(views, key=lambda v: (v.entry.created_at_utc, v.entry.revision, -v.entry.sample), reverse=True)
    newest = {v.entry.set: v.entry.created_at_utc for v in reversed(rows)}
    rows.sort(key=lambda v: (-(v.entry.mode_share or 0.0), not v.is_chosen, math.inf if v.score is None else -v.score))
    rows.sort(key=lambda v: newest[v.entry.set], reverse=True)
    return sorted(rows, key=_rank)


def of_neuron(at: NeuronAt, views: Sequence[ExplanationView]) -> NeuronExplanations:
    """The explanations among `views` that are of this neuron, both poles in the order to read."""
    own = [v for v in views if v.at == at]
    high, low = (PoleExplanations(p, tuple(arranged(v for v in own if v.entry.pole == p))) for p in POLES)
    return NeuronExplanations(at, (high, low))


def author_of(e: Entry) -> str:
    """The person's name, or the model's as it answered, or the explainer that needs no model; raw."""
    if e.author == "human":
        return e.author_name or NO_NAME
    return e.answered_by or e.model or e.explainer


def says_something(e: Entry) -> bool:
    return e.status == "ok" and bool(e.text.strip())


def _compared(choice: Choice | None) -> tuple[float | None, ...]:
    values = () if choice is None else tuple(choice.values.values())
    return tuple(sorted(values, key=lambda x: math.inf if x is None else -x))


def _rank(v: ExplanationView) -> tuple[bool, ...]:
    read_first = (v.is_ok, not v.is_replaced, v.is_current, v.locked_by is not None, v.is_human, v.is_finished)
    return tuple(not x for x in read_first)
