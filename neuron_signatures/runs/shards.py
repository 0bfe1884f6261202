"""The assignment of prompts to activation files."""

from __future__ import annotations

from collections.abc import Sequence


def plan_shards(sizes: Sequence[int], shard_bytes: int) -> list[list[int]]:
    """Indices of the prompts of each shard, in order. A shard is full if the next prompt would exceed `shard_bytes`.

    A prompt larger than `shard_bytes` gets its own shard.
    """
    shards: list[list[int]] = []
    left = 0
    for i, size in enumerate(sizes):
        if not shards or size > left:
            shards.append([])
            left = shard_bytes
        shards[-1].append(i)
        left -= size
    return shards
