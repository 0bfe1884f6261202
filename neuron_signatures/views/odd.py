"""A result with a field that is missing or of another type is a damaged one: a fault with a name, for both viewers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from neuron_signatures.runs.errors import BadRunError

# What reading such a field raises; the last is pyarrow's (26) for a comparison of unlike types.
ODD = (KeyError, TypeError, AttributeError, ValueError, OverflowError, NotImplementedError)
_LARGEST = 1 << 53


@contextlib.contextmanager
def odd_is_broken(where: str) -> Iterator[None]:
    """Raise `BadRunError` about the result `where` instead of what its odd field raises within the block."""
    try:
        yield
    except ODD as e:
        raise BadRunError(what_is_odd(e), where=where, next_step="Make it again") from e


def whole(value: Any) -> int:
    """An integer of a size that a count, an id or a position can have. Raises `ValueError` for another."""
    number = int(value)
    if abs(number) > _LARGEST:
        raise ValueError(f"{str(value)[:20]} is too large")
    return number


def what_is_odd(e: Exception) -> str:
    what = f"it lacks {e}" if isinstance(e, KeyError) else str(e)
    return f"its record has another form than expected ({what})"[:200]
