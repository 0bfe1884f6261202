"""Helpers of tests that start servers on Linux: ports, processes and waiting."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(done: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `done()` is true; fails after this many seconds."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def processes_of(*arguments: str) -> list[int]:
    """The processes that were started with all these arguments, among others, by Python."""
    found = []
    for pid in _parents():
        with suppress(OSError):
            started = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if "python" in started[0] and set(arguments) <= set(started):
                found.append(pid)
    return found


def processes_with(variable: str) -> list[int]:
    """The processes that were started with this in their environment, as `NAME=value`."""
    found = []
    for pid in _parents():
        with suppress(OSError):
            if variable.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def children(pid: int) -> list[int]:
    return [child for child, parent in _parents().items() if parent == pid]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _parents() -> dict[int, int]:
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                found[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    return found
