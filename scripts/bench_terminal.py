"""A pseudo-terminal for benchmarks: runs a program and measures when it paints what."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from types import TracebackType

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_].*?\x1b\\|[ -/]*[0-~])", re.S)
_QUERY_SYNC = b"\x1b[?2026$p"
_SYNC_SUPPORTED = b"\x1b[?2026;2$y"
_END_OF_FRAME = b"\x1b[?2026l"


class Terminal:
    """A program under a pseudo-terminal that reports support for synchronized output, so that Textual marks frames."""

    def __init__(self, argv: Sequence[str], *, columns: int = 80, rows: int = 24) -> None:
        self.cells = columns * rows
        self.started = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES=str(rows))
            os.execv(sys.executable, [sys.executable, *argv])
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.output = b""
        self._answered = False

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def until_painted(self) -> float:
        """Seconds from the start until every cell was written."""
        return self._until(lambda: len(self.text()) >= self.cells, "first paint")

    def until_shows(self, text: str) -> float:
        """Seconds from the start until `text` was written."""
        return self._until(lambda: text.encode() in self.text(), text)

    def press(self, key: bytes) -> tuple[float, bytes]:
        """Seconds from a key press until the next frame was written, and the text of that frame."""
        self.settle()
        begin = len(self.output)
        started = time.perf_counter()
        os.write(self._fd, key)
        self._until(lambda: _END_OF_FRAME in self.output[begin:], repr(key))
        return time.perf_counter() - started, _SEQUENCE.sub(b"", self.output[begin:])

    def settle(self, quiet: float = 0.15) -> None:
        """Wait until the output pauses."""
        while self._read(quiet):
            pass

    def text(self) -> bytes:
        return _SEQUENCE.sub(b"", self.output)

    def _until(self, reached: Callable[[], bool], what: str) -> float:
        while not reached():
            if not self._read(20):
                shown = self.text()[-2000:].decode(errors="replace")
                raise RuntimeError(
                    f"the program wrote nothing for 20 s while waiting for {what}; its last output:\n{shown}"
                )
        return time.perf_counter() - self.started

    def _read(self, timeout: float) -> bool:
        if not select.select([self._fd], [], [], timeout)[0]:
            return False
        try:
            self.output += os.read(self._fd, 1 << 16)
        except OSError as e:  # EIO on Linux: the program has ended
            raise RuntimeError(f"the program ended; it wrote:\n{self.text()[-2000:].decode(errors='replace')}") from e
        if not self._answered and _QUERY_SYNC in self.output:
            os.write(self._fd, _SYNC_SUPPORTED)
            self._answered = True
        return True
