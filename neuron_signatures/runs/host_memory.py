"""Memory of this machine that the process can still get. Needs no library."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Final, NamedTuple

MEMINFO: Final = Path("/proc/meminfo")
CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")


class Limit(NamedTuple):
    """Of a control group, in bytes, and what it uses without what the kernel can drop (cached files)."""

    most: int
    used: int


def available_bytes() -> int | None:
    """The memory available on this machine, or what is left of the process's own limits: `ulimit -v`, `ulimit -d`, and
    those of its control groups (a container, a job of Slurm).

    None where the system does not say (only Linux does).
    """
    if sys.platform != "linux":
        return None
    import resource

    found = [max(0, limit.most - limit.used) for limit in cgroup_limits()]
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError):
        found.append(_field(MEMINFO, "MemAvailable"))
        for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            most, _ = resource.getrlimit(kind)
            if most != resource.RLIM_INFINITY:
                found.append(max(0, most - _field(Path("/proc/self/status"), used)))
    return min(found, default=None)


def total_bytes() -> int | None:
    """The memory of this machine, or the least limit of a control group of this process; None if unknown."""
    if sys.platform != "linux":
        return None
    found = [limit.most for limit in cgroup_limits()]
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError):
        found.append(_field(MEMINFO, "MemTotal"))
    return min(found, default=None)


def cgroup_limits(root: Path = CGROUPS, membership: Path = _MEMBERSHIP) -> list[Limit]:
    """The memory limits of the control groups of this process, versions 1 and 2, and of those around them."""
    try:
        lines = membership.read_text().splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            names, top = ("memory.max", "memory.current", "inactive_file"), root
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "memory"
        else:
            continue
        # in a container the path is that of the host, and its own group is the top
        parts = [p for p in place.split("/") if p not in ("", "..")]
        for n in range(len(parts), -1, -1):
            limit = _limit(top.joinpath(*parts[:n]), *names)
            found += [] if limit is None else [limit]
    return found


def _limit(group: Path, most: str, used: str, droppable: str) -> Limit | None:
    """Of one group; None if it has none."""
    try:
        text = (group / most).read_text().strip()
        if text == "max" or int(text) >= 1 << 60:  # version 1 writes the largest number of pages
            return None
        cached = next(int(line.split()[1]) for line in (group / "memory.stat").read_text().splitlines()
                      if line.startswith(f"{droppable} "))  # fmt: skip
        return Limit(int(text), max(0, int((group / used).read_text()) - cached))
    except (OSError, ValueError, StopIteration, IndexError):
        return None


def _field(file: Path, name: str) -> int:
    """The bytes of the line `name: N kB`."""
    lines = file.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
