"""Writing a run: shards one by one, a journal of what is finished, and the manifest last.

The journal (`dump_journal.jsonl`) exists while a run is incomplete. Its first line holds the settings that a
resumed dump must share; each further line a shard that is whole on disk, with its checksum. A killed process
may leave half a last line, which is ignored: that shard is written again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError
from neuron_signatures.runs.files import explain_os_errors, no_room, sha256_file, sweep_leftovers, whole_file
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.manifest import FileRecord, Manifest, join_some
from neuron_signatures.runs.manifest_file import read_summary, write_manifest
from neuron_signatures.runs.names import (
    JOURNAL,
    LOCK,
    MANIFEST,
    REPLACED,
    STAGE_FOLDERS,
    TMP_PREFIX,
    is_activation_file,
)
from neuron_signatures.runs.safetensors_out import write_safetensors

if TYPE_CHECKING:
    import torch

Mode = Literal["new", "resume", "overwrite"]
JSONDict = dict[str, Any]


class PromptOutcome(NamedTuple):
    """What became of a prompt in a shard. `failed` is the reason why it has no activations, or None."""

    prompt_id: str
    nonfinite: int
    failed: str | None = None


class ShardRecord(BaseModel):
    """A finished shard, as the journal has it. `file` is None when every prompt of the shard failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shard: int
    file: FileRecord | None
    outcomes: list[PromptOutcome]
    wall_seconds: float


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    journal_version: Literal[1]
    settings: JSONDict
    facts: JSONDict


class RunWriter:
    """Writes one run; made by `open_writer`, which holds the run's lock meanwhile."""

    def __init__(self, run_dir: Path, facts: JSONDict, done: dict[int, ShardRecord]) -> None:
        self.run_dir = run_dir
        self.facts = facts
        """What was recorded when the run was begun and need not agree on resume (time, versions, device)."""
        self.finished = False
        self.done = done
        """Shards that are whole on disk and whose checksum holds, by number."""

    def write_shard(
        self,
        shard: int,
        name: str,
        tensors: dict[str, torch.Tensor],
        outcomes: list[PromptOutcome],
        wall_seconds: float,
    ) -> None:
        """Write one shard whole and enter it in the journal. Contiguous CPU tensors, keys as in the manifest."""
        file = _write_tensors(self.run_dir / name, tensors) if tensors else None
        record = ShardRecord(shard=shard, file=file, outcomes=outcomes, wall_seconds=wall_seconds)
        _append(self.run_dir / JOURNAL, record.model_dump())
        self.done[shard] = record

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the run complete; then remove the journal, and a run that was replaced."""
        write_manifest(self.run_dir, manifest)
        self.finished = True
        _remove_scaffolding(self.run_dir)


@contextlib.contextmanager
def open_writer(run_dir: Path, mode: Mode, *, settings: JSONDict, facts: JSONDict) -> Iterator[RunWriter]:
    """Hold the folder for writing and give the writer.

    "new" makes the folder and refuses one that is not empty; "resume" continues a stopped dump (or begins one
    where there is none) and refuses other `settings` with the list of differences; "overwrite" sets an earlier run
    aside until the new one is complete, touches nothing else, and puts it back if the new one fails. Raises
    `UsageError`, `BadRunError` or `RunLockedError`.
    """
    _check_folder(run_dir, mode)
    with explain_os_errors(run_dir, next_step="Choose another --out_dir or mend its permissions"):
        run_dir.mkdir(parents=True, exist_ok=True)
    with run_lock(run_dir):
        _check_folder(run_dir, mode)  # again: another writer may have been faster
        sweep_leftovers(run_dir)
        if mode == "overwrite":
            _set_aside(run_dir)
        header, done = _read_journal(run_dir) if mode == "resume" else (None, {})
        if header is None:
            header = _Header(journal_version=1, settings=settings, facts=facts)
            _append(run_dir / JOURNAL, header.model_dump())
        refuse_differences(header.settings, settings, run_dir)
        writer = RunWriter(run_dir, header.facts, {k: r for k, r in done.items() if _is_whole(run_dir, r)})
        try:
            yield writer
        except Exception:  # not a signal: what it leaves is resumed
            if mode == "overwrite" and not writer.finished:
                _put_back(run_dir)
            raise


def tidy(run_dir: Path) -> None:
    """Remove what a process that was killed after the manifest was written could not."""
    if (run_dir / JOURNAL).exists() or (run_dir / REPLACED).exists():
        with run_lock(run_dir):
            sweep_leftovers(run_dir)
            _remove_scaffolding(run_dir)


def check_target(run_dir: Path, mode: Mode, *, settings: JSONDict) -> int | None:
    """Refuse now what `open_writer` would refuse later, before a model is loaded. Changes nothing.

    Returns how many shards a stopped dump has finished, when `mode` is "resume" and there is one, else None.
    """
    _check_folder(run_dir, mode)
    if mode != "resume" or not run_dir.is_dir():
        return None
    header, done = _read_journal(run_dir)
    if header is None:
        return None
    refuse_differences(header.settings, settings, run_dir)
    return len(done)


def refuse_differences(
    before: JSONDict, now: JSONDict, where: Path, *, next_step: str = "Give the same flags, or --overwrite"
) -> None:
    """Raise `UsageError` with the list of settings that are not as they were when the result was begun."""
    now = json.loads(json.dumps(now))
    keys = sorted(before.keys() | now.keys())
    wrong = [f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in keys if before.get(k) != now.get(k)]
    if wrong:
        raise UsageError(f"cannot resume: {join_some(wrong, 12)}", where=str(where), next_step=next_step)


def _check_folder(run_dir: Path, mode: Mode) -> None:
    """Refuse a target that `mode` must not touch, without changing anything."""
    if run_dir.exists() and not run_dir.is_dir():
        raise UsageError("is a file, not a folder", where=str(run_dir), next_step="Choose another --out_dir")
    with explain_os_errors(run_dir):
        names = {p.name for p in run_dir.iterdir()} - {LOCK, REPLACED} if run_dir.is_dir() else set()
    names = {n for n in names if not n.startswith(TMP_PREFIX)}
    if not names:
        return
    if not _holds_run(run_dir, names):
        raise UsageError("holds files but no run", where=str(run_dir), next_step="Choose another --out_dir")
    if mode == "new":
        state = "a complete run" if MANIFEST in names else "a stopped dump"
        raise UsageError(
            f"holds {state} already",
            where=str(run_dir),
            next_step="Choose another --out_dir, --resume or --overwrite",
        )
    if mode == "resume" and MANIFEST in names:
        raise UsageError("is complete already", where=str(run_dir), next_step="There is nothing to resume")
    if mode == "resume" and JOURNAL not in names:
        raise BadRunError("has tensors but no journal to resume from", where=str(run_dir), next_step="Use --overwrite")


def _holds_run(run_dir: Path, names: set[str]) -> bool:
    """Whether these files are of a run, and not of something else that has a `manifest.json`."""
    if JOURNAL in names or any(map(is_activation_file, names)):
        return True
    try:
        return MANIFEST in names and "hook_name" in read_summary(run_dir)
    except BadRunError:
        return False


def _parts_of_run(run_dir: Path) -> list[Path]:
    """Everything in the folder that is of a run, the manifest first."""
    folders = [p for p in run_dir.iterdir() if p.name in STAGE_FOLDERS and p.is_dir() and not p.is_symlink()]
    files = [p for p in run_dir.iterdir() if p.name == JOURNAL or is_activation_file(p.name)]
    return [p for p in [run_dir / MANIFEST] if p.exists()] + files + folders


def _set_aside(run_dir: Path) -> None:
    """Move a run into `.replaced`, the manifest first so that what is left never looks complete.

    A complete run that an earlier, unfinished replacement set aside stays there; what that one wrote goes.
    """
    aside = run_dir / REPLACED
    with explain_os_errors(run_dir):
        if (aside / MANIFEST).exists() and not (run_dir / MANIFEST).exists():
            _delete(_parts_of_run(run_dir))
            return
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir()
        for p in _parts_of_run(run_dir):
            p.rename(aside / p.name)


def _put_back(run_dir: Path) -> None:
    """Undo `_set_aside` after a failure: the new files go, the old come back, the manifest last."""
    with explain_os_errors(run_dir):
        _delete(_parts_of_run(run_dir))
        for p in reversed(_parts_of_run(run_dir / REPLACED)):
            p.rename(run_dir / p.name)
        (run_dir / REPLACED).rmdir()


def _remove_scaffolding(run_dir: Path) -> None:
    (run_dir / JOURNAL).unlink(missing_ok=True)
    if (run_dir / REPLACED).exists():
        shutil.rmtree(run_dir / REPLACED)


def _delete(paths: list[Path]) -> None:
    for p in paths:
        if p.is_dir():
            shutil.rmtree(p)
        else:
            p.unlink()


def _read_journal(run_dir: Path) -> tuple[_Header | None, dict[int, ShardRecord]]:
    path = run_dir / JOURNAL
    if not path.exists():
        return None, {}
    with explain_os_errors(path):
        raw = path.read_bytes()
    lines = raw[: raw.rfind(b"\n") + 1].decode("utf-8", "replace").split("\n")[:-1]  # not half a line at the end
    if not lines:
        return None, {}
    try:
        header = _Header.model_validate_json(lines[0])
        records = [ShardRecord.model_validate_json(line) for line in lines[1:]]
    except ValidationError as e:
        raise BadRunError("the journal is damaged", where=str(path), next_step="Start again with --overwrite") from e
    return header, {r.shard: r for r in records}


def _is_whole(run_dir: Path, record: ShardRecord) -> bool:
    if record.file is None:
        return True
    path = run_dir / record.file.name
    if not path.is_file() or path.stat().st_size != record.file.bytes:
        return False
    return sha256_file(path) == record.file.sha256


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> FileRecord:
    needed = sum(t.numel() * t.element_size() for t in tensors.values())
    with whole_file(path, needed=needed) as tmp:
        if path.suffix == ".pt":
            _save_pickled(tmp, path, tensors, needed)
            digest = sha256_file(tmp)
        else:
            digest = write_safetensors(tmp, tensors)
        size = tmp.stat().st_size
    return FileRecord(name=path.name, bytes=size, sha256=digest)


def _save_pickled(tmp: Path, path: Path, tensors: dict[str, torch.Tensor], needed: int) -> None:
    import torch

    try:
        torch.save(tensors, tmp)
    except RuntimeError as e:  # torch 2.13 loses the error number of a write that failed
        reason = " ".join(str(e).split())[:120]
        if "PytorchStreamWriter" in reason or "unexpected pos" in reason:
            raise no_room(path, needed, reason) from e
        raise EnvironmentProblem(f"cannot be written ({reason})", where=str(path)) from e


def _append(path: Path, record: JSONDict) -> None:
    line = json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n"
    with explain_os_errors(path, needed=len(line)), path.open("a+b") as f:
        _cut_half_line(f)
        f.write(line)
        f.flush()
        os.fsync(f.fileno())


def _cut_half_line(f: BinaryIO) -> None:
    """Drop what a killed writer left after the last line end, or the next line would join it."""
    f.seek(0)
    raw = f.read()
    f.truncate(raw.rfind(b"\n") + 1)
