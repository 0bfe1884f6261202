"""One part of a computation, and which items belong to it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple


class Shard(NamedTuple):
    """Part `number` (from 1) of `of`."""

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.number:05d}-of-{self.of:05d}"


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """`2/4` as a shard. Raises `ValueError`."""
    match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"{text!r} is not a part such as 1/4")
    return Shard(int(match[1]), int(match[2]))


def items_of(sizes: Sequence[int], shard: Shard) -> range:
    """The indices of the items of a shard: consecutive ones that hold about the same share of the sum of all sizes.

    An item belongs to the shard in whose share its middle is. Every item belongs to one shard; a shard can be empty.
    """
    total = sum(sizes)
    middles = [2 * end - size for end, size in zip(itertools.accumulate(sizes), sizes, strict=True)]
    owners = [min(m * shard.of // (2 * total), shard.of - 1) if total else 0 for m in middles]
    first = sum(owner < shard.number - 1 for owner in owners)
    return range(first, first + sum(owner == shard.number - 1 for owner in owners))
