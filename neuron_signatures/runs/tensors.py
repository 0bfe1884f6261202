"""Reading parts of activation files, as float32 numpy arrays.

A safetensors file is read without torch and without memory mapping, so that a file that is replaced while a viewer has
it open raises an error instead of crashing the process. A `.pt` file needs torch, which maps it (`weights_only=True`).
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import INSTALL_MODELS, BadRunError, EnvironmentProblem
from neuron_signatures.runs.manifest import DTYPE_BYTES, Dtype, PromptRecord

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float32

_SAFETENSORS_DTYPES: dict[str, Dtype] = {"BF16": "bf16", "F16": "fp16", "F32": "fp32"}
_MAX_HEADER = 1 << 28
# Raised by torch.load for a file that is damaged, not a torch file, or refused by `weights_only`.
_TORCH_LOAD_ERRORS = (
    pickle.UnpicklingError, zipfile.BadZipFile, struct.error, RuntimeError, OSError, EOFError, ValueError, LookupError,
    AttributeError, TypeError, AssertionError,
)  # fmt: skip


class Slice(NamedTuple):
    """The part of a tensor to read: a row of the layer axis, a position, a neuron; None means all."""

    row: int | None = None
    pos: int | None = None
    neuron: int | None = None


def open_tensors(path: Path) -> TensorFile:
    """Open a `.safetensors` or `.pt` file. Raises `BadRunError` with the file and the reason."""
    if not path.is_file():
        raise BadRunError("the file is missing", where=str(path), next_step="Copy the whole run folder again")
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PtFile(path)


class _Entry(NamedTuple):
    dtype: str
    shape: list[int]
    start: int
    end: int


class SafetensorsFile:
    """A safetensors file: an 8-byte length, a JSON header, then the tensors' bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            self._entries = self._read_header()
        except (ValueError, KeyError, TypeError, struct.error, RecursionError) as e:
            self.close()
            raise BadRunError(f"not a whole safetensors file ({e})", where=str(path)) from e

    def read(self, prompt: PromptRecord, what: Slice) -> Float32[np.ndarray, "..."]:
        """Axes `layer pos neuron`, without those that `what` selects."""
        entry = self._entries[prompt.activation_tensor_key]
        n_rows, seq_len, d_mlp = entry.shape
        size = DTYPE_BYTES[_SAFETENSORS_DTYPES[entry.dtype]]
        rows = range(n_rows) if what.row is None else range(what.row, what.row + 1)
        positions = range(seq_len) if what.pos is None else range(what.pos, what.pos + 1)
        first, n = (0, d_mlp) if what.neuron is None else (what.neuron, 1)
        if what.neuron is None and what.pos is None:  # rows are contiguous
            raw = self._pread(entry.start + rows.start * seq_len * d_mlp * size, len(rows) * seq_len * d_mlp * size)
        else:  # many small reads are faster than reading a layer of thousands of neurons
            at = (entry.start + ((r * seq_len + p) * d_mlp + first) * size for r in rows for p in positions)
            raw = b"".join(self._pread(a, n * size) for a in at)
        out: np.ndarray = _to_float32(raw, entry.dtype).reshape(len(rows), len(positions), n)
        return out[tuple(slice(None) if index is None else 0 for index in what)]

    def tensor(self, prompt: PromptRecord) -> torch.Tensor:
        """The tensor of the prompt in the dtype on disk, axes `layer pos neuron`."""
        import torch

        entry = self._entries[prompt.activation_tensor_key]
        dtype = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}[entry.dtype]
        raw = bytearray(self._pread(entry.start, entry.end - entry.start))
        return torch.frombuffer(raw, dtype=dtype).reshape(entry.shape)

    def differences(self, prompts: list[PromptRecord]) -> list[str]:
        """The differences between the file and the manifest for these prompts."""
        found = {k: (e.shape, _SAFETENSORS_DTYPES.get(e.dtype, e.dtype)) for k, e in self._entries.items()}
        return _differences(found, prompts)

    def close(self) -> None:
        os.close(self._fd)

    def _read_header(self) -> dict[str, _Entry]:
        size = os.fstat(self._fd).st_size
        (n,) = struct.unpack("<Q", self._pread(0, 8))
        if n > min(size - 8, _MAX_HEADER):
            raise ValueError(f"its header is {n} bytes long, the file {size}")
        header = json.loads(self._pread(8, n))
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        header.pop("__metadata__", None)
        entries = {k: _entry(k, v, 8 + n) for k, v in header.items()}
        end = max((e.end for e in entries.values()), default=8 + n)
        if end != size:
            raise ValueError(f"its tensors end at byte {end}, the file at {size}")
        return entries

    def _pread(self, offset: int, n: int) -> bytes:
        os_pread = getattr(os, "pread", None)
        if os_pread is None:  # Windows
            os.lseek(self._fd, offset, os.SEEK_SET)
        parts, left = [], n
        while left:
            part = os_pread(self._fd, left, offset) if os_pread else os.read(self._fd, left)
            if not part:
                raise BadRunError(f"ends {left} bytes too early", where=str(self._path))
            parts.append(part)
            left -= len(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class PtFile:
    """A `.pt` file: a pickled dict of tensors, opened with `weights_only=True`, so that it cannot run code.

    The methods are those of `SafetensorsFile`.
    """

    def __init__(self, path: Path) -> None:
        try:
            import torch
        except ModuleNotFoundError as e:
            raise EnvironmentProblem(
                "torch, which reads this file, is not installed", where=str(path), next_step=INSTALL_MODELS
            ) from e
        try:
            mapped = zipfile.is_zipfile(path)  # files from torch before 1.6 cannot be mapped
            tensors = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
        except _TORCH_LOAD_ERRORS as e:
            reason = " ".join(str(e).split())[:160]
            raise BadRunError(f"cannot be read as tensors ({reason})", where=str(path)) from e
        if not isinstance(tensors, dict):
            raise BadRunError("is not a dict of prompt id to tensor", where=str(path))
        self._tensors: dict[str, torch.Tensor] = {
            k: t.detach() for k, t in tensors.items() if isinstance(t, torch.Tensor)
        }

    def read(self, prompt: PromptRecord, what: Slice) -> Float32[np.ndarray, "..."]:
        t = self._tensors[prompt.activation_tensor_key]
        part = t[tuple(slice(None) if index is None else index for index in what)]
        return np.array(part.float().numpy())

    def tensor(self, prompt: PromptRecord) -> torch.Tensor:
        return self._tensors[prompt.activation_tensor_key]

    def differences(self, prompts: list[PromptRecord]) -> list[str]:
        names = {"torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.float32": "fp32"}
        found = {k: (list(t.shape), names.get(str(t.dtype), str(t.dtype))) for k, t in self._tensors.items()}
        sparse = [f"tensor {k!r} is {t.layout}" for k, t in self._tensors.items() if str(t.layout) != "torch.strided"]
        return sparse or _differences(found, prompts)

    def close(self) -> None:
        self._tensors = {}


TensorFile = SafetensorsFile | PtFile


def _entry(key: str, value: dict[str, Any], base: int) -> _Entry:
    start, end = value["data_offsets"]
    dtype, shape = value["dtype"], value["shape"]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (start, end, *shape)):
        raise ValueError(f"tensor {key!r} has offsets or a shape that are not integers")
    if dtype in _SAFETENSORS_DTYPES:
        expected = int(np.prod(shape, dtype=object)) * DTYPE_BYTES[_SAFETENSORS_DTYPES[dtype]]
        if end - start != expected or start < 0:
            raise ValueError(f"tensor {key!r} of shape {shape} has {end - start} bytes")
    return _Entry(dtype, shape, base + start, base + end)


def _to_float32(raw: bytes, dtype: str) -> Float32[np.ndarray, " n"]:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[dtype]).astype(np.float32)


def _differences(found: dict[str, tuple[list[int], str]], prompts: list[PromptRecord]) -> list[str]:
    wrong = []
    for p in prompts:
        expected = (p.activation_tensor_shape, p.activation_tensor_dtype)
        got = found.get(p.activation_tensor_key)
        if got is None:
            wrong.append(f"no tensor {p.activation_tensor_key!r}")
        elif got != expected:
            wrong.append(
                f"tensor {p.activation_tensor_key!r} is {got[1]}{got[0]}, the manifest says {expected[1]}{expected[0]}"
            )
    unknown = found.keys() - {p.activation_tensor_key for p in prompts}
    return wrong + [f"unknown tensor {k!r}" for k in sorted(unknown)]
