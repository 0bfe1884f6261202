"""The explanations of a run, opened once and read again when their files change."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.explanations.shown import SetInfo
from neuron_signatures.views.changes import changed, explanation_stamps
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.reading import RunExplanations
from neuron_signatures.views.explanations.shown import NeuronExplanations
from neuron_signatures.views.explanations.table import ExplanationTable


class Sets(NamedTuple):
    """The sets of a run."""

    infos: Sequence[SetInfo] = ()
    problems: Sequence[str] = ()
    """One line for each set that cannot be read."""


class OpenedExplanations:
    """Opens the logs at the first question, which takes time: methods are called in threads, until `is_open`."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.stamps = explanation_stamps(run_dir)
        """Of the files when they were last read."""
        self._found: RunExplanations | None = None
        self._lock = threading.Lock()
        """Held while a thread reads."""

    @property
    def is_open(self) -> bool:
        """Whether the logs were opened, so that `of` and `sets` take no time."""
        return self._found is not None

    def of(self, at: NeuronAt) -> NeuronExplanations:
        """Raises `BadRunError` if a log has been damaged since it was opened."""
        return self._opened().of(at)

    def table(self) -> ExplanationTable:
        """Every explanation. Raises as `of`."""
        found = self._opened()
        with self._lock:
            return found.table

    def sets(self) -> Sets:
        found = self._opened()
        return Sets(found.sets, found.problems)

    def drop_changed(self) -> bool:
        """Forget what was read if a file has changed; returns whether one has. Does not wait for threads."""
        now = explanation_stamps(self.run_dir)
        is_changed = bool(changed(self.stamps, now))
        if is_changed:
            self.stamps, self._found = now, None
        return is_changed

    def _opened(self) -> RunExplanations:
        if (found := self._found) is not None:
            return found
        with self._lock:
            if (found := self._found) is None:
                before, found = self.stamps, RunExplanations.read(self.run_dir)
                _ = found.sets  # counted now, because it takes time
                if self.stamps is before:
                    self._found = found
            return found
