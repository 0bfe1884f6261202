"""Child processes that start in milliseconds, for tests that kill, signal or limit a dump.

A server process imports what a dump needs, once per pytest process, and forks every child. It has no threads, so
forking it is safe; the pytest process itself is never forked. Libraries have read their environment variables before
the fork: a test of those variables needs a new interpreter.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from types import ModuleType
from typing import Any

# Windows has no fork: children there are new interpreters.
_context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
if os.name == "posix":
    _context.set_forkserver_preload(["neuron_signatures.dump.dump", "neuron_signatures.dump.plan"])


class Child:
    """A running child process that calls `function(*args)` and exits with what it returns."""

    def __init__(self, function: Callable[..., int | None], *args: Any, stderr: str | None = None) -> None:
        """Start the process; stdout and stderr go to files, or stderr to the path given (for example, a terminal)."""
        self._folder = tempfile.TemporaryDirectory(prefix="child-")
        self._out, self._err = (Path(self._folder.name) / name for name in ("out", "err"))
        call = (function, args, dict(os.environ), str(self._out), stderr or str(self._err))
        self.process = _context.Process(target=_call, args=call, daemon=True)
        with _no_main():
            self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def stderr(self) -> str:
        return _text(self._err)

    def wait_for(self, text: str, timeout: float = 300) -> None:
        """Return when stderr contains the text."""
        deadline = time.monotonic() + timeout
        while text not in self.stderr:
            assert self.process.is_alive(), f"exit {self.process.exitcode} without {text!r}: {self.stderr}"
            assert time.monotonic() < deadline, f"no {text!r} in: {self.stderr}"
            time.sleep(0.01)

    def wait(self, timeout: float = 300) -> CompletedProcess[str]:
        """The exit code (minus the signal's number if killed) and the output, as `subprocess.run` gives them."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutExpired(repr(self.process), timeout, stderr=self.stderr)
        done = CompletedProcess([], self.process.exitcode, _text(self._out), self.stderr)
        self._folder.cleanup()
        return done


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Children run the main module again; AppTest (Streamlit 1.67) leaves a page's script as that. Here it is none."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def run(function: Callable[..., int | None], *args: Any) -> CompletedProcess[str]:
    """Call the function in a child process and wait for its end."""
    return Child(function, *args).wait()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""  # absent if the child was not started or writes to a terminal


def _call(function: Callable[..., int | None], args: tuple[Any, ...], env: dict[str, str], out: str, err: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    for fd, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
    sys.exit(function(*args))
