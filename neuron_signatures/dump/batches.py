"""Grouping prompts into forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# A batch with fewer than _MIN_RUN prompts of one length also takes prompts that are longer than its shortest by up to
# this factor: the padding costs less than further passes with few prompts.
_PAD_FACTOR = 1.25
_MIN_RUN = 8


def plan_batches(lengths: Sequence[int], *, max_tokens: int, max_prompts: int | None) -> Iterator[list[int]]:
    """Yield the indices of each batch, shortest prompts first, with at most `max_tokens` including padding.

    Prompts of equal length are batched together, because a batch without padding needs no attention mask. If there are
    only a few of one length, slightly longer ones are added. A prompt longer than `max_tokens` runs alone.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        n = lengths[i]
        full = (len(batch) + 1) * n > max_tokens or len(batch) == max_prompts
        longer = bool(batch) and n != lengths[batch[-1]]
        if batch and (full or (longer and (len(batch) >= _MIN_RUN or n > lengths[batch[0]] * _PAD_FACTOR))):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
