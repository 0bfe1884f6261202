"""The n-grams of the corpus that are frequent enough, and where they are in a batch of windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import PARTS, Part

LONGEST: Final = 3
_WINDOWS_AT_ONCE: Final = 4096


class _Counted(NamedTuple):
    """Keys of n-grams, ascending, and how often each ends at a position that counts."""

    key: Int64[np.ndarray, " ngram"]
    times: Int64[np.ndarray, " ngram"]


@dataclass(frozen=True, eq=False)
class NgramIndex:
    """The n-grams by n, and by count within it. An n-gram is at the position of its last token; all its tokens are in
    one window. Every suffix of an n-gram is there too."""

    vocabulary: Int64[np.ndarray, " token"]
    """Token ids, ascending."""
    keys: tuple[Int64[np.ndarray, "_"], ...]
    """For each n the keys of its n-grams, ascending ..."""
    rows: tuple[Int64[np.ndarray, "_"], ...]
    """... and the numbers of these n-grams."""
    ids: Int32[np.ndarray, "ngram 3"]
    """Tokens; -1 where n is smaller than 3."""
    suffix: Int64[np.ndarray, " ngram"]
    """The n-gram without its first token; -1 for a single one."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n(self) -> Int64[np.ndarray, " ngram"]:
        """Tokens of each n-gram."""
        return np.asarray((self.ids >= 0).sum(axis=1))

    def places(self, token_ids: Int64[np.ndarray, "window pos"]) -> Int64[np.ndarray, "3 window pos"]:
        """For each n the number of the n-gram that ends at each position; -1 for none."""
        found = np.full((LONGEST, *token_ids.shape), -1, np.int64)
        for n, key in enumerate(_keys(token_ids, self.vocabulary)):
            if len(self.keys[n]):
                at = np.minimum(np.searchsorted(self.keys[n], key), len(self.keys[n]) - 1)
                found[n] = np.where(self.keys[n][at] == key, self.rows[n][at], -1)
        return found


def make_index(corpus: Corpus, part: Part, *, min_count: int, max_ngrams: int) -> NgramIndex:
    """Count all n-grams of a part. Of each n the `max_ngrams` most frequent are kept, and all their suffixes."""
    vocabulary = _vocabulary(corpus, part)
    counted = _count(corpus, part, vocabulary)
    kept = [_frequent(of_n, min_count, max_ngrams) for of_n in counted]
    size = max(1, len(vocabulary))
    for n in range(LONGEST - 1, 0, -1):
        suffixes = np.unique(kept[n] % size**n)
        kept[n - 1] = np.concatenate([kept[n - 1], np.setdiff1d(suffixes, kept[n - 1])])
    keys, rows, ids, suffix, first = [], [], [], [], 0
    for n in range(LONGEST):
        chosen = kept[n]
        count = counted[n].times[np.searchsorted(counted[n].key, chosen)]
        chosen = chosen[np.lexsort((chosen, -count))]
        order = np.argsort(chosen)
        keys.append(chosen[order])
        rows.append(first + order)
        codes = [chosen // size ** (n - k) % size for k in range(n + 1)]
        ids.append(np.stack([*(vocabulary[c] for c in codes), *[np.full(len(chosen), -1)] * (LONGEST - 1 - n)], axis=1))
        at = np.searchsorted(keys[n - 1], chosen % size**n) if n else None
        suffix.append(np.full(len(chosen), -1) if at is None else rows[n - 1][at])
        first += len(chosen)
    return NgramIndex(
        vocabulary, tuple(keys), tuple(rows), np.concatenate(ids).astype(np.int32), np.concatenate(suffix)
    )


def _vocabulary(corpus: Corpus, part: Part) -> Int64[np.ndarray, " token"]:
    found = np.empty(0, np.int64)
    for token_ids, _ in _windows(corpus, part):
        found = np.union1d(found, token_ids[token_ids >= 0])
    return found.astype(np.int64)


def _count(corpus: Corpus, part: Part, vocabulary: Int64[np.ndarray, " token"]) -> list[_Counted]:
    total = [_Counted(np.empty(0, np.int64), np.empty(0, np.int64)) for _ in range(LONGEST)]
    for token_ids, counts in _windows(corpus, part):
        for n, key in enumerate(_keys(token_ids, vocabulary)):
            new, times = np.unique(key[counts & (key >= 0)], return_counts=True)
            total[n] = _added(total[n], _Counted(new, times))
    return total


def _added(a: _Counted, b: _Counted) -> _Counted:
    key, place = np.unique(np.concatenate([a.key, b.key]), return_inverse=True)
    count = np.bincount(place, np.concatenate([a.times, b.times]), len(key))
    return _Counted(key, count.astype(np.int64))


def _frequent(counted: _Counted, min_count: int, most: int) -> Int64[np.ndarray, " ngram"]:
    enough = np.flatnonzero(counted.times >= min_count)
    order = np.lexsort((counted.key[enough], -counted.times[enough]))[:most]
    found: np.ndarray = counted.key[enough[order]]
    return found


def _windows(corpus: Corpus, part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token ids of some windows, -1 after their end, and which positions count."""
    own = np.flatnonzero(corpus.document_part[corpus.window_document] == PARTS.index(part))
    for start in range(0, len(own), _WINDOWS_AT_ONCE):
        chosen = own[start : start + _WINDOWS_AT_ONCE]
        lengths = corpus.window_length[chosen]
        ids = np.full((len(chosen), int(lengths.max())), -1, np.int64)
        pos = np.arange(ids.shape[1])
        for row, window in enumerate(chosen.tolist()):
            ids[row, : lengths[row]] = corpus.token_ids(window)
        yield ids, (pos >= corpus.window_counted_from[chosen][:, None]) & (pos < lengths[:, None])


def _keys(
    token_ids: Int64[np.ndarray, "window pos"], vocabulary: Int64[np.ndarray, " token"]
) -> list[Int64[np.ndarray, "window pos"]]:  # fmt: skip
    """For each n the key of the n-gram that ends at each position: its tokens as digits. -1 for none."""
    size = max(1, len(vocabulary))
    at = np.minimum(np.searchsorted(vocabulary, token_ids), size - 1)
    known = vocabulary[at] == token_ids if len(vocabulary) else np.zeros(token_ids.shape, bool)
    code = np.where(known, at, -1)
    found = [code]
    for n in range(1, LONGEST):
        longer = np.full_like(code, -1)
        before, last = found[n - 1][:, :-1], code[:, 1:]
        longer[:, 1:] = np.where((before >= 0) & (last >= 0), before * size + last, -1)
        found.append(longer)
    return found
