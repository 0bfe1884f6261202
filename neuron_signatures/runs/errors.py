"""The project's error types. Each message is one line: where, what, and the next step."""

from __future__ import annotations

from enum import IntEnum

INSTALL_MODELS = "Install it with `pip install neuron-signatures[models]`"


MAX_LINE = 380
"""Longest line of an error, in characters."""


class ExitCode(IntEnum):
    """Exit codes of a stage. If a signal ends it immediately, the code is 128 + the signal number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_RUN = 3
    LOCKED = 4
    RESUMABLE = 75


def escape_controls(text: str) -> str:
    """`text` on one line, with every non-printable character as a Python escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shorten(text: str, length: int) -> str:
    """`text`, or its beginning and end with ` ... ` between them, in at most `length` characters."""
    if len(text) <= length:
        return text
    head = (length - 5) // 2
    return f"{text[:head]} ... {text[-(length - 5 - head) :]}"


class ProjectError(Exception):
    """A failure that the user can act on.

    `what` went wrong, `where` (file, field, prompt, layer; empty if `what` names it), and the `next_step`.
    `str()` joins them into one line of at most `MAX_LINE` characters, without control characters.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.next_step = next_step
        super().__init__(self.line())

    def line(self) -> str:
        where, what, next_step = map(escape_controls, (self.where, self.what, self.next_step))
        if len(where) + len(what) + len(next_step) > MAX_LINE - 4:
            where, next_step = shorten(where, 120), shorten(next_step, 120)
            what = shorten(what, MAX_LINE - 4 - len(where) - len(next_step))
        text = f"{where}: {what}" if where else what
        if next_step:
            text += f"{'' if text.endswith('?') else '.'} {next_step}"
        return text


class EnvironmentProblem(ProjectError):
    """The machine, the network or the model hub lacks something that is needed."""


class UsageError(ProjectError):
    """The flags or the input file are wrong; nothing was written."""

    exit_code = ExitCode.USAGE


class BadRunError(ProjectError):
    """The run folder is corrupt, incomplete or has an unknown format."""

    exit_code = ExitCode.BAD_RUN


class RunLockedError(ProjectError):
    """Another process is writing to the run."""

    exit_code = ExitCode.LOCKED


class StopSignal(BaseException):
    """Raised by a signal handler. Not an `Exception`, so that libraries do not catch it."""


class StoppedEarly(ProjectError):
    """A signal stopped the stage. Finished work is on disk, and the stage can be resumed."""

    exit_code = ExitCode.RESUMABLE
