"""What a check found, and the values that are never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from neuron_signatures.runs.errors import escape_controls, shorten

Level = Literal["ok", "note", "problem"]

KEYS: Final = {
    "HF_TOKEN": "gated and private models of the Hub",
    "OPENAI_API_KEY": "explanations by OpenAI's models, or another server of that kind",
    "NEURONPEDIA_API_KEY": "--fetch of Neuronpedia's explanations of features",
    "NEURON_SIGNATURES_TOKEN": "a server of this program that other machines reach",
}
"""Environment variables that hold keys, and what needs them."""
_OTHER_SECRETS: Final = ("HUGGING_FACE_HUB_TOKEN", "HF_HUB_TOKEN", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY")
_LONGEST: Final = 300


class Finding(NamedTuple):
    """`section` is the group of checks, `text` one line. `next_step` is empty if there is nothing to do."""

    section: str
    level: Level
    text: str
    next_step: str = ""


def shown(text: str, environ: Mapping[str, str] | None = None) -> str:
    """`text` on one line, without control characters and without the values of the keys, at most 300 characters."""
    environ = os.environ if environ is None else environ
    values = {environ.get(name, "").strip() for name in (*KEYS, *_OTHER_SECRETS)}
    for value in sorted(values - {""}, key=len, reverse=True):
        text = re.sub(re.escape(value), "***", text, flags=re.IGNORECASE)  # hosts are shown in lower case
    return shorten(escape_controls(" ".join(text.split())), _LONGEST)


def host_of(url: str) -> str:
    """Scheme, host and port of an address: user names, passwords, paths and queries can hold keys."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return "not an address"
    if not host:
        return "not an address"
    name = f"[{host}]" if ":" in host else host
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    credentials = " (with a user name or password)" if parts.username or parts.password else ""
    return f"{scheme}{name}{'' if port is None else f':{port}'}{credentials}"
