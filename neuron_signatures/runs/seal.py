"""The checksum that a stage record holds of itself, in its last line."""

from __future__ import annotations

import hashlib
import re

SEAL = "record_sha256"
_END = "\n}\n"
_LAST_LINE = re.compile(rb',\n  "record_sha256": "([0-9a-f]{64})"\n}\n\Z')
_LAST_LINE_BYTES = 100


def seal(text: str) -> str:
    """JSON of a non-empty object, indented by 2, with a last field `record_sha256`: the checksum of all before it."""
    assert text.endswith(_END)
    body = text.removesuffix(_END)
    return f'{body},\n  "{SEAL}": "{hashlib.sha256(body.encode()).hexdigest()}"{_END}'


def seal_fits(raw: bytes) -> bool:
    """Whether the file is as `seal` made it."""
    start = max(0, len(raw) - _LAST_LINE_BYTES)
    found = _LAST_LINE.search(raw, start)
    return found is not None and hashlib.sha256(raw[: found.start()]).hexdigest().encode() == found[1]
