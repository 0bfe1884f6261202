"""Answers of Neuronpedia in the user's cache folder: one JSON file per address, in which only explanations are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Annotated, Final, Literal

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.llm.cache import CACHE_VARIABLE
from neuron_signatures.runs.files import whole_file
from neuron_signatures.runs.opening import NotReadableError, read_regular

log = logging.getLogger(__name__)

FOLDER: Final = "neuronpedia"
_MAX_BYTES: Final = 16 << 20
_Text = Annotated[str, Field(max_length=20_000)]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FeatureExplanation(_Stored):
    """One explanation of a feature, as the answer says."""

    text: _Text
    by: _Text
    """Model and method."""
    score: Annotated[float, Field(strict=False)] | None = None
    score_name: _Text = ""


class FeatureAnswer(_Stored):
    """What Neuronpedia says about a feature. `none`: it has no such feature, or no explanation of it."""

    cache_version: Literal[1] = 1
    url: _Text
    retrieved_at: _Text
    status: Literal["ok", "none"]
    reason: _Text = ""
    body_sha256: _Text
    """Of the whole answer, which also holds activations."""
    explanations: Annotated[list[FeatureExplanation], Field(max_length=1000)]


class FeatureCache:
    """The cache in a folder; without one nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._told = False

    def get(self, url: str) -> FeatureAnswer | None:
        """The answer of an address; None without a valid one."""
        if self.folder is None:
            return None
        name = _name(url)
        try:
            raw = read_regular(self.folder / name[:2] / name, max_bytes=_MAX_BYTES)
            found = FeatureAnswer.model_validate_json(raw)
        except FileNotFoundError:
            return None
        except (OSError, NotReadableError, ValidationError):
            log.warning("cache entry %s is ignored: it is not a valid entry", name)
            return None
        if found.url != url:
            log.warning("cache entry %s is ignored: it belongs to another address", name)
            return None
        return found

    def put(self, answer: FeatureAnswer) -> None:
        """A cache that cannot be written is told once, and not an error."""
        if self.folder is None:
            return
        name = _name(answer.url)
        try:
            (self.folder / name[:2]).mkdir(parents=True, exist_ok=True, mode=0o700)
            with whole_file(self.folder / name[:2], name) as file:
                file.write(json.dumps(answer.model_dump(), ensure_ascii=True, allow_nan=False).encode())
        except OSError as e:
            if not self._told:
                log.warning("answers are not cached: %s (%s)", self.folder, e.strerror or type(e).__name__)
            self._told = True


def open_feature_cache() -> FeatureCache:
    """The cache in `NEURON_SIGNATURES_CACHE`, or in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    root = Path(os.path.expanduser(given)) if given else user_cache_path("neuron-signatures")  # noqa: PTH111
    return FeatureCache(root / FOLDER)


def _name(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest() + ".json"
