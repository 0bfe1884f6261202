"""Writing a run: shards one by one, a journal of the finished ones, and the manifest last."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from neuron_signatures.runs.append_only import end_of_last_line, give_own_copy
from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError, shorten
from neuron_signatures.runs.files import disk_full, explain_os_errors, sha256_of, sweep_leftovers, whole_file
from neuron_signatures.runs.journal import Header, JSONDict, PromptOutcome, ShardRecord, read_journal
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.manifest import EARLIER_BACKEND, FileRecord, Manifest, join_some
from neuron_signatures.runs.manifest_file import read_manifest, read_summary, write_manifest
from neuron_signatures.runs.names import (
    JOURNAL,
    LOCK,
    MANIFEST,
    MOVING,
    PIPELINE,
    PIPELINE_LOCK,
    REPLACED,
    SHARD_LOCK,
    TMP_PREFIX,
    is_activation_file,
)
from neuron_signatures.runs.opening import open_in_place, refuse_links
from neuron_signatures.runs.replacement import (
    finish_putting_back,
    put_back,
    remove_temporary_parts,
    set_aside,
    waiting_run,
)
from neuron_signatures.runs.safetensors_out import write_safetensors
from neuron_signatures.runs.sharding.locks import refuse_running_shards

if TYPE_CHECKING:
    import torch

Mode = Literal["new", "resume", "overwrite"]
# Files that a folder without a run may have.
_BESIDE_RUN = {LOCK, REPLACED, MOVING, PIPELINE, PIPELINE_LOCK}
# Settings that earlier versions did not record, with the value that they had.
_UNRECORDED = {"backend": EARLIER_BACKEND}


class RunWriter:
    """Writes one run. `open_writer` makes it and holds the run's lock."""

    def __init__(self, run_dir: Path, facts: JSONDict, done: dict[int, ShardRecord]) -> None:
        self.run_dir = run_dir
        self.facts = facts
        """What was recorded when the run was started and need not agree on resume (time, versions, device)."""
        self.finished = False
        self.done = done
        """Shards that are complete on disk and have the recorded checksum, by number."""

    def holds(self, shard: int, name: str, prompt_ids: Sequence[str]) -> bool:
        """Whether the shard is complete on disk, in the file `name` and for these prompts, in their order."""
        record = self.done.get(shard)
        if record is None or [o.prompt_id for o in record.outcomes] != list(prompt_ids):
            return False
        if record.file is None:
            return all(o.failed is not None for o in record.outcomes)
        return record.file.name == name

    def write_shard(
        self,
        shard: int,
        name: str,
        tensors: dict[str, torch.Tensor],
        outcomes: list[PromptOutcome],
        wall_seconds: float,
    ) -> None:
        """Write one shard and add it to the journal. Contiguous CPU tensors, keys as in the manifest."""
        file = _write_tensors(self.run_dir, name, tensors) if tensors else None
        record = ShardRecord(shard=shard, file=file, outcomes=outcomes, wall_seconds=wall_seconds)
        _append(self.run_dir, record.model_dump())
        self.done[shard] = record

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the run complete; then remove the journal and the replaced run."""
        write_manifest(self.run_dir, manifest)
        self.finished = True
        remove_temporary_parts(self.run_dir)


@contextlib.contextmanager
def open_writer(run_dir: Path, mode: Mode, *, settings: JSONDict, facts: JSONDict) -> Iterator[RunWriter]:
    """Lock the folder for writing and yield the writer.

    - "new" creates the folder, and refuses one that is not empty.
    - "resume" continues a stopped dump, or starts one if there is none. It refuses other `settings`, and lists the
      differences.
    - "overwrite" sets an earlier run aside until the new one is complete, and puts it back if the new one fails.
      It touches nothing else in the folder.

    Raises `UsageError`, `BadRunError` or `RunLockedError`.
    """
    check_folder(run_dir, mode)
    with explain_os_errors(run_dir, next_step="Choose another --out_dir or fix its permissions"):
        run_dir.mkdir(parents=True, exist_ok=True)
    with run_lock(run_dir):
        refuse_running_shards(run_dir)
        finish_putting_back(run_dir)
        check_folder(run_dir, mode)  # again: another writer may have been faster
        sweep_leftovers(run_dir)
        if mode == "overwrite":
            set_aside(run_dir)
        writer: RunWriter | None = None
        try:
            writer = _begin(run_dir, mode, settings, facts)
            yield writer
        except Exception:  # not a signal: a stopped dump is resumed
            if mode == "overwrite" and not (writer and writer.finished):
                put_back(run_dir)
            raise


def _begin(run_dir: Path, mode: Mode, settings: JSONDict, facts: JSONDict) -> RunWriter:
    """The writer, once the journal has a header."""
    header, done = read_journal(run_dir) if mode == "resume" else (None, {})
    if header is None:
        header = Header(journal_version=1, settings=settings, facts=facts)
        _append(run_dir, header.model_dump())
    refuse_differences(header.settings, settings, run_dir)
    return RunWriter(run_dir, header.facts, {k: r for k, r in done.items() if r.is_intact(run_dir)})


def tidy(run_dir: Path) -> None:
    """Remove what remains if a process was killed after it wrote the manifest."""
    _refuse_traps(run_dir)
    if (run_dir / JOURNAL).exists() or (run_dir / REPLACED).exists():
        with run_lock(run_dir):
            sweep_leftovers(run_dir)
            remove_temporary_parts(run_dir)


def check_target(run_dir: Path, mode: Mode, *, settings: JSONDict) -> int | None:
    """Raise what `open_writer` would raise later, before a model is loaded. Changes nothing.

    Returns how many shards a stopped dump has finished if `mode` is "resume" and there is one, else None.
    """
    check_folder(run_dir, mode)
    if mode != "resume" or not run_dir.is_dir():
        return None
    header, done = read_journal(run_dir)
    if header is None:
        return None
    refuse_differences(header.settings, settings, run_dir)
    return len(done)


def stored_settings(run_dir: Path) -> JSONDict | None:
    """The settings of the dump that was begun in the folder, or is complete there; None if there is none."""
    if (run_dir / MANIFEST).is_file():
        return dict(read_manifest(run_dir)[0].flags_resolved)
    header = read_journal(run_dir)[0] if run_dir.is_dir() else None
    return None if header is None else header.settings


def refuse_differences(
    before: JSONDict, now: JSONDict, where: Path, *, next_step: str = "Give the same flags, or --overwrite",
    what: str = "cannot resume",
) -> None:  # fmt: skip
    """Raise `UsageError` with the list of settings that differ from those at the start; `what` introduces it."""
    now = json.loads(json.dumps(now))
    before = {**{k: v for k, v in _UNRECORDED.items() if k in now}, **before}
    keys = sorted(before.keys() | now.keys())
    wrong = [f"{k} was {_short(before.get(k))}, is {_short(now.get(k))}" for k in keys if before.get(k) != now.get(k)]
    if wrong:
        raise UsageError(f"{what}: {join_some(wrong, 12)}", where=str(where), next_step=next_step)


def _short(value: Any) -> str:
    return shorten(repr(value), 32)


def check_place(run_dir: Path) -> None:
    """Raise `UsageError` if the folder is a file or lies below one, and `EnvironmentProblem` if it cannot be written.

    Changes nothing.
    """
    with explain_os_errors(run_dir, next_step="Choose another --out_dir"):
        for path in (run_dir, *run_dir.parents):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.lstat()
                if not path.is_dir():
                    what = "is a link to nothing" if not path.exists() else "is a file, not a folder"
                    raise UsageError(what, where=str(path), next_step="Choose another --out_dir")
                if not os.access(path, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                return


def check_folder(run_dir: Path, mode: Mode) -> None:
    """Refuse a target that `mode` must not touch, without changing anything."""
    check_place(run_dir)
    with explain_os_errors(run_dir):
        found = {p.name for p in run_dir.iterdir()} if run_dir.is_dir() else set()
    _refuse_traps(run_dir)
    names = {n for n in found - _BESIDE_RUN if not n.startswith((TMP_PREFIX, SHARD_LOCK))}
    waiting = "" if MANIFEST in names else waiting_run(run_dir)
    if waiting and mode == "new":
        what = f"holds a run that was to be replaced, in {waiting}"
        raise UsageError(what, where=str(run_dir), next_step="Choose another --out_dir, --resume or --overwrite")
    if not names or waiting:
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


def _refuse_traps(run_dir: Path) -> None:
    """Refuse links, and a pipe in the place of the replaced run: `shutil.rmtree` would wait for a writer of it."""
    refuse_links(run_dir, (LOCK, JOURNAL, REPLACED, MOVING))
    for name in (REPLACED, MOVING):
        if (run_dir / name).exists() and not (run_dir / name).is_dir():
            raise BadRunError("is not a folder", where=str(run_dir / name), next_step="Remove it")


def _holds_run(run_dir: Path, names: set[str]) -> bool:
    """Whether these files belong to a run, and not to something else that has a `manifest.json`."""
    if JOURNAL in names or any(map(is_activation_file, names)):
        return True
    try:
        return MANIFEST in names and "hook_name" in read_summary(run_dir)
    except BadRunError:
        return False


def _write_tensors(run_dir: Path, name: str, tensors: dict[str, torch.Tensor]) -> FileRecord:
    needed = sum(t.numel() * t.element_size() for t in tensors.values())
    with whole_file(run_dir, name, needed=needed) as file:
        if name.endswith(".pt"):
            _write_pickled(file, run_dir / name, tensors, needed)
            digest = sha256_of(file)
        else:
            digest = write_safetensors(file, tensors)
        size = file.seek(0, os.SEEK_END)
    return FileRecord(name=name, bytes=size, sha256=digest)


def _write_pickled(file: BinaryIO, path: Path, tensors: dict[str, torch.Tensor], needed: int) -> None:
    import torch

    try:
        torch.save(tensors, file)
    except RuntimeError as e:  # torch 2.13 loses the error number of a write that failed
        reason = " ".join(str(e).split())[:120]
        if "PytorchStreamWriter" in reason or "unexpected pos" in reason:
            raise disk_full(path, needed, reason) from e
        raise EnvironmentProblem(f"cannot be written ({reason})", where=str(path)) from e


def _append(run_dir: Path, record: JSONDict) -> None:
    """Append one line to the journal and sync it; half a line that a killed writer left is removed first."""
    line = json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n"
    give_own_copy(run_dir, JOURNAL)
    with explain_os_errors(run_dir / JOURNAL, needed=len(line)), os.fdopen(open_in_place(run_dir, JOURNAL), "r+b") as f:
        f.truncate(end_of_last_line(f))
        f.seek(0, os.SEEK_END)
        f.write(line)
        f.flush()
        os.fsync(f.fileno())
