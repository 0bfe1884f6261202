"""Which prompts run together in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# A batch may hold padding for prompts up to this factor longer than its shortest, so that odd lengths need not
# run alone; below MIN_RUN prompts of one length it is worth it.
_PAD_FACTOR = 1.25
_MIN_RUN = 8


def plan_batches(lengths: Sequence[int], *, max_tokens: int, max_prompts: int | None) -> Iterator[list[int]]:
    """Indices of prompts that run together, shortest first, each batch at most `max_tokens` with padding.

    Prompts of equal length go together, because a batch without padding needs no attention mask; a batch with
    few of one length takes on slightly longer ones. A prompt longer than `max_tokens` runs alone.
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
