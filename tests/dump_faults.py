"""Dumps that are killed, held up or limited at a chosen point. They run in child processes (`forked`)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from forked import Child, run

from neuron_signatures.poc1_dump_activations import main

Fault = Callable[[], None]


def run_dump(argv: list[str], fault: Fault | None = None):
    """Run stage 1 in a child process, after `fault` has prepared that process."""
    return run(_dump, argv, fault)


def start_dump(argv: list[str], fault: Fault | None = None, **kwargs: Any) -> Child:
    return Child(_dump, argv, fault, **kwargs)


def _dump(argv: list[str], fault: Fault | None) -> int:
    if fault is not None:
        fault()
    return main(argv)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_rename(start: str, nth: int = 1, beside: str | None = None) -> None:
    """Kill the dump before the nth rename to a file whose name begins so; half of the file is left, unrenamed.

    With `beside`, half a file of that name is left too, as a library with its own temporary files leaves it.
    """
    rename, seen = os.replace, []

    def replace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if target.startswith(start):
            seen.append(target)
            if len(seen) == nth:
                fd = os.open(source, os.O_RDWR, dir_fd=src_dir_fd)
                os.ftruncate(fd, os.fstat(fd).st_size // 2)
                if beside:
                    os.write(os.open(beside, os.O_WRONLY | os.O_CREAT, dir_fd=dst_dir_fd), b"half")
                kill()
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    os.replace = replace


def kill_in_journal() -> None:
    """Kill the dump when its journal ends with half of the line of shard 1."""
    sync = os.fsync

    def fsync(fd: int) -> None:
        sync(fd)
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.name == "dump_journal.jsonl" and '"shard": 1' in path.read_text().splitlines()[-1]:
            os.truncate(path, path.stat().st_size - 30)
            kill()

    os.fsync = fsync


def kill_before_manifest() -> None:
    from neuron_signatures.runs.writer import RunWriter

    RunWriter.finish = lambda *_: kill()


LEFTOVER = ".tmp4P32Ed"
KILL_IN_SECOND_SHARD = partial(kill_at_rename, "activations", nth=2)
KILL_IN_MANIFEST = partial(kill_at_rename, "manifest.json")
KILL_WITH_LEFTOVER = partial(kill_at_rename, "activations", beside=LEFTOVER)


def hold(nth: int, journal: Path | None = None) -> None:
    """Print "computing" and sleep for a minute before the nth shard, once `journal` contains the shard before it."""
    from neuron_signatures.dump import dump

    plan, seen = dump.plan_batches, []

    def plan_batches(*args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        if len(seen) == nth:
            while journal and f'"shard": {nth - 2}' not in journal.read_text():
                time.sleep(0.01)
            print("computing", file=sys.stderr, flush=True)
            time.sleep(60)
        return plan(*args, **kwargs)

    dump.plan_batches = plan_batches


def limit_file_size(n_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


SMALL_FILES = partial(limit_file_size, 7000)


def drop_root() -> None:
    """Write the run folder as user nobody."""
    from neuron_signatures.dump import dump

    open_as_root = dump.open_writer

    def open_writer(*args: Any, **kwargs: Any) -> Any:
        if os.getuid() == 0:
            os.seteuid(65534)
        return open_as_root(*args, **kwargs)

    dump.open_writer = open_writer
