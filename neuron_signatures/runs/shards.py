"""Which prompts go into which activation file."""

from __future__ import annotations

from collections.abc import Sequence


def plan_shards(sizes: Sequence[int], shard_bytes: int) -> list[list[int]]:
    """Indices of the prompts of each shard, in order: filled until the next prompt would exceed `shard_bytes`.

    A prompt larger than that has a shard of its own.
    """
    shards: list[list[int]] = []
    room = 0
    for i, size in enumerate(sizes):
        if not shards or size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(i)
        room -= size
    return shards
