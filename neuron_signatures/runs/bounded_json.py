"""Reading JSON whose author is unknown: strict, and bounded in size, nesting and range of numbers.

The bounds are checked on the bytes, before anything is built from them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.opening import NotReadableError, read_regular

RECORD_BYTES = 64 << 20
"""Limit for results and stage records."""

MAX_DEPTH = 64
# An empty list takes two bytes in the file and 64 in memory. Real files have one list or object per 40 bytes or more.
_FREE_CONTAINERS = 10_000
_BYTES_PER_CONTAINER = 16

_BLOCK = 1 << 20
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPES = re.compile(rb"\\.", re.DOTALL)
_LONG_NUMBER = b"0" * 20
_LONG_INTEGER = re.compile(rb"(?<![0.])0{20}")  # 0.0001 has its 17 digits after three zeros
_TOO_LONG = b"0" * 32
_LARGE_EXPONENTS = (b"e000", b"e+000")
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789E", b"000000000e")


def read_json_file(path: Path, *, max_bytes: int) -> Any:
    """The value in a JSON file. Raises `BadRunError` with the file and the reason, and `FileNotFoundError`."""
    try:
        return parse_json(read_regular(path, max_bytes=max_bytes))
    except FileNotFoundError:
        raise
    except NotReadableError as e:
        raise BadRunError(str(e), where=str(path)) from e
    except OSError as e:
        raise BadRunError(f"cannot be read ({e.strerror or e})", where=str(path)) from e
    except ValueError as e:
        raise BadRunError(f"not valid JSON ({e})", where=str(path)) from e


def parse_json(raw: bytes) -> Any:
    """The value of strict JSON in UTF-8. Raises `ValueError` with the reason.

    Refused: NaN and infinities, integers of 20 digits, numbers from 1e100 on, nesting deeper than `MAX_DEPTH`, and more
    lists and objects than a file of this size can need.
    """
    check_bounds(raw)
    return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)


def check_bounds(raw: bytes) -> None:
    """Raise `ValueError` if parsing these bytes could exceed the bounds. Linear in time, constant in memory."""
    depth = containers = 0
    in_string, at, tail = False, 0, b""
    while at < len(raw):
        block = raw[at : at + _BLOCK]
        backslashes = len(block) - len(block.rstrip(b"\\"))
        if backslashes % 2 and at + _BLOCK < len(raw):  # keep an escape in one block
            block = raw[at : at + _BLOCK + 1]
        at += len(block)
        pieces = _ESCAPES.sub(b"", block).split(b'"')
        structure = b'"'.join(pieces[1::2] if in_string else pieces[::2])
        in_string ^= len(pieces) % 2 == 0
        steps = _steps(structure)
        if steps.size:
            containers += int((steps > 0).sum())
            if depth + int(steps.cumsum(dtype=np.int64).max()) > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
            depth += int(steps.sum(dtype=np.int64))
        _check_numbers(tail + structure)
        tail = structure[-512:]
    if containers > _FREE_CONTAINERS + len(raw) / _BYTES_PER_CONTAINER:
        raise ValueError(f"{containers} lists and objects in {len(raw)} bytes")


def _steps(structure: bytes) -> np.ndarray:
    """+1 for each bracket that opens, -1 for each that closes."""
    codes = np.frombuffer(structure.translate(None, delete=_NOT_BRACKETS), np.uint8)
    return np.where((codes == ord("[")) | (codes == ord("{")), np.int8(1), np.int8(-1))


def _check_numbers(structure: bytes) -> None:
    digits = structure.translate(_DIGITS_AS_ZERO)
    if _LONG_NUMBER in digits and (_TOO_LONG in digits or _LONG_INTEGER.search(digits)):
        raise ValueError("an integer of 20 digits or more")
    if any(e in digits for e in _LARGE_EXPONENTS):
        raise ValueError("a number of 1e100 or more")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
