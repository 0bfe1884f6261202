"""How fast this machine is, for forecasts: measured for matrix products, recorded for the model."""

from __future__ import annotations

import time

import torch

from neuron_signatures.runs.records.reader import Records

_SIZE = 512
_TIMES = 8


def matmul_speed() -> float:
    """Operations per second of a float32 matrix product on the CPU, measured in a few milliseconds."""
    a = torch.ones(_SIZE, _SIZE)
    torch.mm(a, a)
    start = time.perf_counter()
    for _ in range(_TIMES):
        torch.mm(a, a)
    return 2 * _SIZE**3 * _TIMES / max(1e-9, time.perf_counter() - start)


def model_seconds(records: Records, n_tokens: int) -> float | None:
    """Time to run the model over so many tokens, at the speed of the first pass of the records; None if unknown."""
    speed = records.meta.tokens_per_second
    if n_tokens == 0:
        return 0.0
    return n_tokens / speed if speed else None
