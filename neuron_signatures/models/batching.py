"""Running a batch in halves when the device is out of memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from neuron_signatures.runs.errors import EnvironmentProblem

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def run_in_halves(
    run: Callable[[Sequence[int]], Result],
    batch: Sequence[int],
    *,
    unit: str,
    too_large: Callable[[int], EnvironmentProblem],
) -> Iterator[Result]:
    """Yield `run(batch)`, or, if the device is out of memory, the results of its halves, in the order of the batch.

    `batch` are indices of the items to run together. A half is halved again if necessary, each time with a warning
    that counts the items in `unit` ("prompts"). If a single item does not fit, `too_large(index)` is raised. Other
    errors are passed on.
    """
    try:
        result = run(batch)
    except RuntimeError as e:
        if not is_out_of_memory(e):
            raise
        if len(batch) == 1:
            raise too_large(batch[0]) from e
    else:
        yield result
        return
    # outside of `except`: inside, the traceback would keep the memory of the batch alive
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    log.warning("out of memory with %d %s in a batch; going on with %d", len(batch), unit, half)
    for part in (batch[:half], batch[half:]):
        yield from run_in_halves(run, part, unit=unit, too_large=too_large)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device has too little memory. CUDA has its own error type; CPU and MPS only a text (torch 2.13)."""
    signs = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)
