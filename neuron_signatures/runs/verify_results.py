"""Checking the files in a run's stage folders against the stage records (`*_meta.json`) that list them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neuron_signatures.runs.bounded_json import RECORD_BYTES, parse_json
from neuron_signatures.runs.circuits.verify import GroupsCheck
from neuron_signatures.runs.errors import BadRunError, UsageError, shorten
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.explanations.verify import SetsCheck
from neuron_signatures.runs.files import sha256_file
from neuron_signatures.runs.llm.names import LLM
from neuron_signatures.runs.llm.verify import RequestsCheck
from neuron_signatures.runs.manifest import FileRecord, Manifest, join_some
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import CIRCUITS, META, STAGE_FOLDERS, TMP_PREFIX
from neuron_signatures.runs.opening import NotReadableError, read_regular
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.result_records import StageRecord, another_dump
from neuron_signatures.runs.results import partial_name
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.runs.scores.verify import ScoresCheck
from neuron_signatures.runs.seal import SEAL, seal_fits
from neuron_signatures.runs.search.names import SEARCH
from neuron_signatures.runs.search.verify import search_faults
from neuron_signatures.runs.skills.names import SKILLS
from neuron_signatures.runs.skills.verify import SkillsCheck

_DEPTH = 4
"""Levels of subfolders in a stage folder."""
_FIGURES = "figures"
_MOST_FILES = 100_000
"""Limit for the files of one record."""
_MOST_FAULTS = 99
"""Faults of one record that are reported one by one, after a line with their number."""
_OF_MODEL = ("model_name", "model_revision", "weights_fingerprint", "n_layers", "d_mlp")
"""What the records and the manifest of a run have in common."""
_FILES = TypeAdapter(list[FileRecord])
# Fields of the records of the earlier tool of this method, which name no stage.
_OF_EARLIER_TOOL = {"mode", "run_dir"}
_AGAIN = "Copy the run again, or make this result again"
# Records of other stages have always listed their files.
_STAGE_2 = {
    "peaks": "--mode peaks",
    "signatures": "--mode signatures",
    "influence": "--mode influence",
    "validate": "--mode influence --validate",
    "write_scores": "--mode write_scores",
}


@dataclass
class ResultCheck:
    """What was checked: the stage records, and the files that they list. `faults` and `remarks` are one line each."""

    n_records: int = 0
    n_files: int = 0
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check_results(run: Run) -> ResultCheck:
    """Check every result of the run. Nothing is opened through a link, and pipes and devices are not opened."""
    total = ResultCheck()
    for name in STAGE_FOLDERS:
        folder = run.path / name
        try:
            mode = folder.lstat().st_mode
            if stat.S_ISDIR(mode):
                n_faults = len(total.faults)
                _Folder(folder, run.manifest, total, _check_logs(run, name, total)).check()
                if name == RECORDS and len(total.faults) == n_faults:
                    total.faults += _contents_of_records(run)
                if name == SEARCH and len(total.faults) == n_faults:
                    total.faults += search_faults(run.path)
            else:
                total.faults.append(_fault(folder, f"is {_kind(mode)}, not a folder"))
        except FileNotFoundError:
            continue
        except OSError as e:
            total.faults.append(_fault(folder, f"cannot be read ({e.strerror or e})"))
    return total


def _check_logs(run: Run, name: str, total: ResultCheck) -> Set[str]:
    """Check the logs in a stage folder, which grow, and files of people, all in no record; returns their names."""
    if name in (EXPLANATIONS, SCORES):
        check = SetsCheck if name == EXPLANATIONS else ScoresCheck
        logs = check(run.path, run.manifest)
        total.faults += logs.faults
        total.remarks += logs.remarks
        return logs.known
    if name == SKILLS:
        skills = SkillsCheck(run.path)
        total.faults += skills.faults
        total.remarks += skills.remarks
        return skills.known
    if name == CIRCUITS:
        groups = GroupsCheck(run.path)
        total.faults += groups.faults
        return groups.known
    if name == LLM:
        requests = RequestsCheck(run.path)
        total.faults += requests.faults
        return requests.known
    return frozenset()


def _contents_of_records(run: Run) -> list[str]:
    """What is wrong with the records' shapes and values, or their model; nothing if they are not finished."""
    if not Records.exist(run.path):
        return []
    try:
        with Records.open(run.path) as records:
            records.check()
            found = [f"{name} is {b!r}, that of the run {a!r}" for name in _OF_MODEL
                     if (a := getattr(run.manifest, name)) != (b := getattr(records.meta, name))]  # fmt: skip
    except (BadRunError, UsageError) as e:
        return [e.line()]
    return [_fault(run.path / RECORDS / RECORDS_META, join_some(found))] if found else []


class _Folder:
    """Checks one stage folder; adds to `total`. `known` are files that no record lists."""

    def __init__(self, folder: Path, manifest: Manifest, total: ResultCheck, known: Set[str]) -> None:
        self.folder, self.manifest, self.total = folder, manifest, total
        self.modes = dict(self._walk("", _DEPTH))
        self.listed = set(known)
        self.digests: dict[str, str] = {}

    def check(self) -> None:
        records = [name for name in self.modes if name.endswith(META) and not _is_temporary(name)]
        for name in records:
            self.total.n_records += 1
            try:
                self._check_record(name)
            except FileNotFoundError:
                self._remark(name, "is being rewritten", next_step="Verify again")
            except BadRunError as e:
                self.total.faults.append(e.line())
        self._remark_others(set(records))

    def _walk(self, below: str, depth: int) -> Iterator[tuple[str, int]]:
        """The path, with slashes, and the mode of everything that is not a folder; links are not followed.

        A folder below `depth` is yielded itself. A subfolder that cannot be read is a fault.
        """
        try:
            with os.scandir(self.folder / below) as entries:
                found = [(e.name, mode) for e in entries if (mode := _mode(e)) is not None]
        except FileNotFoundError:  # removed meanwhile
            return
        except OSError as e:
            self.total.faults.append(_fault(self.folder / below, f"cannot be read ({e.strerror or e})"))
            return
        for name, mode in sorted(found):
            if stat.S_ISDIR(mode) and depth:
                yield from self._walk(f"{below}{name}/", depth - 1)
            else:
                yield below + name, mode

    def _check_record(self, name: str) -> None:
        """Raises `BadRunError` if the record is damaged, `FileNotFoundError` if a process rewrites the result."""
        path = self.folder / name
        raw = self._read(name)
        record = _object(raw, path)
        if "files" in record or SEAL in record:
            self._check_files(name, raw, _listed(record, path))
        elif "stage" not in record and record.keys() >= _OF_EARLIER_TOOL:
            self._remark(name, "was written by another tool: its files were not checked")
            return
        else:
            why = "lists no files, because an earlier version made it: they were not checked"
            self._remark(name, why, next_step=_remake(record, self.folder.parent))
        try:
            checked = StageRecord.model_validate(record)
            # records of a corpus come from no dump; `_contents_of_records` compares their model
            doubt = "" if self.folder.name == RECORDS else another_dump(self.manifest, checked)
        except ValidationError as e:
            raise _bad(path, first_error(e)) from e
        if doubt:
            self._remark(name, doubt)

    def _check_files(self, record: str, raw: bytes, files: list[FileRecord]) -> None:
        below = record.rpartition("/")[0]
        names = [f"{below}/{f.name}" if below else f.name for f in files]
        self.listed.update(names)
        path = self.folder / record
        if not seal_fits(raw):
            raise _bad(path, "the record differs from its own checksum: it has changed")
        faults = [fault for f, at in zip(files, names, strict=True) if (fault := self._file_fault(f, at, record))]
        if faults and self._read(record) != raw:
            raise FileNotFoundError(record)
        self.total.n_files += len(files)
        if len(faults) > _MOST_FAULTS:
            self.total.faults.append(_fault(path, f"{len(faults)} of its files are wrong, {_MOST_FAULTS} are named"))
        self.total.faults += faults[:_MOST_FAULTS]

    def _read(self, name: str) -> bytes:
        path, mode = self.folder / name, self.modes[name]
        if not stat.S_ISREG(mode):
            raise _bad(path, f"is {_kind(mode)}, not a file")
        try:
            return read_regular(path, max_bytes=RECORD_BYTES)
        except FileNotFoundError:
            raise
        except NotReadableError as e:
            raise _bad(path, str(e)) from e
        except OSError as e:
            raise _bad(path, f"cannot be read ({e.strerror or e})") from e

    def _file_fault(self, recorded: FileRecord, name: str, record: str) -> str:
        """The fault of one file, empty if there is none. Names that lead out of the folder are of no file in it."""
        path = self.folder / name
        says = f"its record {shorten(record, 200)}"
        mode = self.modes.get(name)
        if mode is None:
            return _fault(path, f"is missing, {says} lists it")
        if not stat.S_ISREG(mode):
            return _fault(path, f"is {_kind(mode)}, not a file, {says} lists it")
        try:
            size = path.lstat().st_size
            if size != recorded.bytes:
                word = "truncated" if size < recorded.bytes else "extended"
                return _fault(path, f"{word}: {size} bytes, {says} has {recorded.bytes}")
            if name not in self.digests:
                self.digests[name] = sha256_file(path)
        except (OSError, NotReadableError) as e:
            return _fault(path, f"cannot be read ({getattr(e, 'strerror', None) or e})")
        differs = self.digests[name] != recorded.sha256
        return _fault(path, f"its sha256 differs from {says}: the file has changed") if differs else ""

    def _remark_others(self, records: set[str]) -> None:
        known = self.listed | records
        others = [name for name in sorted(self.modes) if name not in known and not _is_picture(name)]
        unknown = []
        for name in others:
            if _is_temporary(name):
                self._remark(name, "a temporary file of a killed or running process; the next stage removes it")
            elif name.endswith(partial_name("")):
                self._remark(name, "the finished part of an unfinished command; the same command resumes it")
            else:
                unknown.append(shorten(name, 60))
        if unknown:
            what = "1 file that no record lists" if len(unknown) == 1 else f"{len(unknown)} files that no record lists"
            self._remark("", f"{what}: {join_some(unknown, 3)}")

    def _remark(self, name: str, what: str, *, next_step: str = "") -> None:
        line = BadRunError(what, where=f"{self.folder.name}/{name}", next_step=next_step).line()
        self.total.remarks.append(line)


def _mode(entry: os.DirEntry[str]) -> int | None:
    """None for a file that was renamed meanwhile."""
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _object(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        record = parse_json(raw)
    except ValueError as e:
        raise _bad(path, f"not valid JSON ({e})") from e
    if not isinstance(record, dict):
        raise _bad(path, "not a JSON object")
    return record


def _listed(record: dict[str, Any], path: Path) -> list[FileRecord]:
    files = record.get("files")
    if isinstance(files, list) and len(files) > _MOST_FILES:
        raise _bad(path, f"lists {len(files)} files, more than {_MOST_FILES}")
    try:
        return _FILES.validate_python(files)
    except ValidationError as e:
        raise _bad(path, f"files: {first_error(e)}") from e


def _remake(record: dict[str, Any], run_dir: Path) -> str:
    """How to make the result of an earlier version again. The record's own text is in no command."""
    flags = _STAGE_2.get(str(record.get("mode")))
    if flags is None or record.get("stage") != "poc2_analyze_run":
        return "Make it again"
    return f"Make it again: `python -m neuron_signatures.poc2_analyze_run --run_dir {run_dir} {flags}` and its settings"


def _is_temporary(name: str) -> bool:
    return name.rpartition("/")[2].startswith(TMP_PREFIX)


def _is_picture(name: str) -> bool:
    """Whether it is a figure that a stage drew of its tables, which can be drawn again and is in no record."""
    *folders, last = name.split("/")
    return folders[-1:] == [_FIGURES] and last.endswith((".png", ".svg"))


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"))
    return next((name for test, name in kinds if test(mode)), "a pipe, socket or device")


def _bad(path: Path, what: str) -> BadRunError:
    return BadRunError(what, where=str(path), next_step=_AGAIN)


def _fault(path: Path, what: str) -> str:
    return _bad(path, what).line()
