"""Who promotes a token: search in the write scores of every neuron.

The tables of `--mode write_scores` are read as they are, so this needs no index and is never out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from neuron_signatures.runs.errors import UsageError
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
        self._layer, self._neuron, self._ids = every_id(run_dir, self.top)
        self._scores, mean, std = every_score(run_dir, self.top)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._z: Float32[np.ndarray, "neuron side rank"] = (self._scores - mean[:, None, None]) / std[:, None, None]
        self._z[~np.isfinite(self._z)] = np.nan
        texts = read_token_texts(run_dir)
        self._token_ids, self._tokens = texts.ids, texts.all()
        self._n_ids = int(max(self._ids.max(initial=-1), self._token_ids.max(initial=-1))) + 1
        self._folded = [_folded(token) for token in self._tokens]

    def find(self, query: str, scope: Scope, *, suppressed: bool) -> Found:
        """The poles that promote (or suppress) a token that matches, the best match first, then the largest |z|."""
        how = self._how(query)
        if not how.any():
            return Found((), (f"no neuron writes a token with this text among the {self.top} of each side",))
        by_id = np.zeros(self._n_ids + 1, np.uint8)  # the last one is for -1, no token
        by_id[self._token_ids] = how
        of_rank = by_id[self._ids]
        of_rank[np.isnan(self._scores)] = 0
        if scope.layers is not None:
            of_rank[~np.isin(self._layer, np.array(scope.layers, np.int64))] = 0
        hits: list[Hit] = []
        for kind in (_SAME, _LOOSE, _INSIDE):
            if len(hits) < scope.k:
                hits += self._hits(of_rank == kind, scope.k - len(hits), suppressed=suppressed)
        return Found(tuple(hits))

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

    def _hits(self, mask: np.ndarray, k: int, *, suppressed: bool) -> list[Hit]:
        """Of the written tokens of a mask, those with the largest |z|; ties and undefined ones by neuron."""
        neuron, side, rank = np.nonzero(mask)
        strength = np.nan_to_num(np.abs(self._z[neuron, side, rank]), nan=-1.0)
        if len(strength) > k:
            keep = strength >= np.partition(strength, -k)[-k]
            neuron, side, rank, strength = neuron[keep], side[keep], rank[keep], strength[keep]
        first = np.lexsort((rank, side, neuron, -strength))[:k]
        return [self._hit(int(neuron[i]), int(side[i]), int(rank[i]), suppressed=suppressed) for i in first]

    def _hit(self, row: int, side: int, rank: int, *, suppressed: bool) -> Hit:
        negative = bool(_NEGATIVE[side_of(_NEGATIVE, suppressed=suppressed) == side][0])
        pole: Pole = "-" if negative else "+"
        sign = -1.0 if negative else 1.0
        token_id, z = int(self._ids[row, side, rank]), float(self._z[row, side, rank])
        text = self._tokens[int(np.searchsorted(self._token_ids, token_id))]
        at = NeuronPole(int(self._layer[row]), int(self._neuron[row]), pole)
        score = sign * float(self._scores[row, side, rank])
        return Hit(at, "token", text, score, rank=rank + 1, z=None if np.isnan(z) else sign * z)


def no_writes(e: UsageError, command: str) -> UsageError:
    """The error for a run without write scores, with the command that makes them."""
    return UsageError("there are no write scores", where=e.where, next_step=f"Make them with `{command}`")


def _folded(text: str) -> str:
    """As it is shown, without case, and with spaces for the marks that stand for them."""
    plain = text.isascii() and text.isprintable()
    return (text if plain else visible(text)).casefold().replace("·", " ")
