"""Weights of an SAE in a safetensors or npz file: shapes from the header, tensors as float32.

Files are read without memory mapping and never unpickled. The shapes are compared with what the SAE should have before
memory is allocated.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuron_signatures.models.batching import Work, memory_faults
from neuron_signatures.models.saes.config import SaeConfig
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import sha256_of
from neuron_signatures.runs.opening import NotReadableError, open_regular
from neuron_signatures.runs.tensor_index import Entry, safetensors_index

DOWNLOAD_AGAIN: Final = "Copy or download the file again"
_TORCH: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "F64": torch.float64}
_NUMPY: Final = ("<f2", "<f4", "<f8")
# numpy 2.4 and zipfile raise these for damaged archives
_NPZ_ERRORS: Final = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError)
_MAX_MEMBERS: Final = 64


class Stored(NamedTuple):
    """A tensor in a file. `dtype` is None for other dtypes than float16, bfloat16, float32 and float64."""

    shape: tuple[int, ...]
    dtype: str | None


class WeightFile(ABC):
    """An open file of weights, by sae-lens' names (`W_enc`); `w_enc`, as in newer files of Gemma Scope, counts too."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.tensors: dict[str, Stored] = {}
        self._file = file

    @abstractmethod
    def read(self, name: str) -> Tensor:
        """The tensor in the dtype of the file."""

    def sha256(self) -> str:
        return sha256_of(self._file)


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """An open `.safetensors` or `.npz` file. Raises `UsageError`, also in the block, if it is missing or damaged."""
    where = str(path)
    try:
        with open_regular(path) as file:
            yield (_Npz if path.suffix == ".npz" else _Safetensors)(path, file)
    except FileNotFoundError as e:
        raise UsageError("there is no such file", where=where, next_step="Check that the folder is complete") from e
    except NotReadableError as e:
        raise UsageError(str(e), where=where) from e
    except OSError as e:
        raise UsageError(f"cannot be read ({e.strerror or e})", where=where) from e


def read_sae(path: Path, config: SaeConfig, *, name: str, source: str, device: torch.device) -> Sae:
    """The SAE whose weights are in a file. Raises `UsageError` unless they are those of `config`, and finite."""
    with memory_faults(Work("", f"loading {path}", "fewer layers at a time, or another --device")):
        with open_weights(path) as file:
            check_shapes(file.tensors, config, where=str(path))
            tensors = {key: file.read(key).to(device, torch.float32) for key in wanted(config)}
            for key in file.tensors.keys() - tensors.keys():
                _refuse_scaling(key, file.read(key), where=str(path))
            sha256 = file.sha256()
        return make_sae(tensors, config, name=name, source=source, sha256=sha256)


def make_sae(tensors: Mapping[str, Tensor], config: SaeConfig, *, name: str, source: str, sha256: str | None) -> Sae:
    """The SAE of float32 tensors on one device. Raises `UsageError` if a value is not finite."""
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"{key} has values that are not finite", where=source, next_step=DOWNLOAD_AGAIN)
    W_enc, b_enc, W_dec = tensors["W_enc"], tensors["b_enc"], tensors["W_dec"]
    if config.scaled_by_decoder:
        # the same features and reconstructions, with the norms in the weights
        norms = W_dec.norm(dim=-1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None].clamp(min=1e-30)
    return Sae(
        name=name,
        site=config.site,
        layer=config.layer,
        architecture=config.architecture,
        W_enc=W_enc.contiguous(),
        b_enc=b_enc,
        W_dec=W_dec.contiguous(),
        b_dec=tensors["b_dec"],
        threshold=tensors.get("threshold"),
        k=config.k,
        apply_b_dec_to_input=config.apply_b_dec_to_input,
        source=source,
        sha256=sha256,
        model_name=config.model_name,
    )


def wanted(config: SaeConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of an SAE and their shapes."""
    d_in, d_sae = config.d_in, config.d_sae
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
    }
    return {**shapes, "threshold": (d_sae,)} if config.architecture == "jumprelu" else shapes


def check_shapes(found: Mapping[str, Stored], config: SaeConfig, *, where: str) -> None:
    """Raise `UsageError` unless a file has the tensors of the SAE, in their shapes, of floating point numbers."""
    for key, shape in wanted(config).items():
        if key not in found:
            raise UsageError(f"has no tensor {key}, which a {config.architecture} SAE needs", where=where)
        if found[key].shape != shape:
            what = f"{key} has shape {list(found[key].shape)} instead of {list(shape)}"
            raise UsageError(what, where=where, next_step=DOWNLOAD_AGAIN)
        if found[key].dtype is None:
            raise UsageError(f"{key} should be float16, bfloat16, float32 or float64", where=where)
    if unknown := sorted(found.keys() - wanted(config).keys() - {"scaling_factor"}):
        what = f"has a tensor {unknown[0][:80]!r}, which a {config.architecture} SAE does not have"
        raise UsageError(what, where=where)
    if (scaling := found.get("scaling_factor")) is not None and (scaling.shape != (config.d_sae,) or not scaling.dtype):
        raise UsageError(f"scaling_factor has shape {list(scaling.shape)}", where=where)


def _refuse_scaling(key: str, factors: Tensor, *, where: str) -> None:
    """Some SAEs of sae-lens before version 6 carry factors for their features; those in use are all 1."""
    if not torch.allclose(factors.float(), torch.ones(factors.shape)):
        raise UsageError(f"{key} is not 1: factors for features are not supported", where=where)


class _Safetensors(WeightFile):
    def __init__(self, path: Path, file: BinaryIO) -> None:
        super().__init__(path, file)
        try:
            entries = safetensors_index(file, [])
        except (ValueError, RecursionError) as e:
            what = f"not a whole safetensors file: {e}"
            raise UsageError(what, where=str(path), next_step=DOWNLOAD_AGAIN) from e
        self._entries: dict[str, Entry] = {_name(key): entry for key, entry in entries.items()}
        self.tensors = {
            key: Stored(entry.shape, entry.dtype if entry.dtype in _TORCH else None)
            for key, entry in self._entries.items()
        }

    def read(self, name: str) -> Tensor:
        entry = self._entries[name]
        dtype = _TORCH[entry.dtype]
        raw = bytearray(math.prod(entry.shape) * dtype.itemsize)
        self._file.seek(entry.start)
        if self._file.readinto(raw) != len(raw):  # type: ignore[attr-defined]  # of a buffered reader
            raise UsageError("ends too early", where=str(self.path), next_step=DOWNLOAD_AGAIN)
        return torch.frombuffer(raw, dtype=dtype).reshape(entry.shape)


class _Npz(WeightFile):
    def __init__(self, path: Path, file: BinaryIO) -> None:
        super().__init__(path, file)
        with self._faults():
            self._archive = zipfile.ZipFile(file)
            members = self._archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise ValueError(f"{len(members)} members")
            self._members = {_name(m.filename.removesuffix(".npy")): m for m in members}
            for key, member in self._members.items():
                with self._archive.open(member) as f:
                    self.tensors[key] = _npy_header(f, member.file_size)

    def read(self, name: str) -> Tensor:
        with self._faults(), self._archive.open(self._members[name]) as f:
            return torch.from_numpy(np.ascontiguousarray(np.lib.format.read_array(f, allow_pickle=False)))

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except _NPZ_ERRORS as e:
            what = f"not a whole npz file: {str(e) or type(e).__name__}"
            raise UsageError(what, where=str(self.path), next_step=DOWNLOAD_AGAIN) from e


def _npy_header(file: Any, size: int) -> Stored:
    """Shape and dtype of an array in an npz file. Raises `ValueError` if its size differs from what they need."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"npy version {version}")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject or file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"an array of shape {list(shape)} and dtype {dtype} has {size} bytes")
    return Stored(tuple(shape), dtype.str if dtype.str in _NUMPY else None)


def _name(key: str) -> str:
    return f"W_{key[2:]}" if key in ("w_enc", "w_dec") else key
