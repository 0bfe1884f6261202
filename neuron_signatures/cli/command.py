"""How a command ends: one line for a failure, and the documented exit code."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TextIO

from neuron_signatures.cli.output import stdout_errors
from neuron_signatures.runs.errors import INSTALL_MODELS, EnvironmentProblem, ExitCode, ProjectError, StoppedEarly
from neuron_signatures.runs.files import DISK_FULL, free_bytes, human_bytes

_MODEL_LIBRARIES = (  # of requirements-models.txt
    "torch", "transformers", "transformer_lens", "tokenizers", "safetensors", "huggingface_hub", "accelerate", "gguf",
    "filelock", "platformdirs", "matplotlib", "sklearn",
)  # fmt: skip
_MAX_TERMINAL_SIZE = 1000
_NOT_DETERMINISTIC = "does not have a deterministic implementation"  # torch 2.13, with `--deterministic`


class Main(Protocol):
    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def command(main: Main) -> Main:
    """Make `main` end as documented: one line and the exit code for a `ProjectError`, a missing model library or an
    error of the system, 130 on Ctrl-C, 141 when the reader of stdout has closed it.

    No locale gives a `UnicodeEncodeError`, and a stderr that cannot be written does not change the exit code.
    """

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _open_streams()
        limit_terminal_size()
        code = _run(main, argv)
        if not _flushed(sys.stdout):
            code = code or ExitCode.FAILED
        _flushed(sys.stderr)
        return int(code)

    return wrapped


def limit_terminal_size() -> None:
    """Bound COLUMNS and LINES, by which libraries pad lines, and remove values that are not sizes."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name)
        if value is None:
            continue
        try:
            size = int(value[:20])
        except ValueError:
            size = 0
        if size > 0:
            os.environ[name] = str(min(size, _MAX_TERMINAL_SIZE))
        else:
            del os.environ[name]


def _run(main: Main, argv: Sequence[str] | None) -> int:
    """The exit code of `main`; a failure is reported on stderr."""
    try:
        return _run_and_flush(main, argv)
    except ProjectError as e:
        _report(f"{'' if isinstance(e, StoppedEarly) else 'error: '}{e.line()}")
        return e.exit_code
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in _MODEL_LIBRARIES:
            raise
        _report(f"error: {e.name} is not installed. {INSTALL_MODELS}")
        return ExitCode.FAILED
    except BrokenPipeError:
        _discard(sys.stdout)
        return 141  # 128 + SIGPIPE, which Windows does not name
    except OSError as e:
        _report(f"error: {EnvironmentProblem(e.strerror or str(e), where=_place(e)).line()}")
        return ExitCode.FAILED
    except RuntimeError as e:
        if _NOT_DETERMINISTIC not in str(e):
            raise
        what = str(e).partition(_NOT_DETERMINISTIC)[0] + "has no deterministic implementation on this device"
        _report(f"error: {EnvironmentProblem(what, next_step='Use --device cpu, or omit --deterministic').line()}")
        return ExitCode.FAILED
    except MemoryError:
        _report("error: out of memory")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        _report("stopped")
        return 128 + signal.SIGINT


def _run_and_flush(main: Main, argv: Sequence[str] | None) -> int:
    try:
        code = main(argv)
    except SystemExit:  # of --help
        with stdout_errors():
            sys.stdout.flush()
        raise
    with stdout_errors():
        sys.stdout.flush()
    return code


def _place(e: OSError) -> str:
    """The file of the error. If a library does not name it and the disk is full: the folders that libraries use."""
    if e.filename is not None or e.errno not in DISK_FULL:
        return str(e.filename or "")
    places = []
    for folder in dict.fromkeys((os.environ.get("TMPDIR", "/tmp"), os.path.expanduser("~/.cache"), ".")):  # noqa: PTH111
        with contextlib.suppress(OSError):
            places.append(f"{folder} ({human_bytes(free_bytes(Path(folder)))} free)")
    return "one of " + ", ".join(places)


def _report(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")


def _flushed(stream: TextIO) -> bool:
    """Whether everything was written. Otherwise the rest is discarded, so that Python does not fail at its end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        _discard(stream)
        return False
    return True


def _discard(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_streams() -> None:
    """Escape what the locale cannot encode, and replace a stream that was closed (`>&-`) by the null device."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  lives as long as the process
        else:
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def ok() -> int:
    return int(ExitCode.OK)
