"""Where other tools say a unit is: `6-gemmascope-res-16k` of Neuronpedia, or columns for layer and site."""

from __future__ import annotations

import re
from typing import Final

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import SITES

PATTERN_HELP: Final = "such as gemma-2-2b/{layer}-gemmascope-{site}-16k"
_SITE_WORDS: Final = {
    "res": "res", "resid": "res", "residual": "res", "hook_resid_post": "res", "resid_post": "res", "stream": "res",
    "att": "att", "attn": "att", "attention": "att", "hook_z": "att",
    "mlp": "mlp", "mlp_out": "mlp", "hook_mlp_out": "mlp", "transcoder": "",
    "neuron": "neuron", "neurons": "neuron", "hook_post": "neuron", "mlp_neuron": "neuron",
}  # fmt: skip
"""What other tools call the sites. Transcoders are units of another kind."""
_LAYER_SOURCE: Final = re.compile(r"(\d{1,5})-(.{1,200})", re.DOTALL | re.ASCII)
_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


def site_of(text: str) -> str | None:
    """The site that a text names as one of its words (separated by `-`, `.`, `/` or spaces); None if none or several.

    `6-gemmascope-res-16k` is `res`, `blocks.6.hook_mlp_out` is `mlp`.
    """
    found = {_SITE_WORDS[word] for word in re.split(r"[-./\s:]+", text.strip().lower()) if word in _SITE_WORDS}
    return found.pop() or None if len(found) == 1 else None


def layer_and_source(text: str) -> tuple[int, str] | None:
    """The two parts of `6-gemmascope-res-16k`."""
    found = _LAYER_SOURCE.fullmatch(text.strip())
    return None if found is None else (int(found[1]), found[2])


def check_pattern(text: str, flag: str) -> str:
    """A pattern of one name with `{layer}` and, if it has several sites, `{site}`. Raises `UsageError`."""
    example = text.replace("{layer}", "0").replace("{site}", "res")
    if "{layer}" not in text or not _SAFE.fullmatch(example):
        what = f"{text[:80]!r} is no pattern of sources"
        raise UsageError(what, where=flag, next_step=f"Write it with {{layer}} and {{site}}, {PATTERN_HELP}")
    return text


def parse_neuronpedia(text: str) -> tuple[str, str]:
    """The model and the pattern in `MODEL/PATTERN`. Raises `UsageError`."""
    model, slash, pattern = text.partition("/")
    if not slash or not _SAFE.fullmatch(model):
        raise UsageError(
            f"{text[:80]!r} is not MODEL/PATTERN", where="--neuronpedia", next_step=f"Write {PATTERN_HELP}"
        )
    return model, check_pattern(pattern, "--neuronpedia")


def source_name(pattern: str, layer: int, site: str) -> str:
    """The name of a source in a pattern."""
    return pattern.replace("{layer}", str(layer)).replace("{site}", site)


def place_in(pattern: str, name: str) -> tuple[int, str | None] | None:
    """The layer of a name that fits a pattern, and the site if the pattern has one; None if it does not fit."""
    parts = re.split(r"(\{layer\}|\{site\})", pattern)
    group = {"{layer}": r"(?P<layer>\d{1,5})", "{site}": f"(?P<site>{'|'.join(SITES)})"}
    seen: set[str] = set()
    regex = ""
    for part in parts:
        if part in group and part in seen:
            regex += f"(?P={part[1:-1]})"
        else:
            regex += group.get(part, re.escape(part))
            seen.add(part)
    found = re.fullmatch(regex, name.strip())
    return None if found is None else (int(found["layer"]), found.groupdict().get("site"))
