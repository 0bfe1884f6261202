"""The explanations of a run, opened once and read again when their files change."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from neuron_signatures.runs.explanations.shown import SetInfo
from neuron_signatures.views.changes import changed, explanation_stamps
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.reading import RunExplanations
from neuron_signatures.views.explanations.shown import NeuronExplanations
from neuron_signatures.views.explanations.table import ExplanationTable


class OpenedExplanations:
    """Opens the logs at the first question, which takes time: methods are called in threads."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.stamps = explanation_stamps(run_dir)
        """Of the files when they were last read."""
        self._found: RunExplanations | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the logs were opened, so that `of` takes no time."""
        return self._found is not None

    def of(self, at: NeuronAt) -> NeuronExplanations:
        """Raises `BadRunError` if a log has been damaged since it was opened."""
        return self._opened().of(at)

    def table(self) -> ExplanationTable:
        """Every explanation. Raises as `of`."""
        found = self._opened()
        with self._lock:
            return found.table

    def sets(self) -> Sequence[SetInfo]:
        return self._opened().sets

    def problems(self) -> Sequence[str]:
        """One line for each set that cannot be read."""
        return self._opened().problems

    def drop_changed(self) -> None:
        """Forget what was read if a file has changed."""
        now = explanation_stamps(self.run_dir)
        if changed(self.stamps, now):
            with self._lock:
                self.stamps, self._found = now, None

    def _opened(self) -> RunExplanations:
        with self._lock:
            if self._found is None:
                self._found = RunExplanations.read(self.run_dir)
            return self._found
