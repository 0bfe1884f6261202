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
from typing import Any

from neuron_signatures.runs.errors import EnvironmentProblem
from neuron_signatures.runs.names import TMP_PREFIX

# Valid for every stage; a stage that has a flag for the folder names the flag instead.
ELSEWHERE = "Fix the permissions, or use another folder"

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


@contextlib.contextmanager
def whole_file(path: Path, *, needed: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`; at the end of the block, rename that file to `path`, complete and synced.

    If the block fails, `path` stays unchanged and the temporary file is removed. A killed process leaves a file whose
    name starts with `.tmp-`, which readers ignore and `sweep_leftovers` removes. The file mode follows the umask.
    Raises `EnvironmentProblem` if the disk is full or the folder is not writable; `needed` (bytes) is for the message.
    """
    tmp = path.with_name(f"{TMP_PREFIX}-{path.name}-{os.getpid()}-{secrets.token_hex(3)}")
    try:
        with explain_os_errors(path, needed=needed):
            yield tmp
            tmp.chmod(0o666 & ~_umask())
            _fsync(tmp)
            tmp.replace(path)
            _fsync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            tmp.unlink(missing_ok=True)


def remove_files(paths: Sequence[Path]) -> None:
    """Remove files of one folder, ignoring missing ones, and sync the folder, so that they stay removed."""
    for path in paths:
        with explain_os_errors(path):
            path.unlink(missing_ok=True)
    if paths:
        _fsync(paths[0].parent)


@contextlib.contextmanager
def explain_os_errors(path: Path, *, needed: int = 0, next_step: str = ELSEWHERE) -> Iterator[None]:
    """Turn an `OSError` from writing `path` into an `EnvironmentProblem`; `next_step` is for missing permissions."""
    try:
        yield
    except OSError as e:
        if e.errno in _DISK_FULL:
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


def write_json(path: Path, record: Any) -> None:
    """Write strict JSON (no NaN), indent 2, UTF-8, atomically."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with whole_file(path, needed=len(text)) as tmp:
        tmp.write_text(text, encoding="utf-8", newline="\n")


def sha256_file(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


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


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot sync a folder
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _umask() -> int:
    # The only portable way to read the umask is to set it; restore it immediately.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
