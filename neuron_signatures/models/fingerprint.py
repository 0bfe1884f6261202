"""Checksums of weight files, so that a later stage can tell whether it has the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

# Up to here every byte of a local checkpoint is hashed (a second or two per gigabyte); beyond, samples.
FULL_HASH_BYTES: Final = 1_000_000_000
_BLOCK: Final = 1 << 20
_SAMPLES_PER_FILE: Final = 16


def weights_fingerprint(folder: Path, *, full_hash_bytes: int = FULL_HASH_BYTES) -> str:
    """`files_fingerprint` of the weight files of a local checkpoint."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    return files_fingerprint(files, full_hash_bytes=full_hash_bytes)


def files_fingerprint(files: Sequence[Path], *, full_hash_bytes: int = FULL_HASH_BYTES) -> str:
    """Fingerprint of files, in their order.

    `bytes:`: sha256 over names and all bytes. Above `full_hash_bytes` together, `sampled:`: over names,
    sizes and, per file, the first megabyte (which holds the safetensors header) and 16 more spread evenly;
    it tells fine-tunes apart, but not an edit between the samples.
    """
    whole = sum(f.stat().st_size for f in files) <= full_hash_bytes
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            blocks = iter(lambda: stream.read(_BLOCK), b"") if whole else _sample_blocks(stream, file.stat().st_size)
            for block in blocks:
                digest.update(block)
    return f"{'bytes' if whole else 'sampled'}:{digest.hexdigest()}"


def sampled_sha256(file: Path) -> str:
    """sha256 of a file's size and seventeen evenly spaced megabytes; independent of its name."""
    size = file.stat().st_size
    digest = hashlib.sha256(f"{size}\0".encode())
    with file.open("rb") as stream:
        for block in _sample_blocks(stream, size):
            digest.update(block)
    return digest.hexdigest()


def _sample_blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    last = max(size - _BLOCK, 0)
    for i in range(_SAMPLES_PER_FILE + 1):
        stream.seek(last * i // _SAMPLES_PER_FILE)
        yield stream.read(_BLOCK)
