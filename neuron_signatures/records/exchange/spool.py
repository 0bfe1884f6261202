"""Arrays that grow on disk while records are imported, so that memory does not grow with them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np


class Spool:
    """A flat array in a temporary file, which the system removes."""

    def __init__(self, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the spool
        self.n = 0

    def extend(self, values: Sequence[float | int] | np.ndarray) -> None:
        self._file.write(np.asarray(values, self._dtype).tobytes())
        self.n += len(values)

    def array(self) -> np.ndarray:
        """All values, memory-mapped."""
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=(self.n,)) if self.n else np.empty(0, self._dtype)

    def close(self) -> None:
        self._file.close()


def on_disk(shape: tuple[int, ...], dtype: str, fill: float | int = 0) -> np.ndarray:
    """A writable array in a temporary file, which lives as long as the array."""
    if 0 in shape:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping keeps the file
        array = np.memmap(file, np.dtype(dtype), "w+", shape=shape)
    if fill:
        array[:] = fill
    return array
