"""Who promotes a token: search in the write scores of every neuron.

The tables of `--mode write_scores` are read as they are, so this needs no index and is never out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from neuron_signatures.runs.records.names import NeuronPole, Pole
from neuron_signatures.runs.result_records import WritesRecord, read_record
from neuron_signatures.runs.results import WRITES_META
from neuron_signatures.runs.search.hits import Found, Hit, Scope
from neuron_signatures.runs.tokens import visible
from neuron_signatures.runs.written import every_id, every_score, read_token_texts, side_of

MOST_RANKS: Final = 50
"""Tokens of each side that are searched, if more are stored."""
_SAME, _LOOSE, _INSIDE = 1, 2, 3
_NEGATIVE: Final = np.array([False, True])
"""The poles in their order."""


class WrittenTokens:
    """The tokens that each pole promotes and suppresses, and their scores.

    `z` is a score in standard deviations of the neuron's scores over the vocabulary, from their mean. Write scores of
    different layers are in different units; these numbers are not.
    """

    def __init__(self, run_dir: Path) -> None:
        """Raises `UsageError` if there are no write scores, `BadRunError` if they are damaged."""
        record = read_record(run_dir, WRITES_META, WritesRecord)
        self.top = min(record.top, MOST_RANKS)
        self._layer, self._neuron, ids = every_id(run_dir, self.top)
        self._scores, mean, std = every_score(run_dir, self.top)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._z: Float32[np.ndarray, "neuron side rank"] = (self._scores - mean[:, None, None]) / std[:, None, None]
        self._z[~np.isfinite(self._z)] = np.nan
        texts = read_token_texts(run_dir)
        self._token_ids, self._tokens = texts.ids, texts.all()
        self._folded = [_folded(token) for token in self._tokens]
        self._written, self._texts = ids.ravel(), texts
        self._ids, self._entries = self._sorted(self._written)

    def _sorted(self, ids: Int32[np.ndarray, " entry"]) -> tuple[np.ndarray, np.ndarray]:
        """The token ids in ascending order, of each the largest |z| first, and the flat index of each entry."""
        entries = np.flatnonzero((ids >= 0) & np.isfinite(self._scores.ravel()))
        strength = np.nan_to_num(np.abs(self._z.ravel()[entries]), nan=0.0)
        weakness = np.uint32(0xFFFFFFFF) - strength.view(np.uint32)  # positive floats are in the order of their bits
        order = np.argsort((ids[entries].astype(np.int64) << 32) | weakness.astype(np.int64), kind="stable")
        return ids[entries][order], entries[order].astype(np.int32)

    def find(self, query: str, scope: Scope, *, suppressed: bool) -> Found:
        """The poles that promote (or suppress) a token that matches, the best match first, then the largest |z|."""
        how = self._how(query)
        hits: list[Hit] = []
        for kind in (_SAME, _LOOSE, _INSIDE):
            if len(hits) < scope.k:
                entries = self._strongest(self._token_ids[how == kind], scope, scope.k - len(hits))
                hits += [self._hit(entry, suppressed=suppressed) for entry in entries]
        none = f"no neuron of these layers writes a token with this text among the {self.top} of each side"
        return Found(tuple(hits), () if hits else (none,))

    def _strongest(self, token_ids: Int64[np.ndarray, " id"], scope: Scope, k: int) -> list[int]:
        """The k entries of some tokens with the largest |z|; ties by neuron, undefined ones last."""
        first = np.searchsorted(self._ids, token_ids, side="left")
        counts = np.searchsorted(self._ids, token_ids, side="right") - first
        first, counts = first[counts > 0], counts[counts > 0]
        if scope.layers is None and len(first) > k:  # the k best are of the k tokens whose first entry is best
            top = np.abs(self._z.ravel()[self._entries[first]])
            top = np.nan_to_num(top, nan=-1.0)
            wanted = top >= np.partition(top, -k)[-k]
            first, counts = first[wanted], counts[wanted]
        start = np.cumsum(counts) - counts
        entries = self._entries[np.arange(counts.sum()) + np.repeat(first - start, counts)].astype(np.int64)
        if scope.layers is not None:
            layer = self._layer[entries // self._z[0].size]
            entries = entries[np.isin(layer, np.array(scope.layers, np.int64))]
        strength = np.nan_to_num(np.abs(self._z.ravel()[entries]), nan=-1.0)
        found: list[int] = entries[np.lexsort((entries, -strength))[:k]].tolist()
        return found

    def _how(self, query: str) -> UInt8[np.ndarray, " token"]:
        """How each token of the vocabulary matches the query: exactly, but for case and spaces, as a part, or not."""
        is_quoted = len(query) > 2 and query[0] == query[-1] == '"'
        text = query[1:-1] if is_quoted else query
        folded = _folded(text)
        bare = folded.strip(" ")
        found = np.zeros(len(self._tokens), np.uint8)
        for i, other in enumerate(self._folded):
            if folded in other:
                is_same = other.strip(" ") == bare and text in (self._tokens[i], visible(self._tokens[i]))
                found[i] = _SAME if is_same else _LOOSE if other.strip(" ") == bare else _INSIDE
        if is_quoted:
            found[found != _SAME] = 0
        return found

    def _hit(self, entry: int, *, suppressed: bool) -> Hit:
        row, side, rank = (int(i) for i in np.unravel_index(entry, self._z.shape))
        negative = bool(_NEGATIVE[side_of(_NEGATIVE, suppressed=suppressed) == side][0])
        pole: Pole = "-" if negative else "+"
        sign = -1.0 if negative else 1.0
        z, score = float(self._z[row, side, rank]), sign * float(self._scores[row, side, rank])
        at = NeuronPole(int(self._layer[row]), int(self._neuron[row]), pole)
        text = self._texts.text(int(self._written[entry]))
        return Hit(at, "token", text, score, rank=rank + 1, z=None if np.isnan(z) else sign * z)


def _folded(text: str) -> str:
    """As it is shown, without case, and with spaces for the marks that stand for them."""
    plain = text.isascii() and text.isprintable()
    return (text if plain else visible(text)).casefold().replace("·", " ")
