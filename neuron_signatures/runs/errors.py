"""The project's few error types; each is one line that says what, where and what to do next."""

from __future__ import annotations

from enum import IntEnum

INSTALL_MODELS = "Install it with `pip install neuron-signatures[models]`"


class ExitCode(IntEnum):
    """How a stage ends. A signal that stops it at once gives 128 + its number."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_RUN = 3
    LOCKED = 4
    RESUMABLE = 75


def escape_controls(text: str) -> str:
    """`text` in one line, with every character that is not printable as a Python escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class ProjectError(Exception):
    """A failure that the user can act on.

    `what` went wrong, `where` (file, field, prompt, layer; empty when `what` names it), and
    the `next_step` to take. `str()` joins them into one line without control characters.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.next_step = next_step
        super().__init__(self.line())

    def line(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.next_step:
            text += f"{'' if text.endswith('?') else '.'} {self.next_step}"
        return escape_controls(text)


class EnvironmentProblem(ProjectError):
    """The machine, the network or the model hub does not provide what is needed."""


class UsageError(ProjectError):
    """The flags or the input file are wrong; nothing was written."""

    exit_code = ExitCode.USAGE


class BadRunError(ProjectError):
    """The run folder is corrupt, incomplete or of another format."""

    exit_code = ExitCode.BAD_RUN


class RunLockedError(ProjectError):
    """Another process is writing to the run."""

    exit_code = ExitCode.LOCKED


class StopSignal(BaseException):
    """Raised by a signal handler. No `Exception`, so that no library takes it for a failure of its own."""


class StoppedEarly(ProjectError):
    """A signal asked the stage to stop; what is finished is on disk and the stage can be resumed."""

    exit_code = ExitCode.RESUMABLE
