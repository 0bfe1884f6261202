"""One opened run and what was computed from it. What is remembered holds for the files as they were when it was opened:
a changed file makes the session stale, and reading again means a new session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from neuron_signatures.runs.errors import BadRunError, ProjectError, UsageError
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.results import ANALYSIS, NEURONS, SIGNATURES, TOP_STEM
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.cursor import Place
from neuron_signatures.views.acts import NeuronAct, OnPrompt, Stats, on_prompt, over_prompts, stats_of, top_at
from neuron_signatures.views.changes import Stamp, analysis_stamps, changed, run_stamps
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.facts import Signature, WriteScores, signatures_of, write_scores_of
from neuron_signatures.views.list_files import files_of, list_refs, read_list
from neuron_signatures.views.ranked import ListRef, RankedList

T = TypeVar("T")
N_TOP = 20
_KEPT = 256  # neurons whose numbers are remembered


class Extreme(NamedTuple):
    """A value and where it is."""

    value: float
    prompt: int
    pos: int


class Across(NamedTuple):
    """One neuron over all prompts; None where no value counts."""

    n_prompts: int
    n: int
    n_nonfinite: int
    max: Extreme | None
    min: Extreme | None
    mean: float | None
    std: float | None
    fault: str = ""
    """Why a prompt, and so all of them together, cannot be read."""


class Notes(NamedTuple):
    """What the results say about a neuron. `missing` is what to say instead of what has not been made."""

    signatures: list[Signature]
    write_scores: list[WriteScores]
    missing: tuple[str, ...]
    doubts: Mapping[str, str]
    """Which results among them may not be about this run's activations, and why."""


class Session:
    """Not for use from several threads at once; `reader` gives a run of its own to a worker."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stamps = run_stamps(run)
        self.analysis = analysis_stamps(run.path)
        self._across: dict[tuple[NeuronAt, bool], Across] = {}
        self._unread: Across | None = None
        self.notes: dict[NeuronAt, Notes] = {}
        self.one_at_a_time = threading.Lock()
        """For threads that read tables: a thread cannot be stopped while it reads one, and each takes memory."""
        self._values: tuple[tuple[int, NeuronAt], np.ndarray] | None = None
        self._top: tuple[tuple[int, int], list[NeuronAct]] | None = None
        self._lists: dict[str, RankedList] = {}

    @classmethod
    def open(cls, run_dir: Path) -> Session:
        """Raises `BadRunError` for a folder that is no whole run, or holds no prompt."""
        run = Run.open(run_dir)
        if not run.prompts:
            raise BadRunError("the run holds no prompt", where=str(run_dir))
        return cls(run)

    def prompt(self, place: Place) -> PromptRecord:
        return self.run.prompts[place.prompt]

    def values(self, place: Place) -> np.ndarray:
        """The neuron's activations on the prompt, one per token."""
        key = (place.prompt, place.at)
        if self._values is None or self._values[0] != key:
            acts = self.run.acts(self.prompt(place), layer=place.layer, neuron=place.neuron)
            self._values = (key, acts)
        return self._values[1]

    def top(self, place: Place) -> list[NeuronAct]:
        """The neurons with the largest |act| at the token."""
        key = (place.prompt, place.pos)
        if self._top is None or self._top[0] != key:
            self._top = (key, top_at(self.run, self.prompt(place), place.pos, N_TOP))
        return self._top[1]

    def refs(self) -> list[ListRef]:
        return list_refs(self.run.path, self.run.manifest)

    def ranked(self, ref: ListRef) -> RankedList:
        """The list, read once while its files stay the same."""
        self.drop_changed_results()
        if ref.stem not in self._lists:
            self._lists = {}  # one at a time: a list may have 240,000 rows
            self._lists[ref.stem] = read_list(self.run.path, ref)
        return self._lists[ref.stem]

    def list_stamps(self, ref: ListRef) -> dict[str, Stamp]:
        """Of the list's files, as they were when results were read last."""
        return {name: self.analysis[name] for name in files_of(ref) if name in self.analysis}

    def changed(self) -> list[str]:
        """Names of the run's files that are not what they were when it was opened."""
        return changed(self.stamps, run_stamps(self.run)) + [
            f"{ANALYSIS}/{n}" for n in changed(self.analysis, analysis_stamps(self.run.path))
        ]

    def is_current(self) -> bool:
        """Whether manifest and tensors are still those that were opened: what was read anew belongs to them."""
        return not changed(self.stamps, run_stamps(self.run))

    def drop_changed_results(self) -> None:
        """Forget what was read from `analysis/` if a file there changed."""
        now = analysis_stamps(self.run.path)
        if changed(self.analysis, now):
            self.analysis = now
            self._lists, self.notes = {}, {}

    def across(self, at: NeuronAt, include_bos: bool) -> Across | None:
        """What was found out about a neuron; once a prompt could not be read that fault, which no neuron is without."""
        return self._across.get((at, include_bos), self._unread)

    def remember(self, at: NeuronAt, include_bos: bool, across: Across) -> None:
        if across.fault:
            self._unread = across
        else:
            _keep(self._across, (at, include_bos), across)

    def remember_notes(self, at: NeuronAt, notes: Notes) -> None:
        _keep(self.notes, at, notes)


def notes_of(run: Run, at: NeuronAt) -> Notes:
    """Signatures and write scores; a result that is damaged is named, not raised."""
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

    again = f"python -m neuron_signatures.poc2_analyze_run --run_dir {run_dir}"
    signatures = attempt(signatures_of, f"no signature of this neuron; they are made by: {again} --mode signatures")
    scores = attempt(write_scores_of, f"no write scores of this neuron; they are made by: {again} --write_scores")
    used = {NEURONS if w.source == TOP_STEM else w.source for w in scores} | ({SIGNATURES} if signatures else set())
    doubts = {stem: why for stem, why in doubts_of(run).items() if stem in used}
    return Notes(signatures, scores, tuple(missing), doubts)


def doubts_of(run: Run) -> dict[str, str]:
    """The results that may not be about the run's activations, and why."""
    return {r.stem: r.doubt for r in list_refs(run.path, run.manifest) if r.doubt}


def across_of(rows: Iterator[OnPrompt]) -> Across:
    """Statistics over all tokens that count, of one neuron; ties go to the first prompt."""
    n = bad = n_prompts = 0
    high: Extreme | None = None
    low: Extreme | None = None
    mean = squares = 0.0  # the squares are of the differences from the mean, merged prompt by prompt (Chan et al. 1979)
    for p in rows:
        s = p.stats
        n_prompts, bad = n_prompts + 1, bad + s.n_nonfinite
        if s.mean is None or s.std is None:
            continue
        high, low = _higher(high, p.prompt_index, s), _lower(low, p.prompt_index, s)
        n, further = n + s.n, s.mean - mean
        mean += further * s.n / n
        squares += s.n * s.std**2 + further**2 * s.n * (n - s.n) / n
    if not n:
        return Across(n_prompts, 0, bad, None, None, None, None)
    return Across(n_prompts, n, bad, high, low, mean, float(np.sqrt(squares / n)))


def across_or_fault(rows: Iterator[OnPrompt]) -> Across:
    """As `across_of`; a prompt that cannot be read is a fault in it, not an error."""
    try:
        return across_of(rows)
    except (ProjectError, OSError) as e:
        return unread(short_fault(e))


def unread(fault: str) -> Across:
    return Across(0, 0, 0, None, None, None, None, fault)


def each_prompt(run: Run, at: NeuronAt, *, include_bos: bool) -> Iterator[OnPrompt]:
    """As `over_prompts`; a prompt that cannot be read is there with its fault."""
    for index, prompt in enumerate(run.prompts):
        try:
            yield on_prompt(run, at, index, include_bos=include_bos)
        except (ProjectError, OSError) as e:
            nothing = np.full(prompt.seq_len, np.nan, np.float32)
            yield OnPrompt(index, prompt, nothing, stats_of(nothing, np.zeros(prompt.seq_len, bool)), short_fault(e))


def across_reading(run: Run, at: NeuronAt, *, include_bos: bool, stop: Callable[[], bool]) -> Across | None:
    """As `across_of`, reading all prompts with files of its own; None if it was stopped."""
    with run.another_reader() as reader:
        across = across_or_fault(until(over_prompts(reader, at, include_bos=include_bos), stop))
    return None if stop() else across


def until(items: Iterator[T], stop: Callable[[], bool]) -> Iterator[T]:
    for item in items:
        if stop():
            return
        yield item


def fault_text(e: ProjectError | OSError) -> str:
    """One line that names the fault."""
    if isinstance(e, ProjectError):
        return e.line()
    return f"{e.filename or 'the run'}: {e.strerror or e}"


def short_fault(e: ProjectError | OSError) -> str:
    """The fault in few words: the file without its folder, and no advice."""
    if isinstance(e, ProjectError):
        return f"{Path(e.where).name}: {e.what}" if e.where else e.what
    return f"{Path(e.filename or 'the run').name}: {e.strerror or e}"


def _higher(best: Extreme | None, prompt: int, s: Stats) -> Extreme | None:
    assert s.max is not None and s.max_pos is not None
    return Extreme(s.max, prompt, s.max_pos) if best is None or s.max > best.value else best


def _lower(best: Extreme | None, prompt: int, s: Stats) -> Extreme | None:
    assert s.min is not None and s.min_pos is not None
    return Extreme(s.min, prompt, s.min_pos) if best is None or s.min < best.value else best


K = TypeVar("K")


def _keep(kept: dict[K, T], key: K, value: T) -> None:
    if len(kept) >= _KEPT:
        kept.pop(next(iter(kept)))
    kept[key] = value
