"""Textual's Linux driver with fixes for Textual 8.2: invalid UTF-8 stops its input; SIGTERM, SIGHUP and SIGINT do not
restore the screen; Ctrl-Z stops a process even if no shell can resume it."""

from __future__ import annotations

import os
import selectors
import signal
from codecs import getincrementaldecoder

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Terminal(LinuxDriver):
    """Not for Windows. A signal in `_ENDING` exits the browser with return code 128 + its number."""

    def start_application_mode(self) -> None:
        super().start_application_mode()
        for number in _ENDING:
            self._loop.add_signal_handler(number, self._app.exit, None, 128 + number)

    def _enable_mouse_support(self) -> None:
        """Ask for clicks and the wheel only: Textual 8.2 also asks for every move, which is traffic over SSH."""
        if self._mouse:
            self.write("\x1b[?1000h\x1b[?1006h")
            self.flush()

    def suspend_application_mode(self) -> None:
        """Restore the default signal handlers, so that signals end the stopped process."""
        super().suspend_application_mode()
        for number in _ENDING:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # asyncio (3.11) would keep its SIGINT handler

    @property
    def can_suspend(self) -> bool:
        """Whether the parent is a shell with job control: only that resumes a stopped process."""
        shell = os.getppid()
        try:
            return os.getsid(shell) == os.getsid(0) and os.getpgid(shell) != os.getpgrp()
        except OSError:
            return False

    def write(self, data: str) -> None:
        """Drop the data if the terminal is closed: the writer thread has ended, and its queue would fill up."""
        if self._writer_thread is not None and self._writer_thread.is_alive():
            super().write(data)

    def run_input_thread(self) -> None:
        """Textual's loop with invalid UTF-8 decoded as `�`: a key without a binding."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")(errors="replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                text = ""
                if selector.select(0.1):
                    data = self._read()
                    if not data:
                        return
                    text = decode(data)
                for event in (*(parser.feed(text) if text else ()), *parser.tick()):
                    self.process_message(event)

    def _read(self) -> bytes:
        """Read typed bytes; empty if the terminal is closed, which ends the browser like SIGHUP."""
        try:
            data = os.read(self.fileno, 4096)
        except OSError:  # Linux: the other side of the pseudo-terminal is closed
            data = b""
        if not data:
            self._loop.call_soon_threadsafe(self._app.exit, None, 128 + signal.SIGHUP)
        return data
