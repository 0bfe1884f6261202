"""How much memory this process can still get from the system."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path


def available_bytes() -> int | None:
    """The memory available on this machine, or what is left of the process's own limit (`ulimit -v`, `ulimit -d`).

    None where the system does not say (only Linux does).
    """
    if sys.platform != "linux":
        return None
    import resource

    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        found.append(_field("/proc/meminfo", "MemAvailable"))
        for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            most, _ = resource.getrlimit(limit)
            if most != resource.RLIM_INFINITY:
                found.append(max(0, most - _field("/proc/self/status", used)))
    return min(found, default=None)


def _field(file: str, name: str) -> int:
    """The bytes of the line `name: N kB`."""
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
