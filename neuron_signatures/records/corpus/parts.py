"""Which part of the corpus a document belongs to: by its content, so that equal texts are never in two parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def part_index(digest: bytes, *, seed: int, percent: Sequence[int]) -> int:
    """The index in PARTS of the document with this sha256.

    The first 8 bytes of the sha256 of the seed (8 bytes, little-endian) and the digest, as a fraction of 2**64, fall
    into one of the intervals with these percentages as lengths.
    """
    drawn = hashlib.sha256(seed.to_bytes(8, "little", signed=True) + digest).digest()
    fraction = int.from_bytes(drawn[:8], "big") * 100
    end = 0
    for index, share in enumerate(percent):
        end += share
        if fraction < end << 64:
            return index
    raise AssertionError(f"percentages {percent} have not the sum 100")
