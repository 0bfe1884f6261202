"""Models that run out of memory above a batch size, with the messages of torch for the three kinds of device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from neuron_signatures.models.capture import decoder_layers

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.25 GiB is "
    "free. Including non-PyTorch memory, this process has 77.80 GiB memory in use. Of the allocated memory "
    "76.00 GiB is allocated by PyTorch, and 1.30 GiB is reserved by PyTorch but unallocated."
)
MPS = (
    "MPS backend out of memory (MPS allocated: 15.72 GiB, other allocations: 512.00 MiB, max allowed: 18.13 GiB). "
    "Tried to allocate 5.81 GiB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for "
    "memory allocations (may cause system failure)."
)
ERRORS: dict[str, Exception] = {
    "cpu": RuntimeError(CPU),
    "cuda": torch.OutOfMemoryError(CUDA),
    "mps": RuntimeError(MPS),
    "python": MemoryError(),
}


@contextlib.contextmanager
def short_of_memory(
    hf: PreTrainedModel, most: int, *, error: Exception = ERRORS["cpu"], gradients: bool = False
) -> Iterator[list[int]]:
    """Within the block, forward passes of more than `most` prompts raise `error`; yields the sizes that were tried.

    With `gradients`, only forward passes that record them.
    """
    tried: list[int] = []

    def check(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled() or not gradients:
            tried.append(len(args[0] if args else kwargs["hidden_states"]))
            if tried[-1] > most:
                raise error

    handle = decoder_layers(hf)[1].register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield tried
    finally:
        handle.remove()
