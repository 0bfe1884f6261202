"""The terminal as Textual's driver has it, with what Textual 8.2 leaves out: bytes that are no UTF-8 end its input,
SIGTERM, SIGHUP and SIGINT leave the screen as it was drawn, and Ctrl-Z stops a process that no shell wakes up again."""

from __future__ import annotations

import os
import selectors
import signal
from codecs import getincrementaldecoder

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Terminal(LinuxDriver):
    """Not for Windows. A signal of `_ENDING` leaves the browser with the return code 128 + its number."""

    def start_application_mode(self) -> None:
        super().start_application_mode()
        for number in _ENDING:
            self._loop.add_signal_handler(number, self._app.exit, None, 128 + number)

    def suspend_application_mode(self) -> None:
        """The terminal is the shell's now: a signal may end the stopped process as it ends any."""
        super().suspend_application_mode()
        for number in _ENDING:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # asyncio (3.11) leaves KeyboardInterrupt to SIGINT

    @property
    def can_suspend(self) -> bool:
        """Whether a shell with jobs waits for this one; nobody else would let a stopped process go on."""
        shell = os.getppid()
        try:
            return os.getsid(shell) == os.getsid(0) and os.getpgid(shell) != os.getpgrp()
        except OSError:
            return False

    def write(self, data: str) -> None:
        """Dropped once the terminal has gone: the thread that writes has ended then, and its queue would fill up."""
        if self._writer_thread is not None and self._writer_thread.is_alive():
            super().write(data)

    def run_input_thread(self) -> None:
        """As Textual's, but a byte that is no UTF-8 is a key that does nothing, or `�` in a box."""
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
        """What was typed; empty if the terminal has gone, which ends the browser as SIGHUP does."""
        try:
            data = os.read(self.fileno, 4096)
        except OSError:  # Linux: nobody has the other side of the pseudo-terminal
            data = b""
        if not data:
            self._loop.call_soon_threadsafe(self._app.exit, None, 128 + signal.SIGHUP)
        return data
