"""The strongest windows of a neuron by the group of meanings that they were put into."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.corpus_analysis.folder import CORPUS_ANALYSIS_FOLDER, MEANING_WINDOWS
from neuron_signatures.runs.records.names import POLES, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.passages import Passage, passages

ANALYSED: tuple[Part, ...] = ("explain", "select")
"""The parts of the corpus that analyses read."""


class GroupedWindows(NamedTuple):
    """The windows of one group of a pole, strongest first, equal texts as one passage."""

    pole: str
    group: int
    passages: tuple[Passage, ...]


def grouped_windows(records: Records, run_dir: Path, at: NeuronAt) -> list[GroupedWindows]:
    """By pole and group, with activations where they are stored. Windows that are not in the records are left out.

    Raises `UsageError` if meanings have not been looked for, `BadRunError` for damaged files."""
    rows = CORPUS_ANALYSIS_FOLDER.rows_where(run_dir, MEANING_WINDOWS, layer=[at.layer], neuron=[at.neuron])
    found = []
    for pole in POLES:
        group_of = {r["window"]: r["group"] for r in rows if r["pole"] == pole}
        if not group_of or not records.holds(*at):
            continue
        windows = records.strongest(*at, pole, parts=ANALYSED)
        for group in sorted(set(group_of.values())):
            own = [w for w in windows if group_of.get(w.window) == group]
            found.append(GroupedWindows(pole, group, tuple(passages(own))))
    return found
