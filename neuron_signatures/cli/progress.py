"""Progress on stderr: a bar in a terminal, and elsewhere (log files of batch jobs) a line from time to time."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from neuron_signatures.runs.files import human_seconds

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger(__name__)


def progress_of(*, quiet: bool) -> Callable[[str, int], Progress]:
    """Makes the bar of a computation from its unit and number of steps."""
    return lambda unit, total: Progress(total, unit=f" {unit}", quiet=quiet)


class Progress:
    """Shows how much of `total` is done, the rate and the remaining time; nothing if `quiet`.

    Lines come at most every `line_seconds`, so a short computation has none.
    """

    line_seconds = 30.0
    """Of all progress in this process. Longer where the lines of several processes come together."""

    def __init__(self, total: int, *, quiet: bool, unit: str = "tok") -> None:
        terminal = sys.stderr.isatty()
        self._bar = _bar(total, unit) if terminal and not quiet else None
        self._logs = contextlib.ExitStack()
        self._lines = not quiet and not terminal
        self._unit, self._total, self._done, self._skipped = unit.strip(), total, 0, 0
        self._note = ""
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> Progress:
        if self._bar is not None:  # log lines above the bar
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._logs.enter_context(logging_redirect_tqdm([logging.getLogger("neuron_signatures")]))
        return self

    def __exit__(self, *_: object) -> None:
        self._logs.close()
        if self._bar is not None:
            self._bar.close()

    def advance(self, n: int) -> None:
        """`n` more steps are done."""
        self._done += n
        if self._bar is not None:
            self._bar.update(n)
        now = time.monotonic()
        if self._lines and now - self._printed >= self.line_seconds:
            self._printed = now
            log.info("%s", self._line(now - self._started))

    def skip(self, n: int) -> None:
        """`n` steps were done by an earlier process; they do not count for the rate."""
        self._skipped += n
        self._done += n
        if self._bar is not None:
            self._bar.initial += n
            self._bar.update(n)

    def extend(self, n: int) -> None:
        """There are `n` steps more than was known."""
        self._total += n
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.refresh()

    def note(self, text: str) -> None:
        """Shown behind the rate, such as the cost so far."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._skipped) / seconds
        left = f", {human_seconds(max(0, self._total - self._done) / rate)} left" if rate else ""
        share = self._done / max(1, self._total)
        note = f", {self._note}" if self._note else ""
        return f"{self._unit}: {self._done} of {self._total} ({share:.0%}), {rate:.3g} per second{left}{note}"


def _bar(total: int, unit: str) -> tqdm[Any]:
    from tqdm import tqdm

    ascii_only = (sys.stderr.encoding or "").lower().replace("-", "") != "utf8"
    columns = min(shutil.get_terminal_size().columns, 100)  # a terminal that reports 0 columns gets 80
    return tqdm(
        total=total, unit=unit, unit_scale=True, file=sys.stderr, ascii=ascii_only, ncols=columns, nrows=24, leave=False
    )
