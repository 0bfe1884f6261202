"""Atomic writes: a file is written under a temporary name in the same folder, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.names import TMP_PREFIX
from neuron_signatures.runs.opening import (
    create_file,
    folder_below,
    open_regular,
    remove_file,
    replace_file,
    sync_folder,
)  # fmt: skip

# Valid for every stage; a stage that has a flag for the folder names the flag instead.
ELSEWHERE = "Fix the permissions, or use another folder"

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


@contextlib.contextmanager
def whole_file(folder: Path, name: str, *, below: str = "", needed: int = 0) -> Iterator[BinaryIO]:
    """Yield a new temporary file; at the end of the block, rename it to `name`, complete and synced.

    The file lies in the subfolder `below` of `folder`; neither the subfolder nor the file is opened through a link. If
    the block fails, an earlier file stays unchanged and the temporary one is removed. A killed process leaves a file
    whose name starts with `.tmp-`, which readers ignore and `sweep_leftovers` removes. The file mode follows the umask.
    Raises `EnvironmentProblem` if the disk is full or the folder is not writable; `needed` (bytes) is for the message.
    """
    tmp = f"{TMP_PREFIX}-{name}-{os.getpid()}-{secrets.token_hex(6)}"
    with explain_os_errors(folder / below / name, needed=needed), folder_below(folder, below) as at:
        try:
            with create_file(at, tmp) as f:
                yield f
                f.flush()
                os.fsync(f.fileno())
            replace_file(at, tmp, name)
            sync_folder(at)
        finally:
            with contextlib.suppress(OSError):
                remove_file(at, tmp)


def remove_files(folder: Path, names: Sequence[str], *, below: str = "") -> None:
    """Remove files of one folder, ignoring missing ones, and sync the folder, so that they stay removed."""
    with explain_os_errors(folder / below), folder_below(folder, below) as at:
        for name in names:
            remove_file(at, name)
        sync_folder(at)


@contextlib.contextmanager
def explain_os_errors(path: Path, *, needed: int = 0, next_step: str = ELSEWHERE) -> Iterator[None]:
    """Turn an `OSError` from writing `path` into an `EnvironmentProblem`; `next_step` is for missing permissions."""
    try:
        yield
    except OSError as e:
        if e.errno in DISK_FULL:
            raise disk_full(path, needed, e.strerror or "no space left") from e
        raise EnvironmentProblem(f"cannot write ({e.strerror or e})", where=str(path), next_step=next_step) from e


def disk_full(path: Path, needed: int, reason: str) -> EnvironmentProblem:
    """The error for a full disk, or (EFBIG, EDQUOT) for an exceeded file size limit or quota."""
    free = human_bytes(free_bytes(path.parent))
    what = f"{reason}: {human_bytes(needed)} needed, {free} free" if needed else f"{reason}: {free} free"
    return EnvironmentProblem(
        what,
        where=str(path),
        next_step="Free some space (or raise the file size limit or quota), then run again; finished work is kept",
    )


def json_text(record: Any) -> str:
    """Strict JSON (no NaN), indent 2."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(folder: Path, name: str, text: str, *, below: str = "") -> None:
    """Write UTF-8 text atomically, as `whole_file` does."""
    raw = text.encode("utf-8")
    with whole_file(folder, name, below=below, needed=len(raw)) as f:
        f.write(raw)


def sha256_file(path: Path) -> str:
    with open_regular(path) as f:
        return sha256_of(f)


def sha256_of(file: BinaryIO) -> str:
    """The checksum of the file from its beginning."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # has `readinto`


def sweep_leftovers(folder: Path) -> list[str]:
    """Remove the temporary files of killed writers in `folder`; returns their names. The caller holds the lock."""
    swept = [p for p in folder.iterdir() if p.name.startswith(TMP_PREFIX) and not p.is_dir()]
    for p in swept:
        p.unlink(missing_ok=True)
    return [p.name for p in swept]


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of `folder`, or of its nearest existing parent."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def human_bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def counted(n: int, noun: str) -> str:
    """`1 window`, `1,234 windows`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def human_seconds(seconds: float) -> str:
    """A time in seconds, minutes or hours, rounded; at least a second."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
