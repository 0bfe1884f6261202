"""Memory that is free for a model, and the bar of transformers while it loads the weights."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm import tqdm

MEMINFO = Path("/proc/meminfo")


def free_memory(device: torch.device, *, several: bool) -> int | None:
    """Bytes that are free on `device`, or with `several` on all GPUs; None if the system does not say."""
    if device.type == "cuda":
        devices = range(torch.cuda.device_count()) if several else [device]
        return sum(torch.cuda.mem_get_info(d)[0] for d in devices)
    if device.type != "cpu":
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


@contextlib.contextmanager
def weights_bar(*, show: bool) -> Iterator[None]:
    """Show transformers' bar of the loaded weights on stderr, though the libraries are quiet (transformers 5.23)."""
    if not show:
        yield
        return

    def bar(_: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return tqdm(*args, **{**options, "file": sys.stderr, "leave": False})

    before = transformers.logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        transformers.logging.set_tqdm_hook(before)
