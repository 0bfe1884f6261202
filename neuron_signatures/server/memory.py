"""How much memory the server and its machine have, and giving it back after a model."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
import traceback

import psutil
import torch

from neuron_signatures.api.models import DeviceMemory
from neuron_signatures.runs.host_memory import available_bytes


def gpus() -> list[DeviceMemory]:
    """The CUDA devices; empty without one. `used_by_server` is what torch has reserved."""
    if not torch.cuda.is_available():
        return []
    return [_gpu(index) for index in range(torch.cuda.device_count())]


def ram() -> DeviceMemory:
    """The machine's memory. `free` is what can be had without swapping, or what is left of the process's limit
    (`ulimit -v`) if that is less; `used_by_server` is the resident memory, with mapped weight files."""
    memory = psutil.virtual_memory()
    return DeviceMemory(
        device="cpu",
        name=platform.processor() or platform.machine() or "cpu",
        total=memory.total,
        free=min(memory.available, available_bytes() or memory.available),
        used_by_server=psutil.Process().memory_info().rss,
    )


def free_caches() -> None:
    """Give memory that is no longer used back to the device and to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
        if trim is not None:
            trim(0)


def forget_frames(error: BaseException) -> None:
    """Drop the local variables that the tracebacks of an exception and its causes hold, such as tensors."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        traceback.clear_frames(cause.__traceback__)
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__


def _gpu(index: int) -> DeviceMemory:
    free, total = torch.cuda.mem_get_info(index)
    return DeviceMemory(
        device=f"cuda:{index}",
        name=torch.cuda.get_device_name(index),
        total=total,
        free=free,
        used_by_server=torch.cuda.memory_reserved(index),
    )
