"""Where every neuron of a run fires: the signatures and peaks of stage 2, by pole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import NEURONS, SIGNATURES
from neuron_signatures.runs.tokens import MAX_SHOWN, visible
from neuron_signatures.views.columns import Coded, stream_columns
from neuron_signatures.views.filters import matcher
from neuron_signatures.views.neurons.poles import KeyIndex, Poles

if TYPE_CHECKING:
    from jaxtyping import Bool

_COUNTS = ("n_texts", "mode_peak_count")
_CLASS, _NAMES = ("class",), ("name", "mode_peak_token")
_SIGNATURES = ("pole", *_CLASS, *_NAMES, *_COUNTS)
_PEAKS = ("max_act_token", "min_act_token")


class _Hits(NamedTuple):
    """Masks of the rows of the signatures, and of the peaks by their positive and negative extremes."""

    signature: np.ndarray
    high: np.ndarray
    low: np.ndarray


class Fires:
    """Signatures and peak tokens, one row per pole. Either table may be missing."""

    def __init__(self, run_dir: Path) -> None:
        """Raises `BadRunError` for damaged tables."""
        self._texts: dict[str, Coded] = {}
        self._numbers: dict[str, np.ndarray] = {}
        self._found: dict[tuple[str, bool], _Hits] = {}
        self._signatures, self._peaks = (
            self._read(run_dir, stem, names) for stem, names in ((SIGNATURES, _SIGNATURES), (NEURONS, _PEAKS))
        )

    @property
    def is_known(self) -> bool:
        return self._signatures is not None or self._peaks is not None

    def _read(self, run_dir: Path, stem: str, names: tuple[str, ...]) -> KeyIndex | None:
        """None if there is no such table."""
        try:
            columns = stream_columns(run_dir, stem, ("layer", "neuron", *names))
        except UsageError:
            return None
        layer, neuron = (columns.numbers.pop(name) for name in ("layer", "neuron"))
        pole = columns.texts.pop("pole", None)
        negative = np.zeros(len(layer), bool) if pole is None else pole.equals("-")
        self._numbers |= columns.numbers
        self._texts |= columns.texts
        return KeyIndex(Poles(layer, neuron, negative).keys(signed=pole is not None))

    def text(self, pole: Poles) -> str:
        """Where one pole fires, as displayed: `semantic: Texas, n 5`, or `of 3/14, peak ·is`; empty if unknown.

        `3/14`: the most frequent peak token is the peak of 3 of the 14 different texts at which the pole peaks.
        """
        row = int(_rows(self._signatures, pole, signed=True)[0])
        largest = self._largest(pole)
        peak = f"peak {visible(largest[:MAX_SHOWN])}" if largest else ""
        if row < 0:
            return peak
        cls, name, token = (self._at(c, row) for c in ("class", "name", "mode_peak_token"))
        count, n = (int(self._numbers[c][row]) for c in ("mode_peak_count", "n_texts"))
        if cls and cls != "unclassified" and name:
            return f"{visible(cls)}: {visible(name)}, n {n}"
        if count <= 0:
            return peak
        most = f"{visible(token) or 'white space'} {count}/{n}"  # tokens are stored without spaces
        where = most + (f", {peak}" if peak and largest.strip() != token.strip() else "")
        return f"{visible(cls)}, {where}" if cls and cls != "unclassified" else where

    def matching(self, poles: Poles, pattern: str, *, cls: bool = False) -> Bool[np.ndarray, " row"]:
        """Mask of the poles whose signature or peak tokens match; with `cls`, only the class is compared."""
        hits = self._hits(pattern, cls)
        found = _where(hits.signature, _rows(self._signatures, poles, signed=True))
        if len(hits.high):
            rows = _rows(self._peaks, poles, signed=False)
            found |= np.where(poles.negative, _where(hits.low, rows), _where(hits.high, rows))
        return found

    def _hits(self, pattern: str, cls: bool) -> _Hits:
        """The rows of the tables with a matching text; those of the last pattern are cached."""
        if (pattern, cls) not in self._found:
            match, none = matcher(pattern), np.empty(0, bool)
            columns = [self._texts[c] for c in (_CLASS if cls else _CLASS + _NAMES) if c in self._texts]
            own = np.any([c.hits(match) for c in columns], axis=0) if columns else none
            peaks = [none if cls or c not in self._texts else self._texts[c].hits(match) for c in _PEAKS]
            self._found = {(pattern, cls): _Hits(own, *peaks)}
        return self._found[pattern, cls]

    def _largest(self, pole: Poles) -> str:
        row = int(_rows(self._peaks, pole, signed=False)[0])
        return "" if row < 0 else self._at("min_act_token" if pole.negative[0] else "max_act_token", row)

    def _at(self, name: str, row: int) -> str:
        column = self._texts[name]
        return str(column.texts[column.code[row]])[:MAX_SHOWN]


def read_fires(run_dir: Path) -> Fires | None:
    """None if the run has neither signatures nor peaks. Raises `BadRunError` for damaged tables."""
    found = Fires(run_dir)
    return found if found.is_known else None


def _rows(index: KeyIndex | None, poles: Poles, *, signed: bool) -> np.ndarray:
    """The row of each pole; -1 if it is unknown."""
    return np.full(len(poles.layer), -1) if index is None else index.rows(poles.keys(signed=signed))


def _where(hits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`hits` at `rows`; False for row -1."""
    found: np.ndarray = hits[rows] & (rows >= 0) if len(hits) else np.zeros(len(rows), bool)
    return found
