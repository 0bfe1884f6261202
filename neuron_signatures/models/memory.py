"""Memory that is free on a device and on the machine."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")


def free_memory(device: torch.device, *, several: bool) -> int | None:
    """Bytes that are free on `device`, or with `several` on all GPUs; None if the system does not say."""
    if device.type == "cuda":
        devices = range(torch.cuda.device_count()) if several else [device]
        return sum(torch.cuda.mem_get_info(d)[0] for d in devices)
    return available_bytes() if device.type == "cpu" else None


def available_bytes() -> int | None:
    """The memory available on this machine, or what is left of the process's own limit (`ulimit -v`, `ulimit -d`).

    None where the system does not say (only Linux does).
    """
    if sys.platform != "linux":
        return None
    import resource

    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError):
        found.append(_field(MEMINFO, "MemAvailable"))
        for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            most, _ = resource.getrlimit(limit)
            if most != resource.RLIM_INFINITY:
                found.append(max(0, most - _field(Path("/proc/self/status"), used)))
    return min(found, default=None)


def _field(file: Path, name: str) -> int:
    """The bytes of the line `name: N kB`."""
    lines = file.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
