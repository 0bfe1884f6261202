"""The tokens that every neuron of a run promotes and suppresses, to show and search them in lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.result_records import WriteScoresRecord, WritesRecord, read_record
from neuron_signatures.runs.results import (
    WRITES_META,
    list_influence,
    write_scores_name,
)
from neuron_signatures.runs.written import TokenTexts, every_id, side_of
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.filters import matcher
from neuron_signatures.views.neurons.poles import KeyIndex, Poles
from neuron_signatures.views.neurons.writes import token_texts

if TYPE_CHECKING:
    from jaxtyping import Bool, Int32, Int64


class Tokens(NamedTuple):
    """Raw tokens of one neuron, strongest first."""

    promotes: tuple[str, ...]
    suppresses: tuple[str, ...]


class WrittenTokens:
    """Token ids by neuron and side (promoted, suppressed), strongest first, and -1 where there is none."""

    def __init__(
        self, keys: Int64[np.ndarray, " neuron"], ids: Int32[np.ndarray, "neuron side rank"],
        texts: TokenTexts,
    ) -> None:  # fmt: skip
        self._index, self._ids, self._texts = KeyIndex(keys), ids, texts
        self._found: dict[str, Bool[np.ndarray, "neuron side"]] = {}

    def of(self, pole: Poles) -> Tokens:
        """What one pole writes: a negative activation promotes what the neuron suppresses. Empty if unknown."""
        row = int(self._index.rows(pole.keys(signed=False))[0])
        if row < 0:
            return Tokens((), ())
        up, down = (tuple(self._texts.text(i) for i in side if i >= 0) for side in self._ids[row].tolist())
        return Tokens(down, up) if pole.negative[0] else Tokens(up, down)

    def matching(self, poles: Poles, pattern: str, *, suppressed: bool = False) -> Bool[np.ndarray, " row"]:
        """Mask of the poles that promote (or suppress) a token that matches `pattern`, among those stored."""
        hits = self._hits(pattern)
        rows = self._index.rows(poles.keys(signed=False))
        side = side_of(poles.negative, suppressed=suppressed)
        found: np.ndarray = (rows >= 0) & hits[rows, side] if len(hits) else np.zeros(len(rows), bool)
        return found

    def _hits(self, pattern: str) -> Bool[np.ndarray, "neuron side"]:
        """Whether each neuron has a matching token on each side; the last pattern is cached."""
        if pattern not in self._found:
            wanted = self._texts.matching(matcher(pattern))
            found: np.ndarray = np.any(np.isin(self._ids, wanted), axis=2)
            self._found = {pattern: found}
        return self._found[pattern]


def written_tokens(run_dir: Path) -> WrittenTokens | None:
    """From the table of `--mode write_scores`; without it, of the neurons that results with `--write_scores` list.

    None if there is neither. Raises `BadRunError` for damaged files.
    """
    try:
        record = read_record(run_dir, WRITES_META, WritesRecord)
        found = every_id(run_dir, record.top)
        texts = token_texts(run_dir)
    except UsageError:
        return _of_results(run_dir)
    return WrittenTokens(_keys(found.layer, found.neuron), found.ids, texts)


def _of_results(run_dir: Path) -> WrittenTokens | None:
    import pyarrow as pa

    found: dict[NeuronAt, list[list[tuple[int, str]]]] = {}
    for stem in list_influence(run_dir):
        try:
            record = read_record(run_dir, write_scores_name(stem), WriteScoresRecord)
        except UsageError:
            continue
        for n in record.neurons:
            sides = [[(w.token_id, w.token) for w in side] for side in (n.promotes, n.suppresses)]
            found.setdefault(NeuronAt(n.layer, n.neuron), sides)
    if not found:
        return None
    texts = dict(pair for sides in found.values() for side in sides for pair in side)
    ids = np.full((len(found), 2, max(len(s) for sides in found.values() for s in sides)), -1, np.int32)
    for row, sides in enumerate(found.values()):
        for side, tokens in enumerate(sides):
            ids[row, side, : len(tokens)] = [i for i, _ in tokens]
    layer, neuron = (np.array(v, np.int64) for v in zip(*found, strict=True))
    table = pa.table({"token_id": sorted(texts), "token": [texts[i] for i in sorted(texts)]})
    return WrittenTokens(_keys(layer, neuron), ids, TokenTexts(table))


def _keys(layer: np.ndarray, neuron: np.ndarray) -> np.ndarray:
    return Poles(layer, neuron, np.zeros(len(layer), bool)).keys(signed=False)
