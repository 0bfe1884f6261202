"""On which tokens every neuron of a corpus is strongest most often, to show and search it in lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.records.names import NEURONS, RECORDS
from neuron_signatures.runs.tokens import encodable, visible
from neuron_signatures.views.filters import matcher
from neuron_signatures.views.neurons.poles import KeyIndex, Poles

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Int32

_COLUMNS = ("often_pos", "often_neg")
_MOST = 5
_AT_ONCE = 1 << 13
"""Rows whose tokens are parsed at a time."""


class OftenOn(NamedTuple):
    """One pole of a neuron. Nothing is known of a neuron that is never active with this sign."""

    tokens: tuple[str, ...] = ()
    """Raw; the tokens at the peaks of its strongest windows, the most frequent first."""
    share: float | None = None
    """Share of these windows whose peak is the first token."""

    def text(self) -> str:
        """`·Texas ·Dallas`, as displayed."""
        return " ".join(map(visible, self.tokens))

    def text_with_share(self) -> str:
        """`·Texas 62 %, ·Dallas`, as displayed; a token with a comma is in quotes."""
        if not self.tokens or self.share is None:
            return self.text()
        shown = map(visible, self.tokens)
        first, *others = (f'"{t}"' if "," in t else t for t in shown)
        return ", ".join([f"{first} {self.share:.0%}".replace("%", " %"), *others])


class Often:
    """The columns `often_*` of the table of neurons."""

    def __init__(self, table: pa.Table) -> None:
        """Of the columns layer, neuron, often_pos, often_neg and their shares."""
        import pyarrow as pa

        layer, neuron = (np.asarray(table.column(c).to_numpy(), np.int64) for c in ("layer", "neuron"))
        self._index = KeyIndex(Poles(layer, neuron, np.zeros(len(layer), bool)).keys(signed=False))
        self._tokens = [table.column(c).cast(pa.string()).combine_chunks() for c in _COLUMNS]
        self._share = [np.asarray(table.column(f"{c}_share").to_numpy(), np.float64) for c in _COLUMNS]
        self._codes: tuple[Int32[np.ndarray, "neuron pole rank"], list[str]] | None = None
        self._found: dict[str, Bool[np.ndarray, "neuron pole"]] = {}

    def of(self, pole: Poles) -> OftenOn:
        """One pole. Raises `BadRunError` if its tokens are not a list of texts."""
        row, side = int(self._index.rows(pole.keys(signed=False))[0]), int(pole.negative[0])
        if row < 0:
            return OftenOn()
        share = float(self._share[side][row])
        return OftenOn(_tokens(self._tokens[side][row].as_py()), share if np.isfinite(share) else None)

    def matching(self, poles: Poles, pattern: str) -> Bool[np.ndarray, " row"]:
        """Mask of the poles of which one of these tokens matches `pattern`."""
        rows = self._index.rows(poles.keys(signed=False))
        hits = self._hits(pattern)
        found: np.ndarray = (rows >= 0) & hits[rows, poles.negative.astype(np.int64)] if len(hits) else rows >= 0
        return found

    def _hits(self, pattern: str) -> Bool[np.ndarray, "neuron pole"]:
        """Whether each pole has a matching token; the last pattern is cached."""
        if pattern not in self._found:
            if self._codes is None:
                self._codes = _coded(self._tokens)
            codes, texts = self._codes
            match = np.append(matcher(pattern)(texts), False)  # of the code -1
            found: np.ndarray = match[codes].any(axis=2)
            self._found = {pattern: found}
        return self._found[pattern]


def read_often(run_dir: Path) -> Often | None:
    """None if the run has no records. Raises `BadRunError` for damaged ones."""
    from neuron_signatures.runs.records.reader import Records  # takes 0.03 s to import: not at the start

    try:
        records = Records.open(run_dir)
    except UsageError:
        return None
    try:
        return Often(records.neurons())
    finally:
        records.close()


def _tokens(text: str | None) -> tuple[str, ...]:
    (tokens,) = _parsed([text or "[]"])
    if not all(isinstance(t, str) for t in tokens):
        raise _not_texts()
    return tuple(tokens[:_MOST])


def _parsed(texts: list[str]) -> list[list[str]]:
    """JSON lists, parsed together: one by one they take five times as long."""
    try:
        found = json.loads(f"[{','.join(texts)}]")
    except ValueError:
        found = []
    if len(found) != len(texts) or not all(isinstance(tokens, list) for tokens in found):
        raise _not_texts()
    return list(found)


def _not_texts() -> BadRunError:
    return BadRunError("often_pos or often_neg is not a list of texts", where=f"{RECORDS}/{NEURONS}.parquet")


def _coded(columns: list[pa.Array]) -> tuple[Int32[np.ndarray, "neuron pole rank"], list[str]]:
    """The tokens as indices into the distinct ones, and -1 where there is none."""
    import pyarrow as pa

    held = np.zeros((len(columns), len(columns[0]), _MOST), bool)
    chunks = []
    for side, column in enumerate(columns):
        for start in range(0, len(column), _AT_ONCE):
            lists = _parsed(column.slice(start, _AT_ONCE).fill_null("[]").to_pylist())
            n = np.fromiter(map(len, lists), np.int64, len(lists))
            held[side, start : start + _AT_ONCE] = np.arange(_MOST) < n[:, None]
            chunks.append(_strings([t for tokens in lists for t in tokens[:_MOST]]))
    distinct = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
    codes = np.full(held.shape, -1, np.int32)
    codes[held] = distinct.indices.to_numpy()
    return codes.transpose(1, 0, 2), distinct.dictionary.to_pylist()


def _strings(tokens: list[str]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(tokens, pa.string())
    except UnicodeEncodeError:  # half a surrogate pair
        return pa.array([encodable(t) for t in tokens], pa.string())
    except pa.ArrowException as e:
        raise _not_texts() from e
