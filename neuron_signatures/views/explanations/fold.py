"""The state of the explanations of one set, from the entries of its log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from neuron_signatures.runs.explanations.entry import Entry
from neuron_signatures.views.explanations.shown import ExplanationView, Note, Vote

_Place = tuple[int, int, str]


class _People(NamedTuple):
    """What people added to the explanations of a set, by id."""

    votes: Mapping[str, Mapping[str, int]]
    locks: Mapping[str, str]
    notes: Mapping[str, Sequence[Note]]


def views_of_set(entries: Iterable[Entry], *, is_finished: bool) -> list[ExplanationView]:
    """The explanations of a set in the order of its log."""
    log = list(entries)
    explanations = {e.id: e for e in log if e.kind == "explanation"}
    choices = {_place(e): e for e in log if e.kind == "choice"}
    people = _people(log)
    current = _current(explanations, choices, people.locks)
    samples: dict[_Place, set[int]] = {}
    for e in explanations.values():
        if e.author == "model":
            samples.setdefault(_place(e), set()).add(e.sample)
    found = []
    for e in explanations.values():
        choice = choices.get(_place(e))
        found.append(
            ExplanationView(
                entry=e, is_current=e.id == current.get(_place(e)),
                is_chosen=choice is not None and choice.about == e.id, n_samples=len(samples.get(_place(e), ())),
                score=None if choice is None else (choice.values or {}).get(e.id),
                select_by=None if choice is None else choice.select_by,
                votes=tuple(Vote(a, v) for a, v in people.votes.get(e.id, {}).items() if v),
                locked_by=people.locks.get(e.id), notes=tuple(people.notes.get(e.id, ())),
                chain=_chain(e, explanations), is_finished=is_finished,
            )
        )  # fmt: skip
    return found


def _people(log: Iterable[Entry]) -> _People:
    votes: dict[str, dict[str, int]] = {}
    locks: dict[str, str] = {}
    notes: dict[str, list[Note]] = {}
    for e in log:
        author = e.author_name or "a person"
        if e.about is None:
            continue
        if e.kind == "vote":
            votes.setdefault(e.about, {})[author] = e.value or 0
        elif e.kind == "lock" and e.value:
            locks[e.about] = author
        elif e.kind == "lock":
            locks.pop(e.about, None)
        elif e.kind == "note":
            notes.setdefault(e.about, []).append(Note(author, e.text, e.created_at_utc))
    return _People(votes, locks, notes)


def _current(
    explanations: Mapping[str, Entry], choices: Mapping[_Place, Entry], locks: Mapping[str, str]
) -> dict[_Place, str]:
    """The id to read of each pole: the locked one, else a person's newest, else the chosen one, else the last one."""
    ranks: dict[_Place, tuple[tuple[bool | int, ...], str]] = {}
    for i, e in enumerate(explanations.values()):
        place, human = _place(e), e.author == "human"
        choice = choices.get(place)
        chosen = choice is not None and choice.about == e.id
        rank = (e.status == "ok", e.id in locks, human, chosen, e.revision, i if human or e.revision else -e.sample)
        if place not in ranks or rank > ranks[place][0]:
            ranks[place] = (rank, e.id)
    return {place: found for place, (_, found) in ranks.items()}


def _chain(e: Entry, explanations: Mapping[str, Entry]) -> tuple[Entry, ...]:
    """The parents, oldest first."""
    found: list[Entry] = []
    seen = {e.id}
    while e.parent is not None and e.parent not in seen and e.parent in explanations:
        seen.add(e.parent)
        e = explanations[e.parent]
        found.append(e)
    return tuple(reversed(found))


def _place(e: Entry) -> _Place:
    return e.layer, e.neuron, e.pole
