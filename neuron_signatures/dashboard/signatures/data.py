"""Data of the Signatures view: filtered rows, groups, peaks on prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.result_records import GroupsRecord, read_record
from neuron_signatures.runs.results import GROUPS, SIGNATURES
from neuron_signatures.views.columns import read_columns
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.neurons.facts import SIGNATURE_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float32

MOST_PROMPTS = 100
"""Prompts that the figures show."""


class Pole(NamedTuple):
    at: NeuronAt
    pole: str

    @property
    def label(self) -> str:
        return self.at.label + self.pole


class Group(NamedTuple):
    """Poles with the same name."""

    name: str
    """Raw."""
    cls: str
    members: list[Pole]
    n_texts: tuple[int, ...] = ()
    """Number of different texts that each member rests on; empty where it is not recorded."""

    @property
    def size(self) -> str:
        """`12 poles, n 4 to 7`."""
        n, low, high = len(self.members), min(self.n_texts, default=0), max(self.n_texts, default=0)
        return f"{n} pole{'s' * (n != 1)}" + (
            "" if not high else f", n {low}" if low == high else f", n {low} to {high}"
        )


@dataclass(frozen=True)
class SignatureFilter:
    """Filter of the table; empty fields match all rows."""

    classes: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    pole: str = ""
    text: str = ""
    """Text in the name or the most frequent peak token, ignoring case."""


def read_signatures(run_dir: Path) -> pa.Table:
    """The table, largest peak first. Raises `UsageError` if it has not been made, `BadRunError` if it is damaged."""
    table = read_columns(run_dir, SIGNATURES, SIGNATURE_COLUMNS)
    return table.take(np.argsort(-table.column("max_peak").to_numpy(), kind="stable"))


def read_groups(run_dir: Path) -> list[Group]:
    """Groups of at least one pole, the largest first."""
    record = read_record(run_dir, GROUPS, GroupsRecord)
    found = [
        Group(g.name, g.cls, [parse_pole(m) for m in g.members], tuple(g.n_texts)) for g in record.groups if g.members
    ]
    return sorted(found, key=lambda g: (-len(g.members), g.name))


def parse_pole(name: str) -> Pole:
    """The pole that `L3N4-` names."""
    layer, neuron = name[1:-1].split("N")
    return Pole(NeuronAt(int(layer), int(neuron)), name[-1])


def matching(table: pa.Table, wanted: SignatureFilter) -> pa.Table:
    """The rows that pass the filter, in the table's order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = np.ones(table.num_rows, bool)
    if wanted.classes:
        keep &= _rows_where(table["class"], lambda texts: pc.is_in(texts, pa.array(wanted.classes, pa.string())))
    if wanted.layers:
        keep &= np.isin(table["layer"].to_numpy(), wanted.layers)
    if wanted.pole:
        keep &= _rows_where(table["pole"], lambda texts: pc.equal(texts, wanted.pole))
    if wanted.text:
        found = np.zeros(table.num_rows, bool)
        for name in ("name", "mode_peak_token"):
            found |= _rows_where(table[name], lambda t: pc.match_substring(t, wanted.text, ignore_case=True))
        keep &= found
    return table if keep.all() else table.filter(keep)


def strongest(table: pa.Table, group: Group, stored: Callable[[int, int], bool], most: int) -> list[Pole]:
    """The `most` stored members with the largest peaks, largest first; `table` is from `read_signatures`."""
    import pyarrow.compute as pc

    named = table.filter(_rows_where(table["name"], lambda texts: pc.equal(texts, group.name)))
    named = named.select(["layer", "neuron", "pole"]).to_pylist()
    order = {Pole(NeuronAt(r["layer"], r["neuron"]), r["pole"]): i for i, r in enumerate(named)}
    members = [m for m in group.members if stored(*m.at)]
    return sorted(members, key=lambda m: order.get(m, len(order)))[:most]


def _rows_where(column: pa.ChunkedArray, test: Callable[[pa.Array], pa.Array]) -> Bool[np.ndarray, " row"]:
    """Mask of the rows whose text passes the test, which sees each distinct text once; null fails."""
    if len(column) == 0:
        return np.zeros(0, bool)
    coded = column.unify_dictionaries().combine_chunks()
    passes = np.append(test(coded.dictionary).to_numpy(zero_copy_only=False).astype(bool), False)
    found: np.ndarray = passes[coded.indices.fill_null(len(passes) - 1).to_numpy()]
    return found


def peaks_on_pole(
    values: Sequence[Float32[np.ndarray, " pos"]], counts: Sequence[Bool[np.ndarray, " pos"]], pole: str
) -> tuple[np.ndarray, np.ndarray]:
    """Per prompt, the largest act (negated for `-`) and its position; NaN and -1 if no value is included."""
    sign = -1.0 if pole == "-" else 1.0
    peaks, positions = np.full(len(values), np.nan), np.full(len(values), -1)
    for i, (v, mask) in enumerate(zip(values, counts, strict=True)):
        acts = np.where(mask & np.isfinite(v), sign * v, -np.inf)
        if len(acts) and np.isfinite(acts.max()):
            peaks[i], positions[i] = acts.max(), acts.argmax()
    return peaks, positions
