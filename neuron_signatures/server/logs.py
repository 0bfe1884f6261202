"""The log of a server on stderr: uvicorn's messages and tracebacks, with every control character escaped."""

from __future__ import annotations

import logging
import sys
from typing import Final

from neuron_signatures.runs.errors import escape_controls

_HANDLER: Final = "neuron_signatures.server.stderr"


def log_to_stderr() -> None:
    """Log warnings and errors of uvicorn and asyncio, with their tracebacks. Requests are not logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(_Escaped("%(asctime)s %(name)s: %(message)s"))
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        for old in [h for h in logger.handlers if h.get_name() == _HANDLER]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False


class _Escaped(logging.Formatter):
    """Keeps the lines of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(escape_controls(line) for line in super().format(record).splitlines())
