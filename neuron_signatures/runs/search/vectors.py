"""`vectors.safetensors`: a unit vector of each text, by id. They are stored as float16 and compared as float32.

A cosine of vectors that were rounded to float16 differs from that of the model's by less than 0.001.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.records.checked_arrays import open_checked
from neuron_signatures.runs.search.database import AGAIN

KEY: Final = "vectors"
STORED: Final = np.dtype("<f2")
MAX_BYTES: Final = 8 << 30
"""Of all vectors in memory."""
_AT_ONCE: Final = 1 << 14
_NORM: Final = 0.01


def read_vectors(path: Path, n: int, dimensions: int) -> Float32[np.ndarray, "text dim"]:
    """Of the texts 0 to n - 1. Raises `BadRunError` for a file of another shape and for vectors not of length 1."""
    if n * dimensions * 4 > MAX_BYTES:
        raise BadRunError(f"{n} vectors of {dimensions} numbers do not fit into {MAX_BYTES} bytes", where=str(path))
    found = np.empty((n, dimensions), np.float32)
    with open_checked(path, {KEY: (STORED.str, (n, dimensions))}) as file:
        for start in range(0, n, _AT_ONCE):
            _read(file, found, start, min(start + _AT_ONCE, n))
    return found


def cosines(
    vectors: Float32[np.ndarray, "text dim"], query: Float32[np.ndarray, " dim"]
) -> Float32[np.ndarray, " text"]:
    """Of every text with the query, whose length does not matter. Raises `UsageError` for one that is no direction."""
    if query.shape != vectors.shape[1:]:
        what = f"the query has {query.size} numbers, the vectors of the index {vectors.shape[1]}"
        raise UsageError(what, next_step="Embed it by the model of the index")
    norm = float(np.linalg.norm(query.astype(np.float64)))
    if not np.isfinite(norm) or norm == 0:
        raise UsageError("the vector of the query is zero or not finite")
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # On two cores, threads of torch that wait for work slow those of numpy: some queries took four times as long.
    with threadpool_limits(1, "blas"):
        found: np.ndarray = vectors @ (query / norm).astype(np.float32)
    return found


def _read(file: ArrayFile, found: np.ndarray, start: int, stop: int) -> None:
    block = file.rows(KEY, start, stop).astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", block, block))
    if not (np.abs(norms - 1) < _NORM).all():  # also NaN
        raise BadRunError("has a vector that is not of length 1", where=str(file.path), next_step=AGAIN)
    found[start:stop] = block
