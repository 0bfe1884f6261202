"""One writer at a time: a lock file that names its holder.

The lock is an advisory lock of the OS on the file; the text in the file (host, pid, job) is for people. The OS releases
the lock on exit, even if the process is killed, so a lock file that is not locked is stale and is taken over. Shards of
one computation have a lock each (`runs.sharding.locks`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, RunLockedError
from neuron_signatures.runs.files import explain_os_errors
from neuron_signatures.runs.names import LOCK, SHARD_LOCK
from neuron_signatures.runs.opening import has_second_name, open_in_place, read_regular

log = logging.getLogger(__name__)

_MAX_BYTES = 4096
_UNKNOWN = "an unknown process"
_POLL_SECONDS, _TELL_SECONDS = 0.5, 300.0
_SHORT_SECONDS = 2.0  # shorter waits are not told
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class Holder(BaseModel):
    """The text of a lock file: the process that writes to the run."""

    model_config = ConfigDict(frozen=True, strict=True)

    host: Annotated[str, Field(max_length=255)]
    pid: Annotated[int, Field(ge=1, le=(1 << 31) - 1)]
    job: Annotated[str, Field(max_length=64)] | None
    since: Annotated[str, Field(max_length=64)]

    def describe(self) -> str:
        job = f" job {self.job}" if self.job else ""
        return f"host {self.host} pid {self.pid}{job} since {self.since}"


@contextlib.contextmanager
def run_lock(run_dir: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the run folder for writing. If another process does, wait for its end, or without `wait` raise
    `RunLockedError` naming it."""
    with lock_file(run_dir, LOCK, "another process is writing to this run", wait=wait):
        yield


@contextlib.contextmanager
def lock_file(run_dir: Path, name: str, busy: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `name` of the run folder; `busy` says what its holder does."""
    fd = _wait_for(run_dir, name, busy) if wait else _take(run_dir, name, busy)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # an overwritten folder may be gone
            (run_dir / name).unlink()
        os.close(fd)


def remove_if_free(run_dir: Path, name: str) -> str | None:
    """Remove a lock file that no process holds. Returns the holder if there is one."""
    path = run_dir / name
    with explain_os_errors(path):
        fd = open_in_place(run_dir, name)
    try:
        if not _try_lock(fd, path):
            return _describe(_read(fd))
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(fd)


def holder(run_dir: Path) -> str | None:
    """The recorded writer of the run, as `host h pid 123 since ...`; None without one, or if its process is dead.

    Without a writer of the whole run, that of its first shard. A process on another host cannot be checked: it counts
    as alive for an hour after the last change in the folder. Only reads the files, so that a viewer never blocks a
    writer.
    """
    with contextlib.suppress(OSError):
        shards = sorted(p.name for p in run_dir.glob(f"{SHARD_LOCK}*"))
        return next(filter(None, (_holder_of(run_dir, name) for name in (LOCK, *shards))), None)
    return None


def _holder_of(run_dir: Path, name: str) -> str | None:
    try:
        found = _parse(read_regular(run_dir / name, max_bytes=_MAX_BYTES))
        here = found.host == socket.gethostname()
        if not (_alive(found.pid) if here else _recently_changed(run_dir)):
            return None
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return _UNKNOWN
    return found.describe()


def _wait_for(run_dir: Path, name: str, busy: str) -> int:
    tell_at = time.monotonic() + _SHORT_SECONDS
    while True:
        try:
            return _take(run_dir, name, busy)
        except RunLockedError as e:
            if time.monotonic() >= tell_at:
                tell_at = time.monotonic() + _TELL_SECONDS
                log.info("waiting: %s", e.what)
            time.sleep(_POLL_SECONDS)


def _take(run_dir: Path, name: str, busy: str) -> int:
    path = run_dir / name
    while True:
        with explain_os_errors(path):
            fd = open_in_place(run_dir, name)
        before = _read(fd)
        if not _locked(fd, path):
            os.close(fd)
            raise RunLockedError(
                f"{busy}: {_describe(before)}",
                where=str(path.parent),
                next_step="Wait for it to finish, or use another run folder",
            )
        if has_second_name(fd):  # in a copy by hard links, the text belongs to both: make a file of our own
            with explain_os_errors(path):
                path.unlink(missing_ok=True)
        # The last holder may have removed the file between our open and our lock: lock the new file instead.
        elif _is_same_file(path, fd):
            break
        os.close(fd)
    if before.strip():
        log.warning("took over the stale lock of %s", _describe(before))
    try:
        with explain_os_errors(path):
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, _me().model_dump_json().encode())
    except ProjectError:
        os.close(fd)
        raise
    return fd


def _is_same_file(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
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


def _me() -> Holder:
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        job=os.environ.get("SLURM_JOB_ID"),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _parse(raw: bytes) -> Holder:
    """Raises `ValueError` for a text that is no record of a lock."""
    return Holder.model_validate(parse_json(raw))


def _describe(raw: bytes) -> str:
    try:
        return _parse(raw).describe()
    except ValueError:
        return _UNKNOWN


def _read(fd: int) -> bytes:
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        return os.read(fd, _MAX_BYTES)
    except OSError:
        return b""


def _locked(fd: int, path: Path) -> bool:
    """Whether the lock was free and is ours now. The file is closed if that cannot be known."""
    try:
        return _try_lock(fd, path)
    except EnvironmentProblem:
        os.close(fd)
        raise


def _try_lock(fd: int, path: Path) -> bool:
    """Whether the lock was free. Raises `EnvironmentProblem` if the file system has no locks."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(fd, 1 << 20, os.SEEK_SET)  # a byte beyond the text, so that the text stays readable
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno not in _NO_LOCKS:
            return False
        what, next_step = "this file system has no file locks", "Mount it with them (Lustre: -o flock), or use another"
        raise EnvironmentProblem(what, where=str(path.parent), next_step=next_step) from e
    return True
