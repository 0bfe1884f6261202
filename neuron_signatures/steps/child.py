"""A stage in a process of its own, which stops when the pipeline that started it is killed (Linux only)."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """`argv`: the process id of the pipeline, the module of the stage, and its flags."""
    parent, name, *flags = argv
    _stop_with(int(parent))
    module = import_module(f"neuron_signatures.{name}")
    sys.argv = [str(module.__file__), *flags]
    return int(module.main(flags))


def _stop_with(parent: int) -> None:
    """Ask the system for SIGTERM when the parent ends, so that no stage is left that holds the lock of the run."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
