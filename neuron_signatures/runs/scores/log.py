"""`ScoreLog` appends lines to a log of scores. The caller holds the run's lock."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from neuron_signatures.runs.append_only import AppendOnlyFile
from neuron_signatures.runs.files import remove_files
from neuron_signatures.runs.results import table_name
from neuron_signatures.runs.scores.line import ScoreLine
from neuron_signatures.runs.scores.lines import MAX_LINE
from neuron_signatures.runs.scores.names import SCORES, log_name, meta_name


class ScoreLog:
    """A context manager. An appended line survives the end of the process.

    Opening removes a torn last line. The first line that is appended to finished scores makes them unfinished: their
    stage record and table are removed, because they no longer describe the log.
    """

    def __init__(self, run_dir: Path, name: str) -> None:
        self.run_dir, self.name = run_dir, name
        self._file = AppendOnlyFile(run_dir, log_name(name), below=SCORES, is_whole=_is_whole)
        self.path = self._file.path
        self._reopened = False

    def __enter__(self) -> ScoreLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes of the log."""
        return self._file.size

    def append(self, line: ScoreLine) -> None:
        """Raises `EnvironmentProblem` if the disk is full; earlier lines stay."""
        raw = line.model_dump_json().encode()
        assert len(raw) < MAX_LINE, f"a line of {len(raw)} bytes"
        self._reopen()
        self._file.append(raw)

    def close(self) -> None:
        self._file.close()

    def _reopen(self) -> None:
        """Remove the record and the table of finished scores, once."""
        if not self._reopened and (self.run_dir / SCORES / meta_name(self.name)).exists():
            remove_files(self.run_dir, (meta_name(self.name), table_name(self.name)), below=SCORES)
        self._reopened = True


def _is_whole(line: bytes) -> bool:
    import pydantic_core

    try:
        pydantic_core.from_json(line)
    except ValueError:
        return False
    return True
