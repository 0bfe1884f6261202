"""What is searched for, as parts of the page's address: `q=...&by=words&kinds=explanation&layers=0,3`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from neuron_signatures.runs.run import Run
from neuron_signatures.runs.search.names import KINDS
from neuron_signatures.views.search_run.asked import LONGEST, WAYS, Asked

KEYS = ("q", "by", "kinds", "layers")


def asked_of(address: Mapping[str, str], run: Run, problems: list[str]) -> Asked:
    """What the address asks for; invalid parts are left out and named in `problems`."""
    way, kinds, layers = address.get("by", WAYS[0]), KINDS, tuple[int, ...]()
    if way not in WAYS:
        problems.append(f"by is {', '.join(WAYS)}, not {way[:60]!r}")
        way = WAYS[0]
    if "kinds" in address:
        chosen = address["kinds"].split(",")
        kinds = tuple(k for k in KINDS if k in chosen) or KINDS
        if unknown := [k for k in chosen if k not in KINDS]:
            problems.append(f"kinds are {' and '.join(KINDS)}, not {unknown[0][:60]!r}")
    if "layers" in address:
        layers = _layers(address["layers"], run, problems)
    return Asked(address.get("q", "")[:LONGEST], way, kinds, layers)


def parts_of(asked: Asked) -> dict[str, str]:
    """The inverse of `asked_of`; what is as by default is left out."""
    parts = {
        "q": asked.query, "by": asked.way if asked.way != WAYS[0] else "",
        "kinds": ",".join(asked.kinds) if asked.kinds != KINDS else "", "layers": ",".join(map(str, asked.layers)),
    }  # fmt: skip
    return {key: text for key, text in parts.items() if text}


def _layers(text: str, run: Run, problems: list[str]) -> tuple[int, ...]:
    chosen = [int(part) if re.fullmatch(r"[0-9]{1,6}", part) else -1 for part in text.split(",")]
    if any(layer not in run.layers for layer in chosen):
        problems.append(f"layers: {text[:60]!r} are not all stored in this run")
    return tuple(sorted({layer for layer in chosen if layer in run.layers}))
