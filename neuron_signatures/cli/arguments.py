"""Argparse types: each converts the text of a flag to a value, or raises an error of one line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path


def parse_bytes(text: str) -> int:
    """An argparse type: a number of bytes, such as `512MB`, `1.5 GiB` or `4096`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)[Bb]?\s*", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512MB")
    number, prefix, binary = match.groups()
    if len(number) > 20:
        raise argparse.ArgumentTypeError("this is larger than any disk")
    value = int(float(number) * (1024 if binary else 1000) ** " kMGT".index(prefix.replace("K", "k") or " "))
    if value < 1:
        raise argparse.ArgumentTypeError("a size must be at least one byte")
    if value >= 1 << 63:
        raise argparse.ArgumentTypeError("this is larger than any disk")
    return value


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `low`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from e
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is below {low}")
        if value >= 1 << 63:
            raise argparse.ArgumentTypeError("this number has more than 63 bits")
        return value

    return parse


def number(text: str) -> float:
    """An argparse type: a number between -1e99 and 1e99, which records can hold."""
    try:
        value = float(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from e
    if not abs(value) < 1e99:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number below 1e99")
    return value


def folder(text: str) -> Path:
    """An argparse type: a path, `~` expanded. An unknown user's `~name` stays as it is, where `Path.expanduser`
    raises."""
    if not text:
        raise argparse.ArgumentTypeError("a path cannot be empty")
    if "\0" in text:
        raise argparse.ArgumentTypeError("a path has no NUL characters")
    return Path(os.path.expanduser(text))  # noqa: PTH111


def share(text: str) -> float:
    """An argparse type: a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from e
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1]")
    return value


def number_or_all(text: str) -> int | None:
    """An argparse type: a whole number from 1, or `all`, which is None."""
    try:
        return None if text == "all" else at_least(1)(text)
    except (ValueError, argparse.ArgumentTypeError) as e:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 1 nor all") from e


def parse_ctx(text: str) -> int | str:
    """An argparse type: a token position (negative counts from the end), or `all`."""
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a position nor all") from e


def figure_formats(text: str) -> tuple[str, ...]:
    """An argparse type: `png`, `svg` or both."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not names or any(name not in ("png", "svg") for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is not png, svg or png,svg")
    return names
