"""Numpy arrays in a safetensors file: written in one pass, read in parts, without torch.

The format is an 8-byte length, a JSON header, and the arrays' bytes in C order (safetensors 0.8). A file is read
without memory mapping: a file that is replaced while it is open raises an error instead of crashing the process.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neuron_signatures.runs.bounded_json import check_bounds
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.tensor_index import is_shape
from neuron_signatures.runs.tensors import open_run_file, unreadable

_NAMES = {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "|i1", "U8": "|u1", "I16": "<i2", "U16": "<u2", "I32": "<i4",
    "U32": "<u4", "I64": "<i8", "U64": "<u8",
}  # fmt: skip
_NAME_OF = {np.dtype(text): name for name, text in _NAMES.items()}
_MAX_HEADER = 1 << 20
_AT_ONCE = 1 << 26  # bytes that are written at a time


@dataclass(frozen=True)
class LaterArray:
    """An array that is made when it is written, so that not all of a file are in memory together."""

    dtype: np.dtype
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


def write_arrays(
    file: BinaryIO, arrays: Mapping[str, np.ndarray | LaterArray], metadata: Mapping[str, str] | None = None
) -> str:
    """Write arrays (also memory-mapped ones) in the given order; returns the sha256 of what was written.

    Raises `OSError`. At most 64 MB are copied at a time.
    """
    digest = hashlib.sha256()
    for part in (_header(arrays, metadata or {}), *(p for a in arrays.values() for p in _parts(a))):
        digest.update(part)
        file.write(part)
    return digest.hexdigest()


def nbytes(arrays: Mapping[str, np.ndarray | LaterArray]) -> int:
    """Bytes of the arrays in a file, without the header."""
    return sum(a.nbytes for a in arrays.values())


class ArrayFile:
    """An open file of arrays. Raises `BadRunError` with the file and the reason if it is missing or damaged.

    `metadata` is the text that was stored with the arrays. Several threads can read at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = open_run_file(path)
        try:
            self._entries, self.metadata = _index(self._file)
        except (ValueError, RecursionError) as e:
            self._file.close()
            raise BadRunError(f"not a whole safetensors file: {e}", where=str(path)) from e
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def keys(self) -> list[str]:
        return list(self._entries)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._entry(key)[1]

    def dtype(self, key: str) -> np.dtype:
        return self._entry(key)[0]

    def read(self, key: str, *index: int) -> np.ndarray:
        """The array, without the leading axes that `index` selects."""
        shape = self.shape(key)
        if len(index) > len(shape) or any(not 0 <= i < n for i, n in zip(index, shape, strict=False)):
            raise IndexError(f"{key}{list(index)} of shape {list(shape)}")
        inner = shape[len(index) :]
        first = int(np.ravel_multi_index(index, shape[: len(index)])) if index else 0
        return self._values(key, first * math.prod(inner), math.prod(inner)).reshape(inner)

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` (excluded) of the first axis."""
        n, *inner = self.shape(key)
        if not 0 <= start <= stop <= n:
            raise IndexError(f"rows {start} to {stop} of {n} of {key}")
        size = math.prod(inner)
        return self._values(key, start * size, (stop - start) * size).reshape(stop - start, *inner)

    def _entry(self, key: str) -> tuple[np.dtype, tuple[int, ...], int]:
        if key not in self._entries:
            raise BadRunError(f"has no array {key!r}", where=str(self.path))
        return self._entries[key]

    def _values(self, key: str, first: int, n: int) -> np.ndarray:
        dtype, _, at = self._entry(key)
        out = np.empty(n, dtype)
        view, done = out.view(np.uint8).data, 0
        with self._lock:  # between the seek and the last read, no other thread may seek
            try:
                self._file.seek(at + first * dtype.itemsize)
                while done < len(view):
                    got = self._file.readinto(view[done:])  # type: ignore[attr-defined]  # of a raw or buffered reader
                    if not got:
                        raise BadRunError(f"ends {len(view) - done} bytes too early", where=str(self.path))
                    done += got
            except OSError as e:
                raise unreadable(e, self.path) from e
        return out


def _header(arrays: Mapping[str, np.ndarray | LaterArray], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for key, a in arrays.items():
        end = at + a.nbytes
        header[key] = {"dtype": _NAME_OF[a.dtype], "shape": list(a.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the arrays
    return len(text).to_bytes(8, "little") + text


def _parts(array: np.ndarray | LaterArray) -> list[Any]:
    if isinstance(array, LaterArray):
        made = array.make()
        assert (made.dtype, made.shape) == (array.dtype, array.shape)
        array = made
    flat = np.ascontiguousarray(array).reshape(-1)
    n = max(1, _AT_ONCE // flat.itemsize)
    return [flat[i : i + n].view(np.uint8).data for i in range(0, len(flat), n)]


def _index(file: BinaryIO) -> tuple[dict[str, tuple[np.dtype, tuple[int, ...], int]], dict[str, str]]:
    size = os.fstat(file.fileno()).st_size
    n = int.from_bytes(file.read(8), "little")
    if size < 8 or n > min(size - 8, _MAX_HEADER):
        raise ValueError(f"its header is {n} bytes long, the file {size}")
    raw = file.read(n)
    check_bounds(raw)
    header = json.loads(raw)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not texts")
    entries, end = {}, 0
    for key, value in header.items():
        fields = value if isinstance(value, dict) else {}
        shape, offsets, name = fields.get("shape"), fields.get("data_offsets"), fields.get("dtype")
        if not (is_shape(shape) and is_shape(offsets)) or len(offsets) != 2 or name not in _NAMES:
            raise ValueError(f"array {key[:80]!r} has an invalid dtype, shape or offsets")
        dtype = np.dtype(_NAMES[name])
        if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize or offsets[0] != end:
            raise ValueError(f"array {key[:80]!r} of shape {list(shape)} has the wrong size or place")
        entries[key] = (dtype, tuple(shape), 8 + n + offsets[0])
        end = offsets[1]
    if 8 + n + end != size:
        raise ValueError(f"its arrays end at byte {8 + n + end}, the file at {size}")
    return entries, metadata
