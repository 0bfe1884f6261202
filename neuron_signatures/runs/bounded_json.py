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
from neuron_signatures.runs.plain import refuse_constant

RECORD_BYTES = 64 << 20
"""Limit for results and stage records."""

MAX_DEPTH = 64
MAX_MEMORY = 800 << 20
"""Limit for the memory of the parsed values, by `parsed_bytes`."""

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
    values than fit into `MAX_MEMORY`.
    """
    check_bounds(raw)
    return json.loads(raw.decode("utf-8"), parse_constant=refuse_constant)


def check_bounds(raw: bytes) -> None:
    """Raise `ValueError` if parsing these bytes could exceed the bounds. Linear in time, constant in memory."""
    depth = containers = commas = 0
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
        commas += structure.count(b",")
        steps = _steps(structure)
        if steps.size:
            containers += int((steps > 0).sum())
            if depth + int(steps.cumsum(dtype=np.int64).max()) > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
            depth += int(steps.sum(dtype=np.int64))
        _check_numbers(tail + structure)
        tail = structure[-512:]
    if parsed_bytes(len(raw), commas, containers) > MAX_MEMORY:
        raise ValueError(f"{commas} values in {containers} lists and objects, which would take too much memory")


def parsed_bytes(n_bytes: int, n_commas: int, n_containers: int) -> int:
    """An upper bound, for most files, of the memory that a JSON text of this size needs while it is parsed: the text
    twice, and 64 bytes for each value and for each list or object."""
    return 2 * n_bytes + 64 * (n_commas + n_containers)


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
