"""`rows.safetensors`: which pole of which neuron each text is about, by layer, neuron and pole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64

from neuron_signatures.runs.arrays import ArrayFile
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.records.checked_arrays import open_checked
from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.runs.search.database import AGAIN
from neuron_signatures.runs.search.names import Kind

Columns = dict[str, np.ndarray]

SHARED: Final = {"text": "i4", "layer": "i4", "neuron": "i4", "pole": "u1"}
"""`text` is the id of a text; `pole` is in the order of `POLES`."""
OWN: Final[dict[Kind, dict[str, str]]] = {
    "explanation": {"set": "u2", "explainer": "u2", "id": "u8"},
    "exemplar": {"rank": "i4", "window": "i4", "start": "i4", "stop": "i4", "value": "f4", "word": "u4"},
}
"""`set` and `explainer` are places in the lists of the record. `rank` is from 1; `start` and `stop` are the characters
of the peak's token in the text, `value` its activation, `word` the key of the word that it is in (`word_key`)."""
_MOST_LAYER: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one kind."""

    kind: Kind
    columns: Columns

    @property
    def n(self) -> int:
        return len(self.columns["text"])

    def at(self, row: int) -> NeuronPole:
        c = self.columns
        return NeuronPole(int(c["layer"][row]), int(c["neuron"][row]), POLES[int(c["pole"][row])])

    def order(self, rows: Int64[np.ndarray, " row"]) -> Int64[np.ndarray, " row"]:
        """A number for each row that ascends by layer, neuron and pole; explanations come before exemplars."""
        c = self.columns
        layer, neuron, pole = (c[name][rows].astype(np.int64) for name in ("layer", "neuron", "pole"))
        found: np.ndarray = (layer << 34) | (neuron << 2) | (pole << 1) | (self.kind == "exemplar")
        return found

    def of_texts(self, ids: Int64[np.ndarray, " text"]) -> Int64[np.ndarray, " row"]:
        """The rows of some texts."""
        return _members(*self._by_text, ids)

    def of_words(self, keys: Int64[np.ndarray, " word"]) -> Int64[np.ndarray, " row"]:
        """The rows of exemplars whose peak is at one of some words (`word_key`)."""
        return _members(*self._by_word, keys)

    @cached_property
    def _by_text(self) -> tuple[np.ndarray, np.ndarray]:
        return _sorted_by(self.columns["text"])

    @cached_property
    def _by_word(self) -> tuple[np.ndarray, np.ndarray]:
        return _sorted_by(self.columns["word"])

    def some(self, keep: np.ndarray) -> Rows:
        """The rows of a mask, or with these numbers."""
        return Rows(self.kind, {name: column[keep] for name, column in self.columns.items()})


def _sorted_by(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows in the order of a column, and the column in this order."""
    order = np.argsort(values, kind="stable").astype(np.int32)
    return order, values[order]


def _members(order: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The rows with one of the wanted values, which are each there once."""
    first = np.searchsorted(values, wanted, side="left")
    counts = np.searchsorted(values, wanted, side="right") - first
    start = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) + np.repeat(first - start, counts)
    found: np.ndarray = order[places].astype(np.int64)
    return found


def types_of(kind: Kind) -> dict[str, np.dtype]:
    """The columns of a kind."""
    return {name: np.dtype(text) for name, text in (SHARED | OWN[kind]).items()}


def key_of(kind: Kind, column: str) -> str:
    """The name of a column's array in the file."""
    return f"{kind}.{column}"


def no_rows(kind: Kind) -> Rows:
    return Rows(kind, {name: np.empty(0, dtype) for name, dtype in types_of(kind).items()})


def joined(kind: Kind, parts: list[Columns]) -> Rows:
    """The rows of several parts, in their order."""
    if not parts:
        return no_rows(kind)
    return Rows(kind, {name: np.concatenate([part[name] for part in parts]) for name in types_of(kind)})


def sorted_rows(rows: Rows) -> Rows:
    """By layer, neuron and pole; those of a pole stay in their order."""
    return rows.some(np.argsort(rows.order(np.arange(rows.n)), kind="stable"))


def arrays_of(rows: Rows) -> dict[str, np.ndarray]:
    """As they are written."""
    return {key_of(rows.kind, name): rows.columns[name] for name in types_of(rows.kind)}


def read_rows(path: Path, counts: dict[Kind, int], *, n_texts: int, n_sets: int, n_explainers: int) -> dict[Kind, Rows]:
    """The rows by kind. Raises `BadRunError` for arrays of other shapes, or values that no row has."""
    shapes = {key_of(k, c): (t.str, (n,)) for k, n in counts.items() for c, t in types_of(k).items()}
    with open_checked(path, shapes) as file:
        found = {kind: _read(file, kind) for kind in counts}
    for rows in found.values():
        _check(rows, path, n_texts)
    own = found["explanation"].columns
    if _beyond(own["set"], n_sets) or _beyond(own["explainer"], n_explainers):
        raise _bad(path, "names a set or explainer that its record does not have")
    peaks = found["exemplar"].columns
    if (peaks["start"] < 0).any() or (peaks["stop"] < peaks["start"]).any() or (peaks["rank"] < 1).any():
        raise _bad(path, "has an exemplar with a rank or peak that cannot be")
    if not np.isfinite(peaks["value"]).all():
        raise _bad(path, "has an activation that is not finite")
    return found


def _read(file: ArrayFile, kind: Kind) -> Rows:
    return Rows(kind, {name: file.read(key_of(kind, name)) for name in types_of(kind)})


def _check(rows: Rows, path: Path, n_texts: int) -> None:
    c = rows.columns
    if (c["text"] < 0).any() or _beyond(c["text"], n_texts) or _beyond(c["pole"], len(POLES)):
        raise _bad(path, "names a text or pole that there is not")
    if (c["layer"] < 0).any() or _beyond(c["layer"], _MOST_LAYER) or (c["neuron"] < 0).any():
        raise _bad(path, "names a layer or neuron that cannot be")
    if (np.diff(rows.order(np.arange(rows.n))) < 0).any():
        raise _bad(path, "its rows are not in the order of neurons")


def _beyond(values: np.ndarray, n: int) -> bool:
    return bool((values >= n).any())


def _bad(path: Path, what: str) -> BadRunError:
    return BadRunError(what, where=str(path), next_step=AGAIN)
