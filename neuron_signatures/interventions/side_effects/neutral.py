"""Neutral prompts and a held-out text: what an intervention should leave as it is (`data/neutral.json`)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_json_input
from neuron_signatures.runs.names import safe_id

ENOUGH_PROMPTS = 50
DEFAULT = "default"
_SHAPE = '{"prompts": [{"text": "The opposite of hot is", "continuation": " cold"}, ...], "held_out": "..."}'


@dataclass(frozen=True)
class NeutralText:
    """A prompt, and the word that follows, with its leading space; None if no single word must."""

    text: str
    continuation: str | None = None


@dataclass(frozen=True)
class Neutral:
    """`held_out` is prose for a perplexity. `name` is `default`, or the name of the file."""

    prompts: tuple[NeutralText, ...]
    held_out: str
    name: str

    @property
    def sha256(self) -> str:
        """Of the texts."""
        texts = [self.held_out, *([p.text, p.continuation] for p in self.prompts)]
        return hashlib.sha256(json.dumps(texts).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def label(self) -> str:
        """As part of a file name; empty for the prompts of the package."""
        return "" if self.name == DEFAULT else f"neutral-{safe_id(self.name)}-{self.sha256[:8]}"

    def record(self) -> dict[str, str]:
        """For the settings of a result."""
        return {"name": self.name, "sha256": self.sha256}

    def warnings(self) -> tuple[str, ...]:
        """A warning if there are too few prompts for a mean over them."""
        n = len(self.prompts)
        few = f"{n} neutral prompts are few: side effects are means over them, so use {ENOUGH_PROMPTS} or more"
        return (few,) if n < ENOUGH_PROMPTS else ()


def load_neutral(path: Path | None) -> Neutral:
    """The neutral prompts of a JSON file; those of the package for None. Raises `UsageError`."""
    if path is None:
        raw = files("neuron_signatures.interventions.side_effects").joinpath("data/neutral.json").read_bytes()
        return _checked(parse_json(raw), "neutral.json", DEFAULT)
    return _checked(read_json_input(path), str(path), path.name)


def _checked(raw: Any, where: str, name: str) -> Neutral:
    if not isinstance(raw, dict) or set(raw) != {"prompts", "held_out"} or not isinstance(raw["prompts"], list):
        what = "not an object with the keys prompts (a list) and held_out (a text)"
        raise UsageError(what, where=where, next_step=f"Write {_SHAPE}")
    if not _is_text(raw["held_out"]) or not raw["prompts"]:
        what = "held_out is not a text" if raw["prompts"] else "there are no prompts"
        raise UsageError(what, where=where, next_step=f"Write {_SHAPE}")
    prompts = tuple(_prompt(p, f"{where}: prompts[{i}]") for i, p in enumerate(raw["prompts"]))
    return Neutral(prompts, raw["held_out"], name)


def _prompt(raw: Any, where: str) -> NeutralText:
    if not isinstance(raw, dict) or not raw.keys() <= {"text", "continuation"} or not _is_text(raw.get("text")):
        what = "not an object with a text and, if one word must follow, a continuation"
        raise UsageError(what, where=where, next_step=f"Write {_SHAPE}")
    if raw.get("continuation") is not None and not _is_text(raw["continuation"]):
        raise UsageError("the continuation is not a text", where=where, next_step=f"Write {_SHAPE}")
    return NeutralText(raw["text"], raw.get("continuation"))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
