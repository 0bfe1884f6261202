"""Where every neuron of a run fires: the signatures and peaks of stage 2, by pole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import NEURONS, SIGNATURES
from neuron_signatures.runs.tokens import MAX_SHOWN, visible
from neuron_signatures.views.columns import Coded, coded, read_columns
from neuron_signatures.views.poles import KeyIndex, Poles

if TYPE_CHECKING:
    import pyarrow as pa

_SIGNATURES = ("layer", "neuron", "pole", "class", "name", "n_texts", "n_active", "mode_peak_token", "mode_peak_count")
_PEAKS = ("layer", "neuron", "max_act_token", "min_act_token")


class Fires:
    """Signatures and peak tokens, one row per pole. Either table may be missing."""

    def __init__(self, signatures: pa.Table | None, peaks: pa.Table | None) -> None:
        self._texts: dict[str, Coded] = {}
        self._numbers: dict[str, np.ndarray] = {}
        self._signatures = self._peaks = KeyIndex(np.empty(0, np.int64))
        if signatures is not None:
            layer, neuron = (signatures.column(c).to_numpy() for c in ("layer", "neuron"))
            for name in ("pole", "class", "name", "mode_peak_token"):
                self._texts[name] = coded(signatures, name)
            for name in ("n_texts", "n_active", "mode_peak_count"):
                self._numbers[name] = signatures.column(name).fill_null(0).to_numpy()
            negative = self._texts["pole"].hits(lambda t: t == "-")
            self._signatures = KeyIndex(Poles(layer, neuron, negative).keys(signed=True))
        if peaks is not None:
            layer, neuron = (peaks.column(c).to_numpy() for c in ("layer", "neuron"))
            self._peaks = KeyIndex(Poles(layer, neuron, np.zeros(len(layer), bool)).keys(signed=False))
            self._texts |= {name: coded(peaks, name) for name in _PEAKS[2:]}

    def text(self, pole: Poles) -> str:
        """Where one pole fires, as displayed: `semantic: Texas, n 5`, or `of 3/25, peak ·is`; empty if unknown.

        `3/25`: the most frequent peak token is the peak of 3 of the 25 prompts in which the pole is active.
        """
        row = int(self._signatures.rows(pole.keys(signed=True))[0])
        largest = self._largest(pole)
        peak = f"peak {visible(largest[:MAX_SHOWN])}" if largest else ""
        if row < 0:
            return peak
        cls, name, token = (self._at(c, row) for c in ("class", "name", "mode_peak_token"))
        if cls and cls != "unclassified":
            return f"{visible(cls)}{': ' if name else ''}{visible(name)}, n {self._numbers['n_texts'][row]}"
        if not token:
            return peak
        share = f"{self._numbers['mode_peak_count'][row]}/{self._numbers['n_active'][row]}"
        return f"{visible(token)} {share}" + (f", {peak}" if peak and largest.strip() != token.strip() else "")

    def matching(self, poles: Poles, match: Callable[[str], bool], *, cls: bool = False) -> np.ndarray:
        """Mask of the poles whose signature or peak tokens match; with `cls`, only the class is compared."""
        columns = [
            self._texts[c] for c in (("class",) if cls else ("class", "name", "mode_peak_token")) if c in self._texts
        ]
        hits = [c.hits(match) for c in columns]
        found = _where(np.any(hits, axis=0), self._signatures.rows(poles.keys(signed=True))) if hits else False
        if cls or "max_act_token" not in self._texts:
            return np.broadcast_to(found, poles.layer.shape)
        rows = self._peaks.rows(poles.keys(signed=False))
        high, low = (_where(self._texts[c].hits(match), rows) for c in _PEAKS[2:])
        return found | np.where(poles.negative, low, high)

    def _largest(self, pole: Poles) -> str:
        row = int(self._peaks.rows(pole.keys(signed=False))[0])
        return "" if row < 0 else self._at("min_act_token" if pole.negative[0] else "max_act_token", row)

    def _at(self, name: str, row: int) -> str:
        column = self._texts[name]
        return str(column.texts[column.code[row]])[:MAX_SHOWN]


def read_fires(run_dir: Path) -> Fires | None:
    """None if the run has neither signatures nor peaks. Raises `BadRunError` for damaged tables."""
    tables = [_read(run_dir, stem, names) for stem, names in ((SIGNATURES, _SIGNATURES), (NEURONS, _PEAKS))]
    return Fires(*tables) if any(t is not None for t in tables) else None


def _read(run_dir: Path, stem: str, names: tuple[str, ...]) -> pa.Table | None:
    try:
        return read_columns(run_dir, stem, names)
    except UsageError:
        return None


def _where(hits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`hits` at `rows`; False for row -1."""
    found: np.ndarray = hits[rows] & (rows >= 0) if len(hits) else np.zeros(len(rows), bool)
    return found
