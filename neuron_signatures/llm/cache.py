"""Answers that were paid once, in the user's cache folder: for the same request in another run, or again in this one.

One JSON file per request, named by its key. What is read is validated: the key is computed again from the stored
request, and the stored response has a checksum. An entry that does not fit is ignored, and replaced after the request.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neuron_signatures.llm.asking.keys import key_of_fields
from neuron_signatures.runs.names import TMP_PREFIX
from neuron_signatures.runs.opening import NotReadableError, read_regular

log = logging.getLogger(__name__)

CACHE_VARIABLE: Final = "NEURON_SIGNATURES_CACHE"
FOLDER: Final = "llm"
_MAX_BYTES: Final = 16 << 20
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    cache_version: Literal[1] = 1
    request: dict[str, Any]
    body: str
    """Of the HTTP response, as it arrived."""
    body_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    seconds: Annotated[float, Field(strict=False, ge=0)]


class AnswerCache:
    """The cache in a folder. Its files can be read by their owner only: they hold prompts and answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told = False

    def get(self, key: str) -> str | None:
        """The body of the response to the request of this key; None without a valid entry."""
        path = self._path(key)
        try:
            entry = _Entry.model_validate_json(read_regular(path, max_bytes=_MAX_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, NotReadableError, ValidationError) as e:
            log.warning("cache entry %s is ignored: %s", path.name, _reason(e))
            return None
        if key_of_fields(entry.request) != key:
            log.warning("cache entry %s is ignored: it belongs to another request", path.name)
            return None
        if _sha256(entry.body) != entry.body_sha256:
            log.warning("cache entry %s is ignored: it has another checksum", path.name)
            return None
        return entry.body

    def put(self, key: str, fields: dict[str, Any], body: str, seconds: float) -> None:
        """Store the response to the request of these fields, whose key this is.

        A cache that cannot be written is told once, and not an error.
        """
        entry = {
            "cache_version": 1, "request": fields, "body": body, "body_sha256": _sha256(body),
            "seconds": round(seconds, 6),
        }  # fmt: skip
        try:
            self._write(key, json.dumps(entry, ensure_ascii=True, allow_nan=False).encode())
        except OSError as e:
            if not self._told:
                log.warning("answers are not cached: %s (%s)", self.folder, e.strerror or type(e).__name__)
            self._told = True

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def _write(self, key: str, raw: bytes) -> None:
        """Whole or not at all; not synced, because an entry that is lost is only paid again."""
        path = f"{self.folder}/{key[:2]}/{key}.json"  # strings: a Path costs as much time as the file
        temporary = f"{self.folder}/{key[:2]}/{TMP_PREFIX}-{key}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            with os.fdopen(_create(temporary), "wb") as file:
                file.write(raw)
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108
            raise


def open_cache() -> AnswerCache:
    """The cache in `NEURON_SIGNATURES_CACHE`, or in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    root = Path(os.path.expanduser(given)) if given else user_cache_path("neuron-signatures")  # noqa: PTH111
    return AnswerCache(root / FOLDER)


def _create(path: str) -> int:
    """A descriptor of a new file for its owner only, in a folder that is created if it is missing."""
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, _CREATE, 0o600)
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    raise FileNotFoundError(path)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _reason(e: Exception) -> str:
    if isinstance(e, ValidationError):
        return "it is not a valid entry"
    return (e.strerror or "cannot be read") if isinstance(e, OSError) else str(e)
