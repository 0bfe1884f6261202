"""Sets of neurons that a question is asked about: typed, from a list, a group of signatures, or a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

from neuron_signatures.dashboard.shell.list_walk import Filters, left_out, n_not_stored, passing
from neuron_signatures.dashboard.signatures.data import parse_pole
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.result_records import GroupRecord, GroupsRecord, read_record
from neuron_signatures.runs.results import GROUPS
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt, parse_neuron
from neuron_signatures.views.ranked import RankedList


@dataclass(frozen=True)
class NeuronSet:
    """Some neurons with a name. `signs` turn a neuron round whose negative pole is meant."""

    name: str
    """May be from data: raw."""
    neurons: tuple[NeuronAt, ...]
    signs: tuple[int, ...] = ()
    """Empty: all as they are."""
    of: int = 0
    """How many there were before the set was cut; 0 if it was not."""
    note: str = ""
    """What else is not in it; our own words."""

    def cut(self, n: int) -> NeuronSet:
        """The first `n`."""
        if len(self.neurons) <= n:
            return self
        return NeuronSet(self.name, self.neurons[:n], self.signs[:n], len(self.neurons), self.note)


def typed_set(text: str, run: Run) -> NeuronSet:
    """`L3N4, 3/5`: coordinates, separated by commas or line breaks; one that is named twice counts once.

    Raises `UsageError` for one that is none, or that the run does not store.
    """
    parts = [p for p in re.split(r"[,;\n]", text) if p.strip()]
    found = tuple(dict.fromkeys(parse_neuron(p, run) for p in parts))
    if not found:
        raise UsageError("no neuron is named", next_step="Type coordinates such as L3N4, L3N5")
    return NeuronSet("typed", found)


def list_set(ranked: RankedList, filters: Filters, run: Run, n: int) -> NeuronSet:
    """The first `n` neurons that the run stores and that pass the filters, each once, with the sign of the pole that
    stands first. Empty if no row passes.
    """
    first: dict[NeuronAt, int] = {}
    for index in passing(ranked, filters, run).tolist():
        row = ranked.row(index)
        first.setdefault(row.at, -1 if row.pole == "-" else 1)
    chosen = list(first.items())[:n]
    signs = tuple(sign for _, sign in chosen) if ranked.ref.kind == "signatures" else ()
    notes = [f"the filters on the left let {len(first):,} neurons through"] if len(first) < n else []
    notes += [words] if (words := left_out(n_not_stored(ranked, filters, run))) else []
    name = f"first {len(chosen):,} of {ranked.ref.title}"
    return NeuronSet(name, tuple(at for at, _ in chosen), signs, note="; ".join(notes))


def group_sets(run: Run) -> list[NeuronSet]:
    """The groups of the signatures stage, poles as signs, without neurons that the run does not store; empty if there
    are none. Raises `BadRunError` if damaged.
    """
    try:
        record = read_record(run.path, GROUPS, GroupsRecord)
    except UsageError:
        return []
    return [_group(group, run) for group in record.groups]


def _group(group: GroupRecord, run: Run) -> NeuronSet:
    poles = [parse_pole(name) for name in group.members]
    stored = [p for p in poles if run.stores(*p.at)]
    missing = len(poles) - len(stored)
    note = f"left out: {missing:,} of its poles, whose neurons this run does not store" if missing else ""
    signs = tuple(-1 if p.pole == "-" else 1 for p in stored)
    return NeuronSet(group.name, tuple(p.at for p in stored), signs, note=note)
