"""The distinct texts of imported records, as windows of a corpus: each its own document, of part explain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from neuron_signatures.records.exchange.spool import Spool
from neuron_signatures.runs.records.corpus_files import CorpusArrays, DocumentRow


class Texts:
    """Windows numbered in the order in which their texts were first seen. Memory: about 200 bytes per window."""

    def __init__(self, skip_first: int) -> None:
        self.skip_first = skip_first
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
        return self._windows[key]

    def arrays(self) -> CorpusArrays:
        lengths = np.array(self._lengths, np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)])[: len(lengths)].astype(np.int64)
        counted_from = np.full(len(lengths), self.skip_first, np.int32)
        return CorpusArrays(
            self._tokens.array(), starts, lengths, counted_from, np.arange(len(lengths), dtype=np.int32)
        )

    def documents(self) -> Iterator[DocumentRow]:
        at = 0
        for i, (n, digest) in enumerate(zip(self._lengths, self._digests, strict=True)):
            yield DocumentRow(f"imported text {i + 1}", digest.hex(), "explain", i, 1, at, n)
            at += n

    def source_sha256(self) -> str:
        return hashlib.sha256(b"".join(self._digests)).hexdigest()

    @property
    def longest(self) -> int:
        return max(self._lengths, default=1)

    def close(self) -> None:
        self._tokens.close()
