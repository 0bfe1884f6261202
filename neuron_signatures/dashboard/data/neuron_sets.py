"""Sets of neurons for the Query view: typed, from a list, a signature group or a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

from neuron_signatures.dashboard.shell.list_walk import Filters, left_out_note, n_not_stored, passing
from neuron_signatures.dashboard.signatures.data import Group, read_groups
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt, parse_neuron
from neuron_signatures.views.lists.ranked import RankedList


@dataclass(frozen=True)
class NeuronSet:
    """Some neurons with a name. A sign of -1 selects the negative pole of a neuron."""

    name: str
    """Raw; may come from data."""
    neurons: tuple[NeuronAt, ...]
    signs: tuple[int, ...] = ()
    """Empty if all are 1."""
    of: int = 0
    """Size before truncation; 0 if the set was not truncated."""
    note: str = ""
    """What else was left out; our own text."""

    def cut(self, n: int) -> NeuronSet:
        """The first `n`."""
        if len(self.neurons) <= n:
            return self
        return NeuronSet(self.name, self.neurons[:n], self.signs[:n], len(self.neurons), self.note)


def typed_set(text: str, run: Run) -> NeuronSet:
    """The neurons of coordinates such as `L3N4, 3/5`, separated by commas or line breaks, without duplicates.

    Raises `UsageError` for an invalid coordinate or a neuron that the run does not store.
    """
    parts = [p for p in re.split(r"[,;\n]", text) if p.strip()]
    found = tuple(dict.fromkeys(parse_neuron(p, run) for p in parts))
    if not found:
        raise UsageError("no neuron is named", next_step="Type coordinates such as L3N4, L3N5")
    return NeuronSet("typed", found)


def list_set(ranked: RankedList, filters: Filters, run: Run, n: int) -> NeuronSet:
    """The first `n` distinct stored neurons that pass the filters, each with the sign of its first pole. Empty if no
    row passes.
    """
    first: dict[NeuronAt, int] = {}
    for index in passing(ranked, filters, run).tolist():
        row = ranked.row(index)
        first.setdefault(row.at, -1 if row.pole == "-" else 1)
    chosen = list(first.items())[:n]
    signs = tuple(sign for _, sign in chosen) if ranked.ref.kind == "signatures" else ()
    notes = [f"the filters on the left leave only {count_of(len(first), 'neuron')}"] if len(first) < n else []
    notes += [left_out] if (left_out := left_out_note(n_not_stored(ranked, filters, run))) else []
    name = f"first {len(chosen):,} of {ranked.ref.title}"
    return NeuronSet(name, tuple(at for at, _ in chosen), signs, note="; ".join(notes))


def group_sets(run: Run) -> list[NeuronSet]:
    """The groups of the signatures stage, without neurons that the run does not store; empty if there are none.

    Raises `BadRunError` if the file is damaged.
    """
    try:
        return [_group(group, run) for group in read_groups(run.path)]
    except UsageError:
        return []


def _group(group: Group, run: Run) -> NeuronSet:
    stored = [p for p in group.members if run.stores(*p.at)]
    missing = len(group.members) - len(stored)
    note = f"left out: {count_of(missing, 'pole')} of neurons that this run does not store" if missing else ""
    signs = tuple(-1 if p.pole == "-" else 1 for p in stored)
    return NeuronSet(group.name, tuple(p.at for p in stored), signs, note=note)
