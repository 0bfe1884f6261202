"""The file names of the logs in a stage folder. `<name>.jsonl` is a log, to which lines are only appended."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.names import META, inside

MAX_LOGS = 1000


class LogKind(NamedTuple):
    """The logs of one stage folder."""

    folder: str
    rule: str
    """The pattern of their names."""
    reserved: tuple[str, ...]
    """Endings of other files, which no name has."""
    noun: str
    """What error messages call several of them."""
    again: str
    """The next step if one is damaged."""
    max_line: int
    """Bytes of a line that are read."""
    max_log: int
    """Bytes of a log that are read."""

    def is_name(self, name: str) -> bool:
        return re.fullmatch(self.rule, name) is not None and not name.endswith(self.reserved)

    def path(self, run_dir: Path, name: str) -> Path:
        """Of a log. Raises `BadRunError` if it is a link that leads out of the run."""
        return inside(run_dir, f"{self.folder}/{log_name(name)}")

    def names(self, run_dir: Path) -> list[str]:
        """The names that have a log in a run, sorted. Raises `BadRunError` if there are more than `MAX_LOGS`."""
        folder = run_dir / self.folder
        try:
            found = [p.name for p in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            raise BadRunError(f"cannot be read ({e.strerror or e})", where=str(folder)) from e
        names = self._of(found, log_name(""))
        if len(names) > MAX_LOGS:
            raise BadRunError(f"has {len(names)} {self.noun}; {MAX_LOGS} can be read", where=str(folder))
        return names

    def with_record(self, run_dir: Path) -> list[str]:
        """The names that have a stage record, sorted."""
        return self._of([p.name for p in (run_dir / self.folder).glob(f"*{META}")], META)

    def is_finished(self, run_dir: Path, name: str) -> bool:
        """Whether there is a stage record."""
        return (run_dir / self.folder / f"{name}{META}").is_file()

    def _of(self, files: list[str], ending: str) -> list[str]:
        return sorted(name for f in files if f.endswith(ending) and self.is_name(name := f.removesuffix(ending)))


def log_name(name: str) -> str:
    """The log, to which lines are only appended."""
    return f"{name}.jsonl"


def settings_name(name: str) -> str:
    """The settings that a continued log must share, written before its first line."""
    return f"{name}_settings.json"
