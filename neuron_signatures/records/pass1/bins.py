"""The bins of the histograms: by sign and magnitude, asinh-spaced, found by a table instead of a search."""

from __future__ import annotations

import functools

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

N_MAGNITUDES = 48
"""Bins on each side of 0."""
_SCALE, _LARGEST = 0.02, 300.0
"""Magnitudes grow linearly below the scale and by a constant factor above it; the last bin is open."""


@functools.cache
def edges() -> Float32[np.ndarray, " edge"]:
    """Lower edges of the magnitude bins, the first 0; every edge is a bfloat16 number."""
    steps = np.arange(N_MAGNITUDES) * np.arcsinh(_LARGEST / _SCALE) / (N_MAGNITUDES - 1)
    found = _cut((_SCALE * np.sinh(steps)).astype(np.float32))
    assert (np.diff(found) > 0).all()
    return found


@functools.cache
def _table() -> Int[Tensor, " pattern"]:
    """The bin of each pattern of the upper 16 bits of a float32.

    The edges are bfloat16 numbers, so a magnitude and its upper 16 bits lie in the same bin.
    """
    patterns = np.arange(1 << 16, dtype=np.uint32)
    magnitudes = ((patterns & 0x7FFF) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):
        bins = np.searchsorted(edges(), magnitudes, side="right") - 1
    return torch.from_numpy(np.where(patterns >> 15, N_MAGNITUDES - 1 - bins, N_MAGNITUDES + bins))


def columns(values: Float[Tensor, "..."]) -> Int[Tensor, "..."]:
    """The column of each finite value: ascending, `N_MAGNITUDES` columns for negative values and as many for others."""
    bits = (values.float() + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    table = _table_on(values.device)
    return table.index_select(0, (bits >> 16).bitwise_and_(0xFFFF).reshape(-1)).view(values.shape)


@functools.cache
def _table_on(device: torch.device) -> Int[Tensor, " pattern"]:
    return _table().to(device)


def _cut(values: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """The values with the lower 16 bits set to 0."""
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
