"""Short labels of ranked lists for a narrow select box, with the parts that tell them apart first."""

from __future__ import annotations

import re

# `relp by mean → ·Austin (next_token), seed_prompt at 8`, as `views.lists.list_files` titles influence results.
_INFLUENCE = re.compile(
    r"(?P<metric>\S+) by (?P<reference>.+?) → (?P<target>.+) \((?P<mode>\w+)\), (?P<where>.+)", re.DOTALL
)


def list_label(title: str) -> str:
    """`relp → ·Austin, seed_prompt at 8 (by mean, next_token)`; other titles as they are."""
    m = _INFLUENCE.fullmatch(title)
    if m is None:
        return title
    return f"{m['metric']} → {m['target']}, {m['where']} (by {m['reference']}, {m['mode']})"
