"""How a command ends: one line for a failure, and the documented exit code."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from neuron_signatures.runs.errors import INSTALL_MODELS, ExitCode, ProjectError, StoppedEarly, escape_controls

_MODEL_LIBRARIES = (  # of requirements-models.txt
    "torch", "transformers", "transformer_lens", "tokenizers", "safetensors", "huggingface_hub", "accelerate", "gguf",
    "filelock", "platformdirs", "matplotlib",
)  # fmt: skip


class Main(Protocol):
    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def command(main: Main) -> Main:
    """Make `main` end as documented: one line and the exit code for a `ProjectError` or a missing model library,
    130 on Ctrl-C, 141 when the reader of stdout has closed it, and no `UnicodeEncodeError` in any locale."""

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        _open_streams()
        try:
            code = main(argv)
            sys.stdout.flush()
            return int(code)
        except ProjectError as e:
            sys.stderr.write(f"{'' if isinstance(e, StoppedEarly) else 'error: '}{e.line()}\n")
            return int(e.exit_code)
        except ModuleNotFoundError as e:
            if (e.name or "").partition(".")[0] not in _MODEL_LIBRARIES:
                raise
            sys.stderr.write(f"error: {e.name} is not installed. {INSTALL_MODELS}\n")
            return int(ExitCode.FAILED)
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
