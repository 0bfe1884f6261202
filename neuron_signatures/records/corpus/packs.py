"""Joins short documents of a part to packs of about 8 windows (`--concatenate`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np

from neuron_signatures.records.corpus.journal import Entry
from neuron_signatures.records.corpus.settings import WINDOWS_PER_PACK, CorpusSettings
from neuron_signatures.runs.records.names import PARTS


class Pack(NamedTuple):
    """A document of the corpus files: its row, its tokens, and the documents of the source in it."""

    entry: Entry
    tokens: np.ndarray
    n_members: int


@dataclass
class _Open:
    """The documents of one part that are not yet in a pack."""

    members: list[Entry] = field(default_factory=list)
    tokens: list[np.ndarray] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        return sum(len(t) for t in self.tokens)

    def add(self, entry: Entry, tokens: np.ndarray, eos: int) -> None:
        if self.members:
            self.tokens.append(np.array([eos], np.int32))
        self.members.append(entry)
        self.tokens.append(tokens)

    def close(self) -> Pack:
        first, more = self.members[0], len(self.members) - 1
        name = f"{first.name} (+{more})" if more else first.name
        digests = b"".join(bytes.fromhex(m.sha256) for m in self.members)
        sha256 = hashlib.sha256(digests).hexdigest() if more else first.sha256
        tokens = np.concatenate(self.tokens)
        pack = Pack(Entry(name, sha256, first.part, len(tokens)), tokens, len(self.members))
        self.members, self.tokens = [], []
        return pack


def single(entries: Iterable[Entry], tokens: BinaryIO) -> Iterator[Pack]:
    """Each document on its own. `tokens` is the open file of all their tokens."""
    for entry, ids in _with_tokens(entries, tokens):
        yield Pack(entry, ids, 1)


def packs(entries: Iterable[Entry], tokens: BinaryIO, settings: CorpusSettings) -> Iterator[Pack]:
    """Consecutive documents of the same part, joined by the end-of-text token.

    A pack is closed when it has at least 8 full windows; the unfinished ones come last. Its checksum is the sha256 of
    the documents' checksums, or that of its only document.
    """
    assert settings.eos_token_id is not None
    enough = settings.text_length + (WINDOWS_PER_PACK - 1) * settings.step
    unfinished = [_Open() for _ in PARTS]
    for entry, ids in _with_tokens(entries, tokens):
        pack = unfinished[entry.part]
        pack.add(entry, ids, settings.eos_token_id)
        if pack.n_tokens >= enough:
            yield pack.close()
    yield from (pack.close() for pack in unfinished if pack.members)


def _with_tokens(entries: Iterable[Entry], tokens: BinaryIO) -> Iterator[tuple[Entry, np.ndarray]]:
    for entry in entries:
        yield entry, np.frombuffer(tokens.read(4 * entry.n_tokens), np.int32)
