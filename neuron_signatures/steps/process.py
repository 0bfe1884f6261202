"""Starting a stage in a subprocess, and passing signals on to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")


class Stopping:
    """Signals of the pipeline: each is passed on to the stage that runs, if there is one."""

    def __init__(self) -> None:
        self.signal = ""
        """The name of the first signal that came."""
        self._process: subprocess.Popen[str] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, no signal of these ends the pipeline; a second one ends it if no stage runs."""
        before = {n: signal.getsignal(getattr(signal, n)) for n in _NAMES if hasattr(signal, n)}
        if before.get("SIGHUP") is signal.SIG_IGN:  # nohup
            del before["SIGHUP"]
        for n in before:
            signal.signal(getattr(signal, n), self._pass_on)
        try:
            yield
        finally:
            for n, handler in before.items():
                signal.signal(getattr(signal, n), handler)

    @contextlib.contextmanager
    def passed_to(self, process: subprocess.Popen[str]) -> Iterator[None]:
        self._process = process
        if self.signal:  # it came while the process was started
            process.send_signal(getattr(signal, self.signal))
        try:
            yield
        finally:
            self._process = None

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._process is None and self.signal:
            os._exit(128 + number)
        self.signal = self.signal or signal.Signals(number).name
        if self._process is not None and os.name != "nt":  # there, Ctrl-C reaches the stage without us
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def run_stage(module: str, argv: Sequence[str], stopping: Stopping, on_line: Callable[[str], None]) -> int:
    """Run `main(argv)` of a stage in a new process, and return its exit code: 128 + n if signal n ended it.

    `on_line` receives the lines of its stdout; its stderr is ours. It is in a session of its own, so that Ctrl-C
    reaches it once, through us.
    """
    command = [sys.executable, "-m", "neuron_signatures.steps.child", str(os.getpid()), module, *argv]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}, start_new_session=os.name != "nt",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        with stopping.passed_to(process):
            for line in process.stdout:
                on_line(line.rstrip("\n"))
            code = process.wait()
    return 128 - code if code < 0 else code
