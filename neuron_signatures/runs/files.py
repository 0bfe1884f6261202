"""Files that are whole or absent: written beside their place, synced, then renamed."""

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

from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError
from neuron_signatures.runs.names import TMP_PREFIX

# What holds for every stage; a stage with a flag for the folder names it.
ELSEWHERE = "Mend the permissions, or use another folder"

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


@contextlib.contextmanager
def whole_file(path: Path, *, needed: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends, `path` is that file, complete and synced.

    If the block fails, `path` is untouched and the temporary file is gone. A process that is killed leaves
    a file whose name starts with `.tmp-`, which readers ignore and `sweep_leftovers` removes. The file's
    mode follows the umask. Raises `EnvironmentProblem` when there is no room or no permission; `needed`
    (bytes) goes into that message.
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
    """Remove those of these files of one folder that are there, and sync the folder, so that they stay removed."""
    for path in paths:
        with explain_os_errors(path):
            path.unlink(missing_ok=True)
    if paths:
        _fsync(paths[0].parent)


@contextlib.contextmanager
def explain_os_errors(path: Path, *, needed: int = 0, next_step: str = ELSEWHERE) -> Iterator[None]:
    """Turn an `OSError` about writing `path` into an `EnvironmentProblem` of one line; `next_step` where it cannot be
    written."""
    try:
        yield
    except ProjectError:
        raise
    except OSError as e:
        raise write_problem(path, e, needed=needed, next_step=next_step) from e


def write_problem(path: Path, error: OSError, *, needed: int = 0, next_step: str = ELSEWHERE) -> EnvironmentProblem:
    if error.errno in _NO_ROOM:
        return no_room(path, needed, error.strerror or "no space left")
    return EnvironmentProblem(f"cannot write ({error.strerror or error})", where=str(path), next_step=next_step)


def no_room(path: Path, needed: int, reason: str) -> EnvironmentProblem:
    """The error for a write that did not fit: on the disk, or (EFBIG, EDQUOT) into a limit on files or a quota."""
    room = human_bytes(free_bytes(path.parent))
    what = f"{reason}: {human_bytes(needed)} needed, {room} free" if needed else f"{reason}: {room} free"
    return EnvironmentProblem(
        what,
        where=str(path),
        next_step="Make room (or raise the file size limit or quota), then run again; what is finished is kept",
    )


def write_json(path: Path, record: Any) -> None:
    """Write strict JSON (no NaN), indent 2, UTF-8, whole or not at all."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path, needed=len(text)) as tmp:
        tmp.write_text(text, encoding="utf-8", newline="\n")


def sha256_file(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sweep_leftovers(folder: Path) -> list[str]:
    """Remove what a killed writer left in `folder`; returns the names. Call it only with the lock held."""
    swept = [p for p in folder.iterdir() if p.name.startswith(TMP_PREFIX) and not p.is_dir()]
    for p in swept:
        p.unlink(missing_ok=True)
    return [p.name for p in swept]


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk of `folder`, or of its nearest existing parent."""
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
    if path.is_dir() and os.name == "nt":  # Windows has no handle on folders to sync
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _umask() -> int:
    # The only portable way to read the umask is to set it; the window is closed at once.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
