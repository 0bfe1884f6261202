"""How a command ends: the one line of a failure, and the documented exit code."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from neuron_signatures.runs.errors import ExitCode, ProjectError, StoppedEarly, escape_controls


class Main(Protocol):
    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def command(main: Main) -> Main:
    """Make `main` end as the documentation says: the one line of a `ProjectError` and its exit code,
    130 on Ctrl-C, 141 when the reader of stdout went away, and no `UnicodeEncodeError` in any locale."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _open_streams()
        try:
            code = main(argv)
            sys.stdout.flush()
            return int(code)
        except StoppedEarly as e:
            sys.stderr.write(f"{e.line()}\n")
            return int(e.exit_code)
        except ProjectError as e:
            sys.stderr.write(f"error: {e.line()}\n")
            return int(e.exit_code)
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # 128 + SIGPIPE, which Windows does not name
        except OSError as e:
            where = f"{e.filename}: " if e.filename else ""
            sys.stderr.write(f"error: {escape_controls(f'{where}{e.strerror or e}')}\n")
            return int(ExitCode.FAILED)
        except MemoryError:
            sys.stderr.write("error: out of memory\n")
            return int(ExitCode.FAILED)
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
            return 128 + signal.SIGINT

    return wrapped


def _open_streams() -> None:
    """No `UnicodeEncodeError` in any locale, and somewhere to write to when a stream was closed (`>&-`)."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  lives as long as the process
        else:
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def ok() -> int:
    return int(ExitCode.OK)
