"""`ScoreLog` appends lines to a log of scores. The caller holds the run's lock."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.runs.logs.appending import StageLog
from neuron_signatures.runs.scores.line import ScoreLine
from neuron_signatures.runs.scores.names import LOGS


class ScoreLog(StageLog):
    """The first line that is appended to finished scores makes them unfinished."""

    def __init__(self, run_dir: Path, name: str) -> None:
        super().__init__(LOGS, run_dir, name)

    def append(self, line: ScoreLine) -> None:
        """Raises `EnvironmentProblem` if the disk is full; earlier lines stay."""
        self._append(line)
