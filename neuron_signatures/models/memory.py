"""Memory that is free on a device and on the machine, and ways to give some back."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import torch

from neuron_signatures.runs.host_memory import available_bytes

SMAPS = Path("/proc/self/smaps")
_WEIGHTS: Final = (".safetensors", ".bin", ".gguf")
_DONTNEED: Final = 4  # of madvise, on all processors that Linux runs on but Alpha
_RETURN_SECONDS: Final = 0.1


def free_memory(device: torch.device, *, several: bool) -> int | None:
    """Bytes that are free on `device`, or with `several` on all GPUs; None if the system does not say."""
    if device.type == "cuda":
        devices = range(torch.cuda.device_count()) if several else [device]
        return sum(torch.cuda.mem_get_info(d)[0] for d in devices)
    return available_bytes() if device.type == "cpu" else None


def release_mapped_weights() -> int:
    """Take the pages of weight files that this process has read out of its memory; they are read again when they are
    used. Returns the bytes. Linux only, 0 elsewhere.

    Only mapped files that nothing has written to in memory are released, so no value can change.
    """
    if sys.platform != "linux":
        return 0
    try:
        libc, released = ctypes.CDLL(None, use_errno=True), 0
        for part in _mapped_weights():
            if libc.madvise(ctypes.c_void_p(part.start), ctypes.c_size_t(part.stop - part.start), _DONTNEED) == 0:
                released += part.resident
    except (OSError, AttributeError, ValueError, IndexError, KeyError):
        return 0
    return released


@contextlib.contextmanager
def freed_memory_returned() -> Iterator[None]:
    """While the block runs, give the memory that it frees back to the system (glibc; elsewhere, nothing happens).

    glibc keeps what bitsandbytes 0.50 frees between the weights that it quantises on the CPU: several times the memory
    of the quantised model.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        yield
        return
    done = threading.Event()

    def work() -> None:
        while not done.wait(_RETURN_SECONDS):
            trim(0)

    thread = threading.Thread(target=work, name="return freed memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        trim(0)


class _Mapping(NamedTuple):
    start: int
    stop: int
    resident: int


def _mapped_weights() -> list[_Mapping]:
    """The mapped weight files of this process without pages of their own (written to, so not as on disk)."""
    parts = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", SMAPS.read_text())
    found = []
    for lines in (part.splitlines() for part in parts if part):
        if not lines[0].endswith(_WEIGHTS):
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:] if line.endswith(" kB")}
        start, stop = (int(x, 16) for x in lines[0].split()[0].split("-"))
        if sizes["Anonymous"] == 0:
            found.append(_Mapping(start, stop, sizes["Rss"]))
    return found
