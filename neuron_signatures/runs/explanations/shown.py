"""Explanations as viewers show them: with votes, locks, notes and choices, and as rows of a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.records.names import NeuronPole


@dataclass(frozen=True)
class SetInfo:
    """A set of explanations."""

    name: str
    finished: bool
    """Whether it has a stage record. People may add to a finished set."""
    counts: Mapping[Status, int]
    """Explanations by status, without failed requests that were sent again later."""
    n_poles: int
    """Poles of neurons with an explanation of any status."""
    n_by_people: int
    """Explanations that people wrote or edited."""
    explainers: tuple[str, ...]
    """Empty if people wrote all of it."""
    models: tuple[str, ...]
    """As they were asked for."""

    @property
    def explainer(self) -> str:
        return ", ".join(self.explainers)

    @property
    def model(self) -> str:
        """Empty if no language model was asked."""
        return ", ".join(self.models)


class Vote(NamedTuple):
    author_name: str
    value: int
    """1 or -1."""


class Note(NamedTuple):
    author_name: str
    text: str
    created_at_utc: str


class Choice(NamedTuple):
    """Why an explanation was chosen among several."""

    select_by: str
    values: Mapping[str, float | None]
    """By id of the explanation."""


@dataclass(frozen=True)
class Shown:
    """An explanation with all that later lines of the log say about it. Its text is raw: escape it."""

    entry: Entry
    current: bool
    """Whether it is the one to show for its pole (and mode) in its set."""
    votes: tuple[Vote, ...]
    locked_by: str | None
    notes: tuple[Note, ...]
    choice: Choice | None
    """None if it was not chosen."""
    chain: tuple[Entry, ...]
    """What it revises or edits, the oldest first, without itself."""
    children: tuple[str, ...]
    """Ids of its revisions and edits."""
    replaced: bool = False
    """Whether its request failed and was sent again later."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """Empty here; for callers that read scores too (`dataclasses.replace`)."""

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def set(self) -> str:
        return self.entry.set

    @property
    def text(self) -> str:
        return self.entry.text

    @property
    def at(self) -> NeuronPole:
        return NeuronPole(self.entry.layer, self.entry.neuron, self.entry.pole)

    @property
    def up(self) -> int:
        return sum(v.value > 0 for v in self.votes)

    @property
    def down(self) -> int:
        return sum(v.value < 0 for v in self.votes)

    @property
    def locked(self) -> bool:
        return self.locked_by is not None

    @property
    def chosen(self) -> bool:
        return self.choice is not None

    @property
    def edited(self) -> bool:
        """Whether a person wrote it in place of another explanation."""
        return self.entry.author == "human" and self.entry.parent is not None


class Row(NamedTuple):
    """One explanation in a list. `text` has at most 2,000 characters (`lines.SEARCHED`) and is raw: escape it."""

    set: str
    id: str
    at: NeuronPole
    text: str
    explainer: str
    status: Status
    author: Literal["human", "model"]
    author_name: str | None
    current: bool
    locked: bool
    chosen: bool
    edited: bool
    up: int
    down: int
    sample: int
    revision: int
    mode: int | None
