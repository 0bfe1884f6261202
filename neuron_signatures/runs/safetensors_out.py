"""Writing a safetensors file and its checksum in one pass.

`save_file` of safetensors 0.8 writes a second temporary file beside ours, hides the error number of a full disk, and
requires a second read for the checksum. The format is an 8-byte length, a JSON header, and the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import torch

_NAMES = {"torch.bfloat16": "BF16", "torch.float16": "F16", "torch.float32": "F32"}


def write_safetensors(file: BinaryIO, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write contiguous CPU tensors in the given order; returns the sha256 of what was written. Raises `OSError`.

    Hashing and writing run at the same time; both release the GIL.
    """
    parts = [memoryview(_header(tensors)), *(_bytes_of(t) for t in tensors.values())]
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(file.writelines, parts)
        for part in parts:
            digest.update(part)
        written.result()
    return digest.hexdigest()


def _header(tensors: Mapping[str, torch.Tensor]) -> bytes:
    header, at = {}, 0
    for key, t in tensors.items():
        end = at + t.numel() * t.element_size()
        header[key] = {"dtype": _NAMES[str(t.dtype)], "shape": list(t.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the tensors
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    return tensor.reshape(-1).view(torch.uint8).numpy().data
