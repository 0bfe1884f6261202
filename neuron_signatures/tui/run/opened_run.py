"""An opened run with a cache of what was read and computed from it.

The cache is valid for the files as they were when the run was opened: a reload makes a new object.
"""

from __future__ import annotations

import contextlib
import gc
import shlex
import threading
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from neuron_signatures.runs.errors import BadRunError, ProjectError, UsageError
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.results import ANALYSIS, INTERVENTIONS, NEURONS, SIGNATURES, TOP_STEM, WRITES
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.tui.faults import fault_text
from neuron_signatures.tui.layout.text import safe
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.overall import Overall
from neuron_signatures.views.acts import NeuronAct, top_at
from neuron_signatures.views.changes import (
    Stamp,
    analysis_stamps,
    at_large_stamps,
    changed,
    circuit_stamps,
    explanation_stamps,
    intervention_stamps,
    records_stamps,
    run_stamps,
    score_stamps,
)
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.commands import nothing_text
from neuron_signatures.views.lists.list_files import files_of, list_refs, read_list
from neuron_signatures.views.lists.ranked import ListRef, RankedList
from neuron_signatures.views.lists.validated import Validated, validations
from neuron_signatures.views.neurons.descriptions import Descriptions, read_descriptions
from neuron_signatures.views.neurons.facts import Signature, signatures_of, write_scores_of
from neuron_signatures.views.neurons.writes import WriteScores, writes_doubt
from neuron_signatures.views.predictions import Prediction, predictions
from neuron_signatures.views.records.commands import has_records

if TYPE_CHECKING:
    from neuron_signatures.tui.corpus.reading import OpenedCorpus
    from neuron_signatures.tui.explanations.reading import OpenedExplanations
    from neuron_signatures.tui.scores.reading import NeuronScores, OpenedScores
    from neuron_signatures.tui.search.reading import OpenedSearch
    from neuron_signatures.views.at_large.neuron import AtLarge
    from neuron_signatures.views.explanations.shown import NeuronExplanations
    from neuron_signatures.views.interventions.results import ResultRef

K = TypeVar("K")
T = TypeVar("T")
N_TOP = 20
_LARGE = 100_000
_CACHE_SIZE = 256
"""Number of neurons whose statistics and notes are cached."""


class Notes(NamedTuple):
    """What the results say about a neuron."""

    signatures: list[Signature]
    write_scores: list[WriteScores]
    missing: tuple[str, ...]
    """Messages about results that do not exist or cannot be read."""
    doubts: Mapping[str, str]
    """Name of each result that may have been made from another dump, and why."""
    explained: NeuronExplanations | None = None
    """None if there are no explanations in the run, or they were not read."""
    unexplained: str = ""
    """What to do where there are none, or why some cannot be read."""
    scored: NeuronScores | None = None
    """None if there are no scores in the run, or they were not read."""
    at_large: AtLarge | None = None
    """None if no stage looked at neurons at large."""


class OpenedRun:
    """Not thread-safe: a worker thread reads with `run.another_reader()`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stamps = run_stamps(run)
        self.analysis = analysis_stamps(run.path)
        self.edited = intervention_stamps(run.path)
        self.at_large = at_large_stamps(run.path)
        self.circuits = circuit_stamps(run.path)
        self.notes: dict[NeuronAt, Notes] = {}
        self.table_lock = threading.Lock()
        """Held while a thread reads tables: reading cannot be stopped, and each thread needs memory for it."""
        self._predictions: Mapping[str, Prediction] | None = None
        self._overall: dict[tuple[NeuronAt, bool], Overall] = {}
        self._unread: Overall | None = None
        self._values = lru_cache(maxsize=1)(lambda prompt, at: run.acts(prompt, layer=at.layer, neuron=at.neuron))
        self._top = lru_cache(maxsize=1)(lambda prompt, pos: top_at(run, run.prompts[prompt], pos, N_TOP))
        self._lists: dict[str, RankedList] = {}
        self._described: Descriptions | None = None
        self.recorded = records_stamps(run.path)
        self.has_explanations = (run.path / EXPLANATIONS).is_dir()
        """Whether there are explanations, of any neuron."""

    @classmethod
    def open(cls, run_dir: Path) -> OpenedRun:
        """Raises `BadRunError` for an incomplete run, or one with neither prompts nor records of a corpus."""
        run = Run.open(run_dir)
        if not run.prompts and not has_records(run_dir):
            raise BadRunError("the run holds no prompts and no records", where=str(run_dir))
        return cls(run)

    def prompt(self, cursor: Cursor) -> PromptRecord:
        return self.run.prompts[cursor.prompt]

    def values(self, cursor: Cursor) -> np.ndarray:
        """The neuron's activations on the prompt, one per token."""
        return self._values(cursor.prompt, cursor.at)

    def top(self, cursor: Cursor) -> list[NeuronAct]:
        """The neurons with the largest |act| at the token."""
        return self._top(cursor.prompt, cursor.pos)

    def predicted(self, prompt: int) -> str:
        """What the model predicted after this prompt, as text; empty if no result records it."""
        if self._predictions is None:
            self._predictions = predictions(self.run.path, self.run.manifest)
        p = self.run.prompts[prompt]
        found = self._predictions.get(p.probe_id)
        return "" if found is None else safe(found.text(p.seq_len - 1))

    def refs(self) -> list[ListRef]:
        return list_refs(self.run.path, self.run.manifest)

    def ranked(self, ref: ListRef) -> RankedList:
        """The list, cached until its files change."""
        self.drop_changed_results()
        if ref.stem not in self._lists:
            self._drop_lists()
            self._lists[ref.stem] = read_list(self.run.path, ref, self._descriptions())
        return self._lists[ref.stem]

    def _drop_lists(self) -> None:
        """Only one list is kept. The screen of a closed one is in a reference cycle, which would keep a large one."""
        large = any(len(ranked) > _LARGE for ranked in self._lists.values())
        self._lists = {}
        if large:
            gc.collect()

    def _descriptions(self) -> Descriptions:
        if self._described is None:
            self._described = read_descriptions(self.run.path)
        return self._described

    def interventions(self) -> list[ResultRef]:
        """The interventions of the run as they are on disk now."""
        from neuron_signatures.views.interventions.results import intervention_refs  # not at the start

        self.edited = intervention_stamps(self.run.path)
        return intervention_refs(self.run.path, self.run.manifest)

    def validations(self) -> Mapping[str, Validated]:
        """The validations of the lists, by stem."""
        return validations(self.run.path, self.refs())

    def list_stamps(self, ref: ListRef) -> dict[str, Stamp]:
        """Stamps of the list's files when the results were last read."""
        return {name: self.analysis[name] for name in files_of(ref) if name in self.analysis}

    def changed(self) -> list[str]:
        """Names of the files that changed since they were read."""
        now_explained = explanation_stamps(self.run.path)
        return (
            changed(self.stamps, run_stamps(self.run))
            + [
                f"{folder}/{n}"
                for folder, before, now in (
                    (ANALYSIS, self.analysis, analysis_stamps(self.run.path)),
                    (INTERVENTIONS, self.edited, intervention_stamps(self.run.path)),
                    (RECORDS, self.recorded, records_stamps(self.run.path)),
                    (EXPLANATIONS, self.explained.stamps if self.has_explanations else {}, now_explained),
                    (SCORES, self.scored.stamps, score_stamps(self.run.path)),
                )
                for n in changed(before, now)
            ]
            + changed(self.at_large, at_large_stamps(self.run.path))
            + changed(self.circuits, circuit_stamps(self.run.path))
        )

    def is_current(self) -> bool:
        """Whether manifest and tensors are unchanged, so that new reads match the opened run."""
        return not changed(self.stamps, run_stamps(self.run))

    def drop_changed_results(self) -> None:
        """Clear the cached results if a file in `analysis/` changed."""
        now, large = analysis_stamps(self.run.path), at_large_stamps(self.run.path)
        if changed(self.at_large, large):
            self.at_large, self.notes = large, {}
        if changed(self.analysis, now):
            self.analysis = now
            self.notes, self._described, self._predictions = {}, None, None
            self._drop_lists()

    def drop_changed_circuits(self) -> None:
        """Take the files of circuits as they are now, because they are read again."""
        self.circuits = circuit_stamps(self.run.path)

    def overall(self, at: NeuronAt, include_bos: bool) -> Overall | None:
        """Cached statistics over all prompts. After an unreadable prompt: that fault, for every neuron."""
        return self._overall.get((at, include_bos), self._unread)

    @cached_property
    def corpus(self) -> OpenedCorpus:
        """The records of a corpus; its methods raise `UsageError` if the run has none."""
        from neuron_signatures.tui.corpus.reading import OpenedCorpus  # takes 0.03 s to import: not at the start

        return OpenedCorpus(self.run.path)

    @cached_property
    def explained(self) -> OpenedExplanations:
        """The explanations; empty if the run has none."""
        from neuron_signatures.tui.explanations.reading import OpenedExplanations  # as the corpus

        return OpenedExplanations(self.run.path)

    @cached_property
    def scored(self) -> OpenedScores:
        """The scores of explanations; empty if the run has none."""
        from neuron_signatures.tui.scores.reading import OpenedScores  # as the corpus

        return OpenedScores(self.run.path)

    @cached_property
    def search(self) -> OpenedSearch:
        """Search in explanations, exemplars and written tokens."""
        from neuron_signatures.tui.search.reading import OpenedSearch  # as the corpus

        return OpenedSearch(self.run, self.explained)

    def drop_changed_explanations(self) -> None:
        """Forget the explanations and scores that were read if one of their files changed."""
        had, self.has_explanations = self.has_explanations, (self.run.path / EXPLANATIONS).is_dir()
        explained = self.explained.drop_changed() or had != self.has_explanations
        if self.scored.drop_changed(explanations=explained) or explained:
            self.notes = {}

    def notes_of(self, at: NeuronAt) -> Notes:
        """What the results say about a neuron, with its explanations. For a thread, as it reads tables."""
        notes = notes_of(self.run, at)
        if self.at_large:
            from neuron_signatures.views.at_large.neuron import read_at_large  # not at the start

            notes = notes._replace(at_large=read_at_large(self.run.path, at))
        if not self.has_explanations:
            return notes
        try:
            found, (infos, problems) = self.explained.of(at), self.explained.sets()
        except (ProjectError, OSError) as e:
            return notes._replace(unexplained=fault_text(e))
        if not infos and not problems:
            return notes
        scored = self.scored.of(at) if self.scored.exist else None
        return notes._replace(explained=found, unexplained="; ".join(problems), scored=scored)

    def extremes(self, at: NeuronAt) -> tuple[float, float] | None:
        """The smallest and the largest activation in the corpus; None if no readable records hold them."""
        with contextlib.suppress(ProjectError, OSError):
            return self.corpus.extremes(at)
        return None

    def remember(self, at: NeuronAt, include_bos: bool, found: Overall | Notes) -> None:
        if isinstance(found, Notes):
            _store(self.notes, at, found)
        elif found.fault:
            self._unread = found
        else:
            _store(self._overall, (at, include_bos), found)


def notes_of(run: Run, at: NeuronAt) -> Notes:
    """Signatures and write scores of a neuron; a damaged result becomes a message."""
    run_dir = run.path
    missing: list[str] = []

    def attempt(read: Callable[[Path, NeuronAt], list[T]], otherwise: str) -> list[T]:
        try:
            found = read(run_dir, at)
        except UsageError:
            found = []
        except ProjectError as e:
            missing.append(e.line())
            return []
        if not found:
            missing.append(otherwise)
        return found

    command = f"python -m neuron_signatures.poc2_analyze_run --run_dir {shlex.quote(str(run_dir))}"
    signatures = attempt(signatures_of, f"no signature of this neuron; make them with: {command} --mode signatures")
    scores = attempt(write_scores_of, f"no write scores of this neuron; make them with: {command} --mode write_scores")
    used = {NEURONS if w.source == TOP_STEM else w.source for w in scores} | ({SIGNATURES} if signatures else set())
    doubts = {stem: why for stem, why in doubts_of(run).items() if stem in used}
    return Notes(signatures, scores, tuple(missing), doubts, unexplained=nothing_text(run_dir))


def doubts_of(run: Run) -> dict[str, str]:
    """Name of each result that may have been made from another dump, and why."""
    found = {r.stem: r.doubt for r in list_refs(run.path, run.manifest) if r.doubt}
    if doubt := writes_doubt(run):
        found[WRITES] = doubt
    return found


def _store(cache: dict[K, T], key: K, value: T) -> None:
    if len(cache) >= _CACHE_SIZE:
        cache.pop(next(iter(cache)))
    cache[key] = value
