"""Reads the answer of a judge: a JSON list of zeros and ones."""

from __future__ import annotations

import re

_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n?(.*?)\n?[ \t]*```\Z", re.DOTALL | re.IGNORECASE)
_LIST = re.compile(r"\A\[\s*[01](?:\s*,\s*[01])*\s*\]\Z")
_MOST = 10_000
"""Characters of an answer that are read."""


class UnparsableVerdicts(ValueError):
    """The answer is not what the prompt asked for. `str()` says why."""


def read_verdicts(text: str, n: int) -> list[bool]:
    """The `n` answers. White space and a Markdown fence around the list are tolerated, and nothing else.

    Raises `UnparsableVerdicts`.
    """
    text = text[:_MOST].strip()
    fenced = _FENCED.match(text)
    text = fenced[1].strip() if fenced else text
    if not _LIST.match(text):
        raise UnparsableVerdicts("the answer is not a JSON list of zeros and ones")
    found = [digit == "1" for digit in re.findall("[01]", text)]
    if len(found) != n:
        raise UnparsableVerdicts(f"the answer has {len(found)} values for {n} texts")
    return found
