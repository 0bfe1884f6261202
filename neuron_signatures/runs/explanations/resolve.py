"""What the lines about one pole of a neuron in one set mean together: which explanation is current, votes and locks.

All lines about an explanation have its layer, neuron and pole, so each pole is resolved for itself. With `--modes`,
each mode has a current explanation of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from neuron_signatures.runs.explanations.lines import Line


@dataclass
class State:
    """One explanation, and what the later lines say about it."""

    line: Line
    parent: State | None = None
    """What it revises, or what a person edited. None if the log has no such explanation before it."""
    children: list[State] = field(default_factory=list)
    votes: dict[str, int] = field(default_factory=dict)
    """1 or -1 by author, in the order of the first vote; withdrawn votes are left out."""
    notes: list[Line] = field(default_factory=list)
    locked_by: str | None = None
    """Who locked it, or an explanation that it is the edit of by the same person."""
    choice: Line | None = None
    """The newest choice that names it, if no newer one names another explanation of its mode."""
    current: bool = False
    replaced: bool = False
    """Whether the same request was sent again later, because it had failed."""

    @property
    def is_edit(self) -> bool:
        return self.line.author == "human"

    @property
    def up(self) -> int:
        return sum(value > 0 for value in self.votes.values())

    @property
    def down(self) -> int:
        return sum(value < 0 for value in self.votes.values())


def resolve(lines: Sequence[Line]) -> list[State]:
    """The explanations among the lines of one pole and set, in their order, with what later lines say about them."""
    if len(lines) == 1 and lines[0].kind == "explanation":  # nearly all poles of a large set
        return [State(lines[0], current=lines[0].status == "ok")]
    states: dict[str, State] = {}
    slots: dict[int | None, _Slot] = {}
    for line in lines:
        if line.kind == "explanation":
            state = states[line.id] = State(line, states.get(line.parent or ""))
            if state.parent is not None:
                state.parent.children.append(state)
            slots.setdefault(line.mode, _Slot()).add(state)
        elif (about := states.get(line.about or "")) is not None:
            slots[about.line.mode].apply(line, about)
    for slot in slots.values():
        slot.settle()
    return list(states.values())


class _Slot:
    """The explanations of one pole of a neuron, of one mode."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.chosen: State | None = None
        self.locked: State | None = None
        """The explanation that is locked, or the newest edit of it by who locked it."""

    def add(self, state: State) -> None:
        line, locked = state.line, self.locked
        self.states.append(state)
        if line.author == "model":
            for other in self.states[:-1]:
                if not other.is_edit and other.line.status != "ok" and _request(other.line) == _request(line):
                    other.replaced = True
        elif locked is not None and state.parent is locked and line.author_name == locked.locked_by:
            state.locked_by, self.locked = locked.locked_by, state

    def apply(self, line: Line, about: State) -> None:
        who = line.author_name or ""
        if line.kind == "vote":
            about.votes.pop(who, None) if not line.value else about.votes.update({who: line.value})
        elif line.kind == "note":
            about.notes.append(line)
        elif line.kind == "choice":
            if self.chosen is not None:
                self.chosen.choice = None
            self.chosen, about.choice = about, line
        elif line.kind == "lock":
            self._lock(who, about, locked=bool(line.value))

    def _lock(self, who: str, about: State, *, locked: bool) -> None:
        """A lock ends when who set it ends it; until then a further lock changes nothing."""
        if locked and self.locked is None:
            about.locked_by, self.locked = who, about
        elif not locked and self.locked is not None and about.locked_by == self.locked.locked_by == who:
            self.locked = None
            for state in self.states:
                state.locked_by = None

    def settle(self) -> None:
        """Mark the current explanation: the locked one, else that of the chosen, with the edits of people."""
        if self.locked is not None:
            self.locked.current = True
            return
        best = newest_edit(self.chosen) if self.chosen is not None and not self.chosen.replaced else None
        if best is None or not _says_something(best):
            best = self._best_unchosen()
        if best is not None:
            best.current = True

    def _best_unchosen(self) -> State | None:
        """Of the first sample the last revision, or the newest edit of it; else what a person wrote last."""
        own = [s for s in self.states if s.is_edit and s.parent is None]
        models = [s for s in self.states if not s.is_edit]
        models.sort(key=lambda s: (not s.replaced, s.line.sample, -s.line.revision))
        heads = [newest_edit(s) for s in (*models, *reversed(own))]
        return next(filter(_says_something, heads), None)


def newest_edit(state: State) -> State:
    """The newest of the edits of an explanation and of their edits; itself without any."""
    edits = [state]
    for edit in edits:
        edits += [child for child in edit.children if child.is_edit and child.line.mode == state.line.mode]
    return max(edits, key=lambda s: s.line.start)


def lineage(state: State) -> Sequence[State]:
    """What an explanation revises or edits, the oldest first; without itself."""
    found: list[State] = []
    while state.parent is not None:
        state = state.parent
        found.insert(0, state)
    return found


def _request(line: Line) -> tuple[int, int]:
    return line.sample, line.revision


def _says_something(state: State) -> bool:
    return state.line.status == "ok"
