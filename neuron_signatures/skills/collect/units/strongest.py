"""The k strongest units of a bank at each token."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

NONE: Final = -1
"""In the place of a unit where fewer than k are active."""
_FEW: Final = 8
"""Up to so many maxima one after the other are faster than `topk` (numpy 2.4 and torch 2.13 on a CPU)."""


class Strongest(NamedTuple):
    """Strongest first: columns of the bank, or `NONE`."""

    unit: Int[Tensor, "token k"]
    value: Float[Tensor, "token k"]


def largest(values: Float[Tensor, "token unit"], k: int) -> Strongest:
    """The k largest values of each row and their columns. Changes `values` on a CPU."""
    if values.device.type != "cpu" or k > _FEW:
        found = values.topk(k, dim=1)
        return Strongest(found.indices, found.values)
    rows, array = np.arange(len(values)), values.numpy()
    unit, value = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
    for rank in range(k):
        at = array.argmax(axis=1)
        unit[:, rank], value[:, rank] = at, array[rows, at]
        array[rows, at] = -np.inf
    return Strongest(torch.from_numpy(unit), torch.from_numpy(value))


def strongest_signed(acts: Float[Tensor, "token unit"], k: int) -> Strongest:
    """The k units with the largest absolute value at each token, by pole."""
    unit, value = largest(acts.abs(), k)
    below = acts.gather(1, unit) < 0
    return Strongest(torch.where(value > 0, unit + below * acts.shape[1], NONE), value)
