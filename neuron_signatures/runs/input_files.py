"""Reading the files that a user names in flags: regular files of a bounded size, in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.opening import NotReadableError, read_regular

SMALL_BYTES = 1 << 24
"""Limit for files of flags and word lists."""


def read_text_input(path: Path, *, max_bytes: int, next_step: str = "") -> str:
    """The text of a file, without a byte order mark.

    Raises `UsageError` for a missing file (with `next_step`), a folder, a pipe or a device, a file of more than
    `max_bytes`, and text that is not UTF-8. Never waits for a writer.
    """
    where = str(path)
    try:
        return read_regular(path, max_bytes=max_bytes).decode("utf-8-sig")
    except NotReadableError as e:
        is_large = str(e).startswith("larger")
        step = "Split it" if is_large else "Give a file; save the output of a command to a file first"
        raise UsageError(str(e), where=where, next_step=step) from e
    except FileNotFoundError as e:
        raise UsageError("there is no such file", where=where, next_step=next_step) from e
    except OSError as e:
        raise UsageError(f"cannot be read ({e.strerror or e})", where=where) from e
    except UnicodeDecodeError as e:
        what = f"cannot be read as UTF-8 text ({e.reason} at byte {e.start})"
        raise UsageError(what, where=where) from e


def read_json_input(path: Path, *, max_bytes: int = SMALL_BYTES) -> Any:
    """The value of a JSON file, within the bounds of `bounded_json`. Raises `UsageError`, also for a repeated key."""
    from neuron_signatures.runs.bounded_json import check_bounds

    text = read_text_input(path, max_bytes=max_bytes)
    try:
        check_bounds(text.encode())
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as e:
        raise UsageError(f"not valid JSON ({e})", where=str(path)) from e


def unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The `object_pairs_hook` of a JSON decoder that raises `ValueError` if a key is repeated."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key[:80]!r} appears twice in one object")
        found[key] = value
    return found
