"""Directions files for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.runs.skills.directions import Made, write_directions

MADE = Made("other", model_name="demo", seed=0)


def random_rows(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Unit vectors, float32."""
    rows = np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def directions_file(
    path: Path, *, width: int, layers: Sequence[int] = (0, 1), n: int = 6, source: str = "random", site: str = "res",
    more: Mapping[str, Any] | None = None, made: Made = MADE,
) -> Path:  # fmt: skip
    """A file of random directions, with further arrays."""
    arrays = {f"{source}.{site}.{layer}": random_rows(n, width, layer) for layer in layers}
    write_directions(path, {**arrays, **(more or {})}, made)
    return path
