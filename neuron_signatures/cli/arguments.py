"""Types for argparse: each turns a flag's text into a value, or its mistake into one line."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path


def parse_bytes(text: str) -> int:
    """Bytes in `512MB`, `1.5 GiB` or `4096`; for argparse, which turns the error into one line."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[Bb]?\s*", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512MB")
    number, prefix, binary = match.groups()
    if len(number) > 20:
        raise argparse.ArgumentTypeError("that is more than any disk holds")
    value = int(float(number) * (1024 if binary else 1000) ** " kMGT".index(prefix.replace("K", "k") or " "))
    if value < 1:
        raise argparse.ArgumentTypeError("a size must be at least one byte")
    return value


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number not below `low`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from e
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is below {low}")
        if value >= 1 << 63:
            raise argparse.ArgumentTypeError("a number of more than 63 bits")
        return value

    return parse


def number(text: str) -> float:
    """An argparse type: a finite number."""
    try:
        value = float(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from e
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def folder(text: str) -> Path:
    """An argparse type: a path, `~` expanded."""
    return Path(text).expanduser()


def share(text: str) -> float:
    """An argparse type: a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from e
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value


def parse_ctx(text: str) -> int | str:
    """An argparse type: a token position (negative counts from the end), or `all`."""
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a position nor all") from e
