"""Reads a source: drops duplicates and texts that cannot be used, and makes batches of documents."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from neuron_signatures.records.corpus.sources.items import Item
from neuron_signatures.runs.errors import UsageError, shorten
from neuron_signatures.runs.tokens import encodable

log = logging.getLogger(__name__)

DUPLICATE, EMPTY, TOO_SHORT = "duplicate", "empty", "too_short"
SURROGATE = "surrogate"

_BATCH_CHARACTERS = 1 << 18
_BATCH_ITEMS = 4096
_MOST_WARNINGS = 3
_NAME = 500
"""Characters of a document's name that are stored."""


class Document(NamedTuple):
    """A text that is new in the corpus."""

    name: str
    text: str
    digest: bytes


class Dropped(NamedTuple):
    """Something that is not a document of the corpus, and why."""

    reason: str


@dataclass
class Reading:
    """What was read so far. Memory grows by about 100 bytes per document: half of its sha256 is kept."""

    n_read: int = 0
    _seen: set[bytes] = field(default_factory=set)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _warned: Counter[str] = field(default_factory=Counter)

    @property
    def sha256(self) -> str:
        """Checksum of everything that was read, in order."""
        return self._digest.hexdigest()

    def admit(self, item: Item) -> Document | Dropped:
        """The item as a document, or why it is none."""
        self.n_read += 1
        found = self._judge(item)
        self._digest.update(found.digest if isinstance(found, Document) else found.reason.encode() + b"\0")
        return found

    def _judge(self, item: Item) -> Document | Dropped:
        if item.skipped:
            self._warn(item)
            return Dropped(item.skipped)
        try:
            raw = item.text.encode()
        except UnicodeEncodeError:
            self._warn(item, "has an unpaired surrogate, which is not a character")
            return Dropped(SURROGATE)
        if not item.text.strip():
            return Dropped(EMPTY)
        digest = hashlib.sha256(raw).digest()
        if digest[:16] in self._seen:
            return Dropped(DUPLICATE)
        self._seen.add(digest[:16])
        return Document(shorten(encodable(item.name), _NAME), item.text, digest)

    def _warn(self, item: Item, detail: str = "") -> None:
        detail = detail or item.detail
        if not detail:
            return
        self._warned[item.skipped] += 1
        if self._warned[item.skipped] <= _MOST_WARNINGS:
            log.warning("skipped %s: %s", encodable(item.name), detail)


def skip_read(items: Iterator[Item], reading: Reading, *, n: int, sha256: str, where: str) -> None:
    """Read the `n` items that an earlier process stored. Raises `UsageError` if they are others than then."""
    for item in items:
        reading.admit(item)
        if reading.n_read == n:
            break
    if reading.n_read != n or reading.sha256 != sha256:
        what = f"the first {n} texts of the corpus are not those that were read before: it has changed"
        raise UsageError(what, where=where, next_step="Start again without --resume")


def batches(items: Iterable[Item], reading: Reading) -> Iterator[list[Document | Dropped]]:
    """The admitted items in groups of about a million characters, the last one smaller."""
    batch: list[Document | Dropped] = []
    characters = 0
    for item in items:
        found = reading.admit(item)
        batch.append(found)
        characters += len(found.text) if isinstance(found, Document) else 0
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_ITEMS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
