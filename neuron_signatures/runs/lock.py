"""One writer at a time: a lock file that names its holder.

The lock is an advisory lock of the OS on the file; the text in the file (host, pid, job) is for people. The OS releases
the lock on exit, even if the process is killed, so a lock file that is not locked is stale and is taken over.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from neuron_signatures.runs.errors import ProjectError, RunLockedError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.names import LOCK

log = logging.getLogger(__name__)


@contextlib.contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the run folder for writing. Raises `RunLockedError` naming the holder if another process does."""
    path = run_dir / LOCK
    fd = _take(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # an overwritten folder may be gone
            path.unlink()
        os.close(fd)


def holder(run_dir: Path) -> str | None:
    """The recorded writer of the run, as `host h pid 123 since ...`; None without one, or if its process is dead.

    A process on another host cannot be checked: it counts as alive for an hour after the last change in the folder.
    Only reads the file, so that a viewer never blocks a writer.
    """
    try:
        text = (run_dir / LOCK).read_text(encoding="utf-8", errors="replace")
        record = json.loads(text)
        here = record["host"] == socket.gethostname()
        if not (_alive(int(record["pid"])) if here else _recently_changed(run_dir)):
            return None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"
    return _describe(text)


def _take(path: Path) -> int:
    while True:
        with explain_os_errors(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        before = _read(fd)
        if not _try_lock(fd):
            os.close(fd)
            raise RunLockedError(
                f"another process is writing to this run: {_describe(before)}",
                where=str(path.parent),
                next_step="Wait for it to finish, or use another run folder",
            )
        # The last holder may have removed the file between our open and our lock: lock the new file instead.
        if _is_same_file(path, fd):
            break
        os.close(fd)
    if before.strip():
        log.warning("took over the stale lock of %s", _describe(before))
    try:
        with explain_os_errors(path):
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, json.dumps(_me()).encode())
    except ProjectError:
        os.close(fd)
        raise
    return fd


def _is_same_file(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # alive, but owned by another user
        pass
    return True


def _recently_changed(run_dir: Path) -> bool:
    newest = max((p.lstat().st_mtime for p in run_dir.iterdir()), default=0.0)
    return time.time() - newest < 3600


def _me() -> dict[str, str | int | None]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe(text: str) -> str:
    try:
        r = json.loads(text)
        job = f" job {r['job']}" if r["job"] else ""
        return f"host {r['host']} pid {r['pid']}{job} since {r['since']}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"


def _read(fd: int) -> str:
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        return os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:
        return ""


def _try_lock(fd: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(fd, 1 << 20, os.SEEK_SET)  # a byte beyond the text, so that the text stays readable
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
