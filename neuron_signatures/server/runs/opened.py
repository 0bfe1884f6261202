"""Opened runs, kept between requests as long as their files are the same."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.reader import Search
from neuron_signatures.runs.under_root import run_folder
from neuron_signatures.server.problems import not_found
from neuron_signatures.server.runs.named import named
from neuron_signatures.server.runs.score_rows import ScoreRows
from neuron_signatures.views import changes
from neuron_signatures.views.changes import Stamp

MOST_RUNS = 4
"""Runs that are kept open. The explanations and scores of a large run take some hundred MB."""

T = TypeVar("T")
Stamps = dict[str, Stamp]


class OpenedRun:
    """The readers of one run, each opened when it is first needed. For one thread at a time (`lock`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.users = 0
        self._run: tuple[Run, Stamps] | None = None
        self._records: tuple[Records, Stamps] | None = None
        self._explanations: tuple[Explanations, Stamps] | None = None
        self._folded: list[str] | None = None
        self._scores: tuple[ScoreRows, Stamps] | None = None
        self.search = Search.open(path)
        """Sees itself what changed on disk."""

    @property
    def run(self) -> Run:
        """Raises `BadRunError`."""
        if self._run is None:
            run = Run.open(self.path)
            self._run = run, changes.run_stamps(run)
        return self._run[0]

    @property
    def records(self) -> Records | None:
        """None if the run has no finished records. Raises `BadRunError`."""
        if self._records is None and Records.exist(self.path):
            stamps = changes.records_stamps(self.path)
            self._records = Records.open(self.path), stamps
        return None if self._records is None else self._records[0]

    @property
    def explanations(self) -> Explanations:
        """Of all sets. Raises `BadRunError`."""
        if self._explanations is None:
            stamps = changes.explanation_stamps(self.path)
            self._explanations = Explanations.open(self.path), stamps
        return self._explanations[0]

    @property
    def folded_texts(self) -> list[str]:
        """The texts of `explanations.rows()` without case, in their order: what is searched for words."""
        if self._folded is None:
            self._folded = [row.text.casefold() for row in self.explanations.rows()]
        return self._folded

    @property
    def scores(self) -> ScoreRows:
        """Raises `BadRunError`."""
        if self._scores is None:
            stamps = changes.score_stamps(self.path)
            self._scores = ScoreRows(self.path), stamps
        return self._scores[0]

    def refresh(self) -> bool:
        """Forget readers of files that changed, and read what was appended to logs. Returns whether any changed."""
        changed = False
        if self._run is not None and changes.run_stamps(self._run[0]) != self._run[1]:
            self._close_run()
            changed = True
        if self._records is not None and changes.records_stamps(self.path) != self._records[1]:
            self._close_records()
            changed = True
        if self._scores is not None and changes.score_stamps(self.path) != self._scores[1]:
            self._scores, changed = None, True
        return self._refresh_explanations() or changed

    def close(self) -> None:
        self._close_run()
        self._close_records()
        self._explanations = self._folded = self._scores = None
        self.search.close()

    def _refresh_explanations(self) -> bool:
        """Read what was appended. After an error they are opened again when they are needed."""
        stamps = changes.explanation_stamps(self.path)
        if self._explanations is None or stamps == self._explanations[1]:
            return False
        kept, self._explanations, self._folded = self._explanations[0], None, None
        kept.refresh()
        self._explanations = kept, stamps
        return True

    def _close_run(self) -> None:
        if self._run is not None:
            self._run[0].close()
            self._run = None

    def _close_records(self) -> None:
        if self._records is not None:
            self._records[0].close()
            self._records = None


class OpenRuns:
    """The runs of a folder, at most `MOST_RUNS` of them open, the least recently used closed first."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._opened: OrderedDict[str, OpenedRun] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, name: str, work: Callable[[OpenedRun], T]) -> T:
        """What `work` reads from a run. It is done again if it fails because files changed meanwhile.

        Raises `ProblemError` 404 for what is no run of this folder, and `BadRunError`, with the run in place of its
        path, for a damaged one.
        """
        with self._use(name) as opened, named(opened.path, name):
            try:
                opened.refresh()
                return work(opened)
            except (BadRunError, OSError):
                if not opened.refresh():
                    raise
                return work(opened)

    @contextlib.contextmanager
    def _use(self, name: str) -> Iterator[OpenedRun]:
        path = self._folder(name)
        with self._lock:
            opened = self._opened.setdefault(name, OpenedRun(path))
            self._opened.move_to_end(name)
            opened.users += 1
            idle = [n for n, o in self._opened.items() if not o.users]
            for other in idle[: max(0, len(self._opened) - MOST_RUNS)]:
                self._opened.pop(other).close()
        try:
            with opened.lock:
                yield opened
        finally:
            with self._lock:
                opened.users -= 1

    def _folder(self, name: str) -> Path:
        if self.root is None:
            raise not_found("this server has no runs", next_step="Start it with --runs_root")
        try:
            return run_folder(self.root, name)
        except UsageError as e:
            raise not_found(e.what, next_step="GET /v1/runs lists them") from e
