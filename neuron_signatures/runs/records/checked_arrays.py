"""An array file whose arrays have the dtypes and shapes that its record says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.stage_meta import AGAIN

Shape = tuple[int | None, ...]
"""None where an axis can have any length."""


def open_checked(path: Path, arrays: Mapping[str, tuple[str, Shape]]) -> ArrayFile:
    """The open file. Raises `BadRunError` for a missing array, or one of another dtype or shape."""
    file = ArrayFile(path)
    try:
        for key, (dtype, shape) in arrays.items():
            found = file.shape(key)
            right = len(found) == len(shape) and all(b in (None, a) for a, b in zip(found, shape, strict=True))
            if file.dtype(key) != np.dtype(dtype) or not right:
                wanted = ", ".join("?" if n is None else str(n) for n in shape)
                what = f"{key} is {file.dtype(key)} {list(found)}, expected {np.dtype(dtype)} [{wanted}]"
                raise damaged(path, what)
    except BaseException:
        file.close()
        raise
    return file


def damaged(path: Path, what: str) -> BadRunError:
    return BadRunError(what, where=str(path), next_step=AGAIN)


def check_starts(starts: np.ndarray, total: int, *, key: str, path: Path) -> None:
    """Raise `BadRunError` unless `starts` ascends from 0 to `total`."""
    if not len(starts) or starts[0] != 0 or starts[-1] != total or (np.diff(starts) < 0).any():
        raise damaged(path, f"{key} does not ascend from 0 to {total}")


def check_neurons(neurons: np.ndarray, *, path: Path) -> None:
    """Raise `BadRunError` unless the neurons ascend by layer and neuron, each once."""
    layer, neuron = neurons[:, 0].astype(np.int64), neurons[:, 1].astype(np.int64)
    if (neurons < 0).any() or (np.diff(layer * (1 << 31) + neuron) <= 0).any():
        raise damaged(path, "its neurons do not ascend by layer and neuron")
