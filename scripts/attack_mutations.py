"""Hostile changes of JSON values and of bytes, chosen by a random generator."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

NAMES = [
    "/etc/passwd", "../victim/secret.json", "../../..", "..", ".", "", "a\0b", "a" * 300, "a/" * 400 + "b", "\ud800.pt",
    "a\nb", "\x1b[31m", "C:\\x", "//x/y", "~", "manifest.json", ".lock", "activations.pt", "a:b", " ", "\u202egpj",
]  # fmt: skip
NUMBERS: list[Any] = [
    -1, 0, 1, 2, 255, 2**31, 2**53, 2**62, 2**63, 2**64, 10**17, 10**19, 10**30, -(10**30), 10**400, 0.5, -0.0, 1e300,
    1e-320, float("nan"), float("inf"), -float("inf"), True, False,
]  # fmt: skip
TEXTS: list[Any] = [
    "\ud800", "\udfff\ud800", "x" * 300, "x" * 100_000, "漢" * 5000, "\x1b]52;c;aGk=\x07", "\u202eabc", "\0", "", " ",
    "\n" * 500, "e\u0301" * 2000, "[/]", "nan", "null", "=cmd()", "<script>", "bf16", "fp32", "blocks.{layer}", "{0}",
    "%s%n", "\u2028",
]  # fmt: skip
OTHERS: list[Any] = [None, [], {}, [[]], [None], {"": None}, {"a": {"b": {}}}, [0] * 1000, ["x"] * 1000, "x", 1]


def nested(depth: int, kind: int) -> Any:
    """A value of this depth; beyond the limit of Python's own encoder it is text (see `to_bytes`)."""
    value: Any = 0
    for _ in range(depth):
        value = [value] if kind else {"a": value}
    return value


def hostile_value(rng: random.Random) -> Any:
    pool = rng.choice([NAMES, NUMBERS, TEXTS, OTHERS, NUMBERS])
    if rng.random() < 0.03:
        return nested(rng.choice([10, 63, 64, 65, 90]), rng.randrange(2))
    return copy.deepcopy(rng.choice(pool))


def paths_of(value: Any, path: tuple[Any, ...] = (), depth: int = 0) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value, of long lists only the first and the last ones."""
    found = []
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = [0, 1, len(value) - 1] if len(value) > 3 else list(range(len(value)))
    else:
        return []
    for k in keys:
        found.append((*path, k))
        if depth < 8:
            found += paths_of(value[k], (*path, k), depth + 1)
    return found


def mutate(rng: random.Random, value: Any) -> tuple[Any, str]:
    """A copy of the value with one structural change, and the description of the change."""
    value = copy.deepcopy(value)
    paths = paths_of(value)
    if not paths:
        return hostile_value(rng), "replaced the whole value"
    path = rng.choice(paths)
    parent = value
    for k in path[:-1]:
        parent = parent[k]
    key, where = path[-1], ".".join(map(str, path))[:100]
    match rng.choice(["set", "set", "set", "delete", "swap", "copy", "near", "rename", "repeat"]):
        case "delete":
            del parent[key]
            return value, f"deleted {where}"
        case "swap":
            other = rng.choice(paths)
            source = value
            try:
                for k in other:
                    source = source[k]
                parent[key] = copy.deepcopy(source)
            except (KeyError, IndexError, TypeError):
                parent[key] = None
            return value, f"put {'.'.join(map(str, other))[:100]} at {where}"
        case "copy" if isinstance(parent, list):
            parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(parent[key]))
            return value, f"copied {where}"
        case "near" if isinstance(parent[key], int | float):
            parent[key] += rng.choice([-1, 1, 0.5, 1 << 16, -(1 << 16), 1 << 40])
            return value, f"{where} = {parent[key]}"
        case "near" if isinstance(parent[key], list):
            rng.shuffle(parent[key])
            return value, f"shuffled {where}"
        case "rename" if isinstance(parent, dict):
            new = rng.choice([*NAMES, *(t for t in TEXTS if len(t) < 400), *parent])
            parent[new] = parent.pop(key)
            return value, f"renamed {where} to {ascii(new)[:60]}"
        case "repeat" if isinstance(parent[key], str | list) and parent[key]:
            parent[key] = parent[key] * rng.choice([2, 100, 5000])
            return value, f"repeated {where}"
    parent[key] = hostile_value(rng)
    return value, f"{where} = {ascii(parent[key])[:60]}"


def to_bytes(rng: random.Random, value: Any) -> bytes:
    """The JSON text in one of several layouts; lone surrogates stay, as escapes or as invalid UTF-8."""
    indent = rng.choice([None, 1, 2])
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=indent)
    return text.encode("utf-8", "surrogatepass")


def damage(rng: random.Random, raw: bytes) -> tuple[bytes, str]:
    """Bytes with one change that knows nothing of their meaning, and the description of the change."""
    at = rng.randrange(len(raw) + 1)
    match rng.randrange(9):
        case 0:
            return raw[:at], f"truncated at {at}"
        case 1:
            flipped = bytearray(raw or b"\0")
            flips = [rng.randrange(len(flipped)) for _ in range(rng.choice([1, 1, 4, 64]))]
            for i in flips:
                flipped[i] ^= 1 << rng.randrange(8)
            return bytes(flipped), f"flipped bits at {flips[:4]}"
        case 2:
            return b"\xef\xbb\xbf" + raw, "a byte order mark"
        case 3:
            return raw.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-32"])), "another encoding"
        case 4:
            bad = rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\0", b"\x1b", b'"', b"}", b"[", b"\\u"])
            return raw[:at] + bad + raw[at:], f"{bad!r} at {at}"
        case 5:
            end = min(len(raw), at + rng.choice([1, 16, 512]))
            return raw[:at] + raw[end:], f"deleted {at}..{end}"
        case 6:
            return raw + rng.choice([b"\0", b"x", raw, b" " * 5000]), "appended"
        case 7:
            return rng.choice([b"", b"\0" * 100, b"null", b"[]", b"{}", b'""', b"NaN", b"1" * 5000]), "replaced"
        case _:
            return _bomb(rng, raw, at)


def _bomb(rng: random.Random, raw: bytes, at: int) -> tuple[bytes, str]:
    bomb = rng.choice([
        b"[" * 200_000, b'{"a":' * 100_000, b"[" * 65 + b"]" * 65, b"[]," * 300_000, b"1" * 100_000, b"-" * 1000,
        b"1e" + b"9" * 400, b'"' + b"x" * 1_000_000 + b'"', b'{"a":1,' * 50_000, b"\\" * 100_001, b'"\\' * 50_001,
    ])  # fmt: skip
    if rng.random() < 0.5:
        colon = raw.find(b":", at)
        if colon >= 0:
            return raw[: colon + 1] + bomb + raw[colon + 1 :], f"{bomb[:8]!r} * {len(bomb)} at {colon + 1}"
    return bomb, f"only {bomb[:8]!r} * {len(bomb)}"
