"""Activations in the bytes of a safetensors file, without torch."""

from __future__ import annotations

import io
import math
import re

import numpy as np
from jaxtyping import Float32

from neuron_signatures.runs.manifest import DTYPE_BYTES
from neuron_signatures.runs.tensor_index import safetensors_index
from neuron_signatures.runs.tensors import to_float32

_KEY = re.compile(r"L(0|[1-9][0-9]{0,5})")


def layers_of(body: bytes) -> dict[int, Float32[np.ndarray, "pos neuron"]]:
    """The array of each layer, from tensors `L{layer}`. Raises `ValueError` with the reason for anything else."""
    found, n_bytes = {}, len(body) - 8 - int.from_bytes(body[:8], "little")
    for key, entry in safetensors_index(io.BytesIO(body), []).items():
        name = _KEY.fullmatch(key)
        if name is None or entry.dtype not in DTYPE_BYTES or len(entry.shape) != 2:
            raise ValueError(f"tensor {key[:80]!r} is not the activations of a layer")
        size = math.prod(entry.shape) * DTYPE_BYTES[entry.dtype]
        n_bytes -= size
        if n_bytes < 0:  # a small body could otherwise name much memory
            raise ValueError("its tensors overlap")
        raw = memoryview(body)[entry.start : entry.start + size]
        found[int(name[1])] = to_float32(raw, entry.dtype).reshape(entry.shape)
    return found
