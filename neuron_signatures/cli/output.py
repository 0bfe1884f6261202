"""Output of a command: results to stdout, logs to stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

from neuron_signatures.runs.errors import MAX_LINE, EnvironmentProblem, escape_controls, shorten

_HANDLER = "neuron_signatures.stderr"


def setup_logging(*, quiet: bool) -> None:
    """Log to stderr: everything from INFO, or from WARNING if `quiet`."""
    project = logging.getLogger("neuron_signatures")
    for handler in [h for h in project.handlers if h.get_name() == _HANDLER]:
        project.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(_OneLine("%(message)s"))
    project.addHandler(handler)
    project.setLevel(logging.WARNING if quiet else logging.INFO)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shorten(escape_controls(super().format(record)), MAX_LINE)


def emit(text: str) -> None:
    """Write one result line to stdout. Raises `EnvironmentProblem` if stdout is a file on a full disk."""
    with stdout_errors():
        sys.stdout.write(text + "\n")


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Turn an `OSError` from writing to stdout into an `EnvironmentProblem`, except for a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as e:
        raise EnvironmentProblem(e.strerror or str(e), where="standard output") from e


def emit_json(record: Any) -> None:
    """Write `record` to stdout as one line of strict JSON."""
    emit(json.dumps(record, ensure_ascii=True, allow_nan=False))
