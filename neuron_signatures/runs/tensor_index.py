"""Where the tensors of an activation file are, read from the header of a safetensors file.

Everything in a header is checked before memory is allocated for it: the file may come from a stranger.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple, TypeGuard

from neuron_signatures.runs.bounded_json import check_bounds
from neuron_signatures.runs.manifest import DTYPE_BYTES, PromptRecord

MAX_HEADER = 100_000_000
"""As in the safetensors library."""
MAX_RANK = 8
MAX_SIZE = 1 << 62
_SMALL_HEADER = 1 << 22
_PER_PROMPT = 1 << 10
_PER_CHARACTER = 12  # a character beyond the basic plane in JSON: two \uXXXX
_DTYPES = {"BF16": "bf16", "F16": "fp16", "F32": "fp32"}


class Entry(NamedTuple):
    """One tensor of a file."""

    dtype: str
    """A dtype of the manifest, or the file's own name of another dtype, which no manifest matches."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements."""
    start: int
    """Byte of the first element in the file."""

    @property
    def is_contiguous(self) -> bool:
        return self.strides == contiguous(self.shape)


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a tensor without gaps."""
    return tuple(itertools.accumulate(shape[:0:-1], lambda a, b: a * b, initial=1))[::-1] if shape else ()


def header_limit(prompts: Sequence[PromptRecord]) -> int:
    """The most bytes that the list of these prompts' tensors can need in a file."""
    needed = sum(_PER_PROMPT + _PER_CHARACTER * len(p.activation_tensor_key) for p in prompts)
    return min(MAX_HEADER, _SMALL_HEADER + needed)


def is_shape(value: Any) -> TypeGuard[Sequence[int]]:
    """Whether this is a list or tuple of at most `MAX_RANK` sizes (or strides), each at most `MAX_SIZE`."""
    return isinstance(value, list | tuple) and len(value) <= MAX_RANK and all(map(is_size, value))


def is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE


def safetensors_index(file: BinaryIO, prompts: Sequence[PromptRecord]) -> dict[str, Entry]:
    """The tensors by key. Raises `ValueError` with the reason if the file is not whole or its header too large."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(8)
    if len(start) < 8:
        raise ValueError(f"it has {len(start)} bytes")
    (n,) = struct.unpack("<Q", start)
    if n > size - 8:
        raise ValueError(f"its header is {n} bytes long, the file {size}")
    limit = min(header_limit(prompts), max(_SMALL_HEADER, size - 8 - n))
    if n > limit:
        raise ValueError(f"its header is {n} bytes long, which is too much for {len(prompts)} prompts in {size} bytes")
    raw = file.read(n)
    check_bounds(raw)
    header = json.loads(raw)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    entries, end = {}, 8 + n
    for key, value in header.items():
        entries[key], its_end = _entry(key, value, 8 + n)
        end = max(end, its_end)
    if end != size:
        raise ValueError(f"its tensors end at byte {end}, the file at {size}")
    return entries


def _entry(key: str, value: Any, base: int) -> tuple[Entry, int]:
    """The entry and the byte after its tensor."""
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    offsets, dtype, shape = fields.get("data_offsets"), fields.get("dtype"), fields.get("shape")
    if not (is_shape(offsets) and is_shape(shape) and isinstance(dtype, str)) or len(offsets) != 2:
        raise ValueError(f"tensor {key!r} has an invalid dtype, shape or offsets")
    start, end = offsets
    if dtype in _DTYPES and end - start != math.prod(shape) * DTYPE_BYTES[_DTYPES[dtype]]:
        raise ValueError(f"tensor {key!r} of shape {shape} has {end - start} bytes")
    name = _DTYPES.get(dtype, dtype)
    return Entry(name, tuple(shape), contiguous(shape), base + start), base + end
