"""Detecting files that change while a viewer shows them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.circuits.folder import GROUPS
from neuron_signatures.runs.corpus_analysis.folder import CONTRASTS
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.names import CIRCUITS, COMPARISONS, CORPUS_ANALYSIS, MANIFEST, inside
from neuron_signatures.runs.records import names as records
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.results import ANALYSIS, INTERVENTIONS
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.search.names import SEARCH
from neuron_signatures.runs.skills.names import SKILLS
from neuron_signatures.runs.weights.folder import WEIGHTS_FOLDER


class Stamp(NamedTuple):
    """A file's size, modification time and inode; all -1 for a missing file."""

    size: int
    mtime_ns: int
    inode: int


FILES = (
    records.CORPUS, f"{records.DOCUMENTS}.parquet", f"{records.VOCABULARY}.parquet", records.CORPUS_META,
    records.STRONGEST, records.MOMENTS, records.HISTOGRAMS, f"{records.NEURONS}.parquet", records.RECORDS_META,
    records.SAMPLE, records.ROWS, records.SAMPLE_META,
)  # fmt: skip
"""The finished files of `records/`."""
MOST_FOLDERS = 1000
"""Contrasts, comparisons and circuits that are looked at."""
_MISSING = Stamp(-1, -1, -1)


def stamp(path: Path) -> Stamp:
    try:
        s = path.stat()
    except OSError:
        return _MISSING
    return Stamp(s.st_size, s.st_mtime_ns, s.st_ino)


def run_stamps(run: Run) -> dict[str, Stamp]:
    """Stamps of the manifest and of every tensor file, for caches of activations.

    A file that resolves to a path outside the run folder counts as missing.
    """
    return {name: _stamp_inside(run.path, name) for name in [MANIFEST, *run.file_names()]}


def _stamp_inside(run_dir: Path, name: str) -> Stamp:
    try:
        return stamp(inside(run_dir, name))
    except (BadRunError, OSError, RuntimeError):  # Python 3.11 raises RuntimeError for a symlink loop
        return _MISSING


def analysis_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `analysis/`; empty before the first analysis."""
    return _folder_stamps(run_dir / ANALYSIS)


def intervention_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `interventions/`; empty before the first intervention."""
    return _folder_stamps(run_dir / INTERVENTIONS)


def explanation_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `explanations/`; empty before the first explanation."""
    return _folder_stamps(run_dir / EXPLANATIONS)


def score_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `scores/`; empty before the first score."""
    return _folder_stamps(run_dir / SCORES)


def search_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `search/`; empty before the first index."""
    return _folder_stamps(run_dir / SEARCH)


def skill_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `skills/`; empty before the first text was collected."""
    return _folder_stamps(run_dir / SKILLS)


def at_large_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `weights/`, `corpus_analysis/` and `comparisons/`, by their path in the run folder.

    Contrasts and comparisons are in folders of their own."""
    contrasts = f"{CORPUS_ANALYSIS}/{CONTRASTS}"
    folders = [WEIGHTS_FOLDER.folder, CORPUS_ANALYSIS, COMPARISONS]
    folders += [f"{above}/{name}" for above in (contrasts, COMPARISONS) for name in _subfolders(run_dir / above)]
    return {f"{below}/{n}": s for below in folders for n, s in _folder_stamps(run_dir / below).items()}


def circuit_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the files in `circuits/`, by their path in the run folder; without the groups of people, which viewers
    read each time and write themselves."""
    folders = [f"{CIRCUITS}/{name}" for name in _subfolders(run_dir / CIRCUITS)]
    return {f"{below}/{n}": s for below in folders for n, s in _folder_stamps(run_dir / below).items() if n != GROUPS}


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
    except OSError:
        return []
    return names[:MOST_FOLDERS]


def records_stamps(run_dir: Path) -> dict[str, Stamp]:
    """Stamps of the finished files in `records/`, without those that a pass is still writing; empty before the first
    pass."""
    found = {name: stamp(run_dir / RECORDS / name) for name in FILES}
    return {name: s for name, s in found.items() if s != _MISSING}


def _folder_stamps(folder: Path) -> dict[str, Stamp]:
    try:
        return {p.name: stamp(p) for p in sorted(folder.iterdir()) if not p.name.startswith(".")}
    except OSError:
        return {}


def changed(before: dict[str, Stamp], now: dict[str, Stamp]) -> list[str]:
    """Sorted names of the files that were added, removed or changed."""
    return sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
