"""What the folders of stages 8 to 10, `corpus_analysis/` and `search/` hold, from their records, for listings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.circuits.folder import COMMON, MODES, TRACE, circuit_folder, list_circuits
from neuron_signatures.runs.comparisons.folder import COMPARISON, comparison_folder, list_comparisons
from neuron_signatures.runs.corpus_analysis.folder import CONTRAST, CONTRASTS, CORPUS_ANALYSIS_FOLDER, contrast_folder
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.names import CIRCUITS, COMPARISONS, CORPUS_ANALYSIS, META
from neuron_signatures.runs.search.folder import SEARCH_FOLDER
from neuron_signatures.runs.search.names import SEARCH
from neuron_signatures.runs.search.record import read_search
from neuron_signatures.runs.stage_results import StageFolder
from neuron_signatures.runs.weights.folder import WEIGHTS_FOLDER

_MOST = 5
"""Names that are listed."""


class StageSummary(NamedTuple):
    """A stage folder in one line."""

    folder: str
    done: tuple[str, ...] = ()
    """Finished modes, or names of comparisons and circuits."""
    n_contrasts: int = 0
    outdated: tuple[str, ...] = ()
    """Those whose sources changed afterwards."""
    problem: str = ""
    """Why a record cannot be read."""

    def text(self) -> str:
        if self.problem:
            return f"damaged: {self.problem}"
        if not self.done and not self.n_contrasts:
            return "unfinished"
        names = list(self.done[:_MOST]) + ([f"{len(self.done) - _MOST} more"] if len(self.done) > _MOST else [])
        names += [counted(self.n_contrasts, "contrast")] if self.n_contrasts else []
        late = f"; outdated: {', '.join(self.outdated[:_MOST])}" if self.outdated else ""
        return ", ".join(names) + late


def stage_summaries(run_dir: Path) -> dict[str, StageSummary]:
    """By folder, those that the run has."""
    found = {
        WEIGHTS_FOLDER.folder: lambda: _modes(run_dir, WEIGHTS_FOLDER),
        CORPUS_ANALYSIS: lambda: _corpus(run_dir),
        COMPARISONS: lambda: _comparisons(run_dir),
        CIRCUITS: lambda: _circuits(run_dir),
        SEARCH: lambda: _search(run_dir),
    }
    return {name: make() for name, make in found.items() if (run_dir / name).is_dir()}


def list_contrasts(run_dir: Path) -> list[str]:
    """Names of the finished contrasts of positions of the corpus, in order of name."""
    folder = run_dir / CORPUS_ANALYSIS / CONTRASTS
    return sorted(path.parent.name for path in folder.glob(f"*/{CONTRAST}{META}"))


def _modes(run_dir: Path, folder: StageFolder) -> StageSummary:
    done = folder.finished(run_dir)
    late, problem = _checked(run_dir, [(mode, folder, mode) for mode in done])
    return StageSummary(folder.folder, done, 0, late, problem)


def _corpus(run_dir: Path) -> StageSummary:
    own, contrasts = _modes(run_dir, CORPUS_ANALYSIS_FOLDER), list_contrasts(run_dir)
    late, problem = _checked(run_dir, [(f"{CONTRAST} {n}", contrast_folder(n), CONTRAST) for n in contrasts])
    return own._replace(n_contrasts=len(contrasts), outdated=(*own.outdated, *late), problem=own.problem or problem)


def _comparisons(run_dir: Path) -> StageSummary:
    names = list_comparisons(run_dir)
    late, problem = _checked(run_dir, [(name, comparison_folder(name), COMPARISON) for name in names])
    return StageSummary(COMPARISONS, tuple(names), 0, late, problem)


def _circuits(run_dir: Path) -> StageSummary:
    """The circuits of several prompts first. A check of a circuit is a part of it."""
    of_mode = {mode: list_circuits(run_dir, mode) for mode in MODES}
    records = [(name, circuit_folder(name), mode) for mode, names in of_mode.items() for name in names]
    late, problem = _checked(run_dir, records)
    common = [f"{name} (of several prompts)" for name in of_mode[COMMON]]
    return StageSummary(CIRCUITS, (*common, *of_mode[TRACE]), 0, tuple(dict.fromkeys(late)), problem)


def _search(run_dir: Path) -> StageSummary:
    """The texts of the index instead of its mode."""
    found = _modes(run_dir, SEARCH_FOLDER)
    if not found.done or found.problem:
        return found
    try:
        facts = read_search(run_dir).facts
    except ProjectError as e:
        return found._replace(problem=e.what)
    by = "words and meaning" if facts.embedder else "words"
    counts = counted(facts.n_explanations, "explanation"), f"{counted(facts.n_exemplars, 'exemplar')} by {by}"
    return found._replace(done=counts)


def _checked(run_dir: Path, records: Sequence[tuple[str, StageFolder, str]]) -> tuple[tuple[str, ...], str]:
    """The names of outdated results, and the first damage. Records are given as name, folder and mode."""
    late = []
    for name, folder, mode in records:
        try:
            if folder.outdated(run_dir, folder.read_record(run_dir, mode)):
                late.append(name)
        except ProjectError as e:
            return tuple(late), e.what
    return tuple(late), ""
