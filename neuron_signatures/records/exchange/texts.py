"""The distinct texts of imported records, as windows of a corpus: each its own document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from neuron_signatures.records.corpus.parts import part_index
from neuron_signatures.records.exchange.spool import Spool
from neuron_signatures.runs.records.corpus_files import CorpusArrays, DocumentRow
from neuron_signatures.runs.records.names import PARTS, Part

SEED = 0
"""Of the parts."""


class Texts:
    """Windows numbered in the order in which their texts were first seen. Memory: about 200 bytes per window.

    `percent` of the texts, by their hash, are of each part; equal texts are of one part.
    """

    def __init__(self, skip_first: int, percent: Sequence[int]) -> None:
        self.skip_first = skip_first
        self._percent = percent
        self._parts = bytearray()
        self.vocabulary: dict[str, int] = {}
        self._windows: dict[tuple[bytes, int], int] = {}
        self._tokens = Spool("i4")
        self._lengths: list[int] = []
        self._digests: list[bytes] = []

    @property
    def n_windows(self) -> int:
        return len(self._lengths)

    @property
    def n_tokens(self) -> int:
        return self._tokens.n

    @property
    def n_counted(self) -> int:
        return self.n_tokens - self.skip_first * self.n_windows

    def window(self, tokens: Sequence[str], occurrence: int) -> int:
        """The window of a text; the same text with other activations of the same neuron has a higher `occurrence`."""
        ids = np.array([self.vocabulary.setdefault(t, len(self.vocabulary)) for t in tokens], np.int32)
        key = (hashlib.sha256(ids.tobytes()).digest(), occurrence)
        if key not in self._windows:
            self._windows[key] = len(self._lengths)
            self._tokens.extend(ids)
            self._lengths.append(len(ids))
            self._digests.append(hashlib.sha256("\0".join([*tokens, str(occurrence)]).encode()).digest())
            text = hashlib.sha256("\0".join(tokens).encode()).digest()
            self._parts.append(part_index(text, seed=SEED, percent=self._percent))
        return self._windows[key]

    def parts(self, windows: np.ndarray) -> np.ndarray:
        """The index in PARTS of each window."""
        return np.array([self._parts[w] for w in windows.tolist()], np.uint8)

    def n_by_part(self) -> dict[Part, int]:
        """Windows, which are also the documents."""
        return {part: self._parts.count(i) for i, part in enumerate(PARTS)}

    def counted_by_part(self) -> dict[Part, int]:
        """Positions that count."""
        found = np.zeros(len(PARTS), np.int64)
        np.add.at(found, np.frombuffer(bytes(self._parts), np.uint8), np.array(self._lengths, np.int64))
        return {p: int(found[i]) - self.skip_first * n for i, (p, n) in enumerate(self.n_by_part().items())}

    def arrays(self) -> CorpusArrays:
        lengths = np.array(self._lengths, np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)])[: len(lengths)].astype(np.int64)
        counted_from = np.full(len(lengths), self.skip_first, np.int32)
        return CorpusArrays(
            self._tokens.array(), starts, lengths, counted_from, np.arange(len(lengths), dtype=np.int32)
        )

    def documents(self) -> Iterator[DocumentRow]:
        at = 0
        for i, (n, digest, part) in enumerate(zip(self._lengths, self._digests, self._parts, strict=True)):
            yield DocumentRow(f"imported text {i + 1}", digest.hex(), PARTS[part], i, 1, at, n)
            at += n

    def source_sha256(self) -> str:
        return hashlib.sha256(b"".join(self._digests)).hexdigest()

    @property
    def longest(self) -> int:
        return max(self._lengths, default=1)

    def close(self) -> None:
        self._tokens.close()
