"""Reading parts of activation files, as float32 numpy arrays.

A file is read without torch and without memory mapping, so that a file that is replaced while a viewer has it open
raises an error instead of crashing the process.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest import DTYPE_BYTES, PromptRecord, join_some
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.pt_index import ZIP_ERRORS, open_archive, pt_index
from neuron_signatures.runs.pt_pickle import UnsupportedContentError
from neuron_signatures.runs.tensor_index import MAX_HEADER, Entry, safetensors_index

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float32, UInt

_BLOCK = 1 << 20
"""Values that are read at once from a tensor with gaps: another tensor's values may lie in them, up to a whole file."""


class Slice(NamedTuple):
    """The part of a tensor to read: a row of the layer axis, a position, a neuron; None means all."""

    row: int | None = None
    pos: int | None = None
    neuron: int | None = None


def open_tensors(path: Path, prompts: Sequence[PromptRecord]) -> TensorFile:
    """Open a `.safetensors` or `.pt` file of these prompts.

    Raises `BadRunError` with the file and the reason, also for tensors that differ from the manifest.
    """
    found = _open(path, prompts)
    try:
        if differences := _differences(found.entries, prompts):
            raise BadRunError(f"disagrees with the manifest: {join_some(differences)}", where=str(path))
    except BaseException:
        found.close()
        raise
    return found


def open_any_tensors(path: Path) -> TensorFile:
    """Open a `.safetensors` file of the run that holds no activations. Raises `BadRunError` if it is damaged."""
    return _open(path, [])


def _open(path: Path, prompts: Sequence[PromptRecord]) -> TensorFile:
    file = open_run_file(path)
    try:
        what, index = ("safetensors", safetensors_index) if path.suffix == ".safetensors" else (".pt", pt_index)
        try:
            entries = index(file, prompts)
        except UnsupportedContentError as e:
            raise BadRunError(str(e), where=str(path)) from e
        except (ValueError, RecursionError) as e:
            raise BadRunError(f"not a whole {what} file: {e}", where=str(path)) from e
        except OSError as e:
            raise unreadable(e, path) from e
    except BaseException:
        file.close()
        raise
    return TensorFile(path, file, entries)


def zip_fault(path: Path) -> str | None:
    """The first damage that the checksums in a `.pt` file show; None if all agree. Reads the file in small parts."""
    with open_run_file(path) as file:
        try:
            with open_archive(file, limit=MAX_HEADER) as archive:
                bad = archive.testzip()
        except UnsupportedContentError as e:
            return str(e)
        except (ValueError, *ZIP_ERRORS) as e:
            return f"not a whole .pt file: {e}"
    return None if bad is None else f"the checksum (CRC) of its member {bad!r} differs: the file has changed"


class TensorFile:
    """An open file of tensors, keyed by prompt."""

    def __init__(self, path: Path, file: BinaryIO, entries: dict[str, Entry]) -> None:
        self._path = path
        self._file = file
        self._entries = entries

    @property
    def entries(self) -> dict[str, Entry]:
        """The tensors by key."""
        return self._entries

    def read(self, prompt: PromptRecord, what: Slice) -> Float32[np.ndarray, "..."]:
        """Axes `layer pos neuron`, without those that `what` selects."""
        entry = self._entries[prompt.activation_tensor_key]
        rows, positions, neurons = (
            range(n) if index is None else range(index, index + 1) for n, index in zip(entry.shape, what, strict=True)
        )
        size, (by_row, by_pos, by_neuron) = DTYPE_BYTES[entry.dtype], entry.strides
        raw: bytes | np.ndarray
        if entry.is_contiguous and what.neuron is None and what.pos is None:
            raw = self._pread(entry.start + rows.start * by_row * size, len(rows) * by_row * size)
        elif by_neuron == 1 or len(neurons) == 1:  # many small reads are faster than a layer of thousands of neurons
            at = (
                entry.start + (r * by_row + p * by_pos + neurons.start * by_neuron) * size
                for r in rows for p in positions
            )  # fmt: skip
            raw = b"".join(self._pread(a, len(neurons) * size) for a in at)
        else:
            raw = self._gathered(entry, (rows, positions, neurons))
        out: np.ndarray = to_float32(raw, entry.dtype).reshape(len(rows), len(positions), len(neurons))
        return out[tuple(slice(None) if index is None else 0 for index in what)]

    def tensor(self, prompt: PromptRecord) -> torch.Tensor:
        """The tensor of the prompt in the dtype on disk, axes `layer pos neuron`."""
        import torch

        entry = self._entries[prompt.activation_tensor_key]
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[entry.dtype]
        bits = self._gathered(entry, [range(n) for n in entry.shape])
        return torch.from_numpy(bits.view(f"<i{bits.itemsize}")).view(dtype)

    def close(self) -> None:
        self._file.close()

    def _gathered(self, entry: Entry, ranges: Sequence[range]) -> UInt[np.ndarray, "..."]:
        """The values in these ranges of the axes, as integers of the same size, read in blocks of at most `_BLOCK`.

        The index was checked: every element is within the file.
        """
        size, lengths = DTYPE_BYTES[entry.dtype], [len(r) for r in ranges]
        first = sum(r.start * stride for r, stride in zip(ranges, entry.strides, strict=True))
        out = np.empty(lengths, f"<u{size}")
        inner, n = [], 1  # the axes that a block holds, and its length with the gaps
        for axis in sorted(range(len(lengths)), key=entry.strides.__getitem__):
            longer = n + (lengths[axis] - 1) * entry.strides[axis]
            if longer > _BLOCK:
                break
            inner.append(axis)
            n = longer
        inner.sort()
        shape, strides = [lengths[a] for a in inner], [entry.strides[a] * size for a in inner]
        for index in itertools.product(*(range(1) if a in inner else range(m) for a, m in enumerate(lengths))):
            at = first + sum(i * stride for i, stride in zip(index, entry.strides, strict=True))
            flat = np.frombuffer(self._pread(entry.start + at * size, n * size), out.dtype)
            place = tuple(slice(None) if a in inner else i for a, i in enumerate(index))
            out[place] = np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)
        return out

    def _pread(self, offset: int, n: int) -> bytes:
        os_pread, fd = getattr(os, "pread", None), self._file.fileno()
        if os_pread is None:  # Windows
            os.lseek(fd, offset, os.SEEK_SET)
        parts, left = [], n
        while left:
            try:
                part = os_pread(fd, left, offset) if os_pread else os.read(fd, left)
            except OSError as e:
                raise unreadable(e, self._path) from e
            if not part:
                raise BadRunError(f"ends {left} bytes too early", where=str(self._path))
            parts.append(part)
            left -= len(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def open_run_file(path: Path) -> BinaryIO:
    """A regular file for reading. Raises `BadRunError` with the file and the reason."""
    try:
        return open_regular(path)
    except FileNotFoundError as e:
        raise BadRunError("the file is missing", where=str(path), next_step="Copy the whole run folder again") from e
    except NotReadableError as e:
        raise BadRunError(str(e), where=str(path)) from e
    except OSError as e:
        raise unreadable(e, path) from e


def unreadable(e: OSError, path: Path) -> BadRunError:
    """The error for a file of a run that the system cannot read."""
    return BadRunError(
        f"cannot be read ({e.strerror or e})", where=str(path), next_step="Fix its permissions or the disk"
    )


def to_float32(raw: bytes | memoryview | np.ndarray, dtype: str) -> Float32[np.ndarray, " n"]:
    """The values in these bytes; `dtype` as in the manifest."""
    if dtype == "bf16":  # the upper half of a float32
        wide = np.frombuffer(raw, "<u2").astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return np.frombuffer(raw, {"fp16": "<f2", "fp32": "<f4"}[dtype]).astype(np.float32)


def _differences(found: dict[str, Entry], prompts: Sequence[PromptRecord]) -> list[str]:
    wrong = []
    for p in prompts:
        entry = found.get(p.activation_tensor_key)
        expected = (p.activation_tensor_dtype, p.activation_tensor_shape)
        if entry is None:
            wrong.append(f"no tensor {p.activation_tensor_key!r}")
        elif (entry.dtype, list(entry.shape)) != expected:
            got = f"{entry.dtype}{list(entry.shape)}"
            wrong.append(f"tensor {p.activation_tensor_key!r} is {got}, the manifest says {expected[0]}{expected[1]}")
    unknown = found.keys() - {p.activation_tensor_key for p in prompts}
    return wrong + [f"unknown tensor {k!r}" for k in sorted(unknown)]
