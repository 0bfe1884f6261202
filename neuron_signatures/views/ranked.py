"""The ranked lists of a run (peaks, influence, signatures, contrasts): rows, sorting and filters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.tokens import MAX_SHOWN, visible
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float64, Int64

Kind = Literal["peaks", "influence", "signatures", "contrast"]
SortKey = Literal["score", "|score|", "neuron", "token", "note"]
SORT_KEYS: tuple[SortKey, ...] = ("score", "|score|", "neuron", "token", "note")
# The numbers in the note of a contrast, in the order of `contrast_note`.
_CONTRAST = ("mean_a", "mean_b", "auroc", "q")
# One term of a filter: a comparison with a number, or the text up to the next space.
_WORD = re.compile(
    r"(?P<sign>[<>]=?)\s*(?P<limit>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?!\S)|(?P<word>\S+)",
    re.IGNORECASE | re.ASCII,
)


class ListRef(NamedTuple):
    """A ranked list on disk that has not been read yet. `stem` names its files."""

    kind: Kind
    stem: str
    title: str
    created_at_utc: str
    problem: str = ""
    """The reason if its record cannot be read; such a list is shown but cannot be opened."""
    doubt: str = ""
    """The reason if it may not describe this run's activations."""
    file: str = ""
    """The CSV or JSON file that it is read from; empty for a Parquet table."""


class Row(NamedTuple):
    """One line of a list. Values that a list does not have are None or empty."""

    rank: int
    """1 for the first in the list's own order."""
    at: NeuronAt
    pole: str
    score: float | None
    prompt_id: str | None
    pos: int | None
    token: str | None
    """Raw; the token at which the neuron was scored or peaks."""
    act: float | None
    """Activation at this token."""
    note: str
    """Raw; the most frequent peak token, the signature's class and name, or the numbers of a contrast."""


class Coded(NamedTuple):
    """A text column as each row's index into the distinct texts."""

    code: Int64[np.ndarray, " row"]
    texts: list[str]


@dataclass(frozen=True)
class RankedList:
    """A list in memory. Its arrays are in order of rank; `order` gives other orders."""

    ref: ListRef
    score_name: str
    meta: tuple[tuple[str, str], ...]
    """How it was computed, as label and text; text from data is raw."""
    warnings: tuple[str, ...]
    layer: Int64[np.ndarray, " row"]
    neuron: Int64[np.ndarray, " row"]
    score: Float64[np.ndarray, " row"]
    """NaN where it is undefined or infinite."""
    table: pa.Table
    prompt_id: str | None
    """The one prompt that was scored; None for a list over all prompts."""

    def __len__(self) -> int:
        return len(self.layer)

    def row(self, i: int) -> Row:
        """The line of rank `i + 1`."""
        values: dict[str, Any] = self.table.slice(i, 1).to_pylist()[0]
        at = NeuronAt(int(self.layer[i]), int(self.neuron[i]))
        score = float(self.score[i]) if np.isfinite(self.score[i]) else None
        row = _ROW[self.ref.kind](i + 1, at, score, values)
        return row if self.prompt_id is None else row._replace(prompt_id=self.prompt_id)

    def order(self, key: SortKey = "|score|", *, descending: bool = True) -> Int64[np.ndarray, " row"]:
        """Indices of the rows sorted by `key`; ties keep the list's own order, undefined scores come last."""
        if key == "neuron":
            rows: np.ndarray = np.lexsort((self.neuron, self.layer))
            return rows[::-1] if descending else rows
        if key in ("token", "note"):
            shown = self._shown(key)
            rank_of = {text: rank for rank, text in enumerate(sorted(set(shown.texts)))}
            ranks = np.array([rank_of[t] for t in shown.texts])[shown.code]
            return np.argsort(-ranks if descending else ranks, kind="stable")
        values = np.abs(self.score) if key == "|score|" else self.score
        return np.argsort(-values if descending else values, kind="stable")  # NaN sorts last either way

    def matching(self, query: str) -> Bool[np.ndarray, " row"]:
        """Mask of the rows that match every term of `query`: `L3`, `L3N14`, `>0.5` or `> 0.5` (the score), or text in
        token or note, ignoring case. A `<` or `>` without a number is text.
        """
        mask = np.ones(len(self), bool)
        for m in _WORD.finditer(query):
            mask &= self._matches(m["word"]) if m["word"] else self._compares(m["sign"], float(m["limit"]))
        return mask

    def acts(self) -> Float64[np.ndarray, " row"]:
        """The activation of each row, at the scored position or at the peak; NaN if the list has none."""
        if self.ref.kind == "influence":
            return self._numbers("activation")
        if self.ref.kind == "peaks":
            return np.where(self._peak_is_max(), self._numbers("max_act"), self._numbers("min_act"))
        return np.full(len(self), np.nan)

    def find(self, at: NeuronAt, pole: str = "") -> int | None:
        """Index of the neuron's row with this pole, else of its first row; None if there is none."""
        rows = np.flatnonzero((self.layer == at.layer) & (self.neuron == at.neuron)).tolist()
        return next((i for i in rows if self.row(i).pole == pole), rows[0] if rows else None)

    def _matches(self, word: str) -> Bool[np.ndarray, " row"]:
        if m := re.fullmatch(r"L(\d{1,6})(?:N(\d{1,9}))?([+-]?)", word, re.IGNORECASE | re.ASCII):
            mask: np.ndarray = self.layer == int(m[1])
            if m[2]:
                mask &= self.neuron == int(m[2])
            if m[3] and self.ref.kind in ("signatures", "contrast"):
                pole = self.coded("pole")
                mask &= np.array([t == m[3] for t in pole.texts])[pole.code]
            return mask
        low = word.casefold()
        found = np.zeros(len(self), bool)
        for shown in (self._shown("token"), self._shown("note")):
            found |= np.array([low in t.casefold() for t in shown.texts], bool)[shown.code]
        return found

    def _compares(self, sign: str, limit: float) -> Bool[np.ndarray, " row"]:
        compare = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal}[sign]
        found: np.ndarray = compare(self.score, limit)
        return found

    def _shown(self, key: Literal["token", "note"]) -> Coded:
        """The text of each row as displayed; each distinct text is converted once."""
        code, texts = self._token() if key == "token" else self._note()
        return Coded(code, [visible(t) for t in texts])

    def _token(self) -> Coded:
        if self.ref.kind == "contrast":
            return Coded(np.zeros(len(self), np.int64), [""])
        if self.ref.kind != "peaks":
            return self.coded("ctx_token" if self.ref.kind == "influence" else "mode_peak_token")
        high, low = self.coded("max_act_token"), self.coded("min_act_token")
        return Coded(np.where(self._peak_is_max(), high.code, low.code + len(high.texts)), high.texts + low.texts)

    def _note(self) -> Coded:
        if self.ref.kind == "influence":
            return Coded(np.zeros(len(self), np.int64), [""])
        if self.ref.kind == "peaks":
            return self.coded("mode_peak_token")
        if self.ref.kind == "contrast":
            columns = (self._numbers(c).tolist() for c in _CONTRAST)
            return Coded(np.arange(len(self)), [contrast_note(*v) for v in zip(*columns, strict=True)])
        cls, name = self.coded("class"), self.coded("name")
        pairs, code = np.unique(cls.code * len(name.texts) + name.code, return_inverse=True)
        both = (divmod(int(pair), len(name.texts)) for pair in pairs)
        return Coded(code, [signature_note(cls.texts[c][:MAX_SHOWN], name.texts[n][:MAX_SHOWN]) for c, n in both])

    def coded(self, name: str) -> Coded:
        """A text column of the table; null is an empty text."""
        column = self.table.column(name).unify_dictionaries().combine_chunks()
        texts: list[str] = [t or "" for t in column.dictionary.to_pylist()]
        return Coded(column.indices.fill_null(len(texts)).to_numpy().astype(np.int64), [*texts, ""])

    def _peak_is_max(self) -> Bool[np.ndarray, " row"]:
        high, low = (np.nan_to_num(v, nan=-np.inf) for v in (self._numbers("max_act"), -self._numbers("min_act")))
        found: np.ndarray = high >= low
        return found

    def _numbers(self, name: str) -> Float64[np.ndarray, " row"]:
        values: np.ndarray = self.table.column(name).to_numpy().astype(np.float64)
        return values


def _peaks_row(rank: int, at: NeuronAt, score: float | None, v: dict[str, Any]) -> Row:
    high = v["max_act"] is not None and (v["min_act"] is None or v["max_act"] >= -v["min_act"])
    side = "max_act" if high else "min_act"
    return Row(rank, at, "", score, v[f"{side}_prompt"], v[f"{side}_pos"], v[f"{side}_token"], v[side],
               v["mode_peak_token"] or "")  # fmt: skip


def _influence_row(rank: int, at: NeuronAt, score: float | None, v: dict[str, Any]) -> Row:
    return Row(rank, at, "", score, None, v["ctx_idx"], v["ctx_token"], v["activation"], "")


def _signature_row(rank: int, at: NeuronAt, score: float | None, v: dict[str, Any]) -> Row:
    note = signature_note(v["class"], v["name"], v["n_texts"])
    return Row(rank, at, v["pole"], score, None, None, v["mode_peak_token"], None, note)


def signature_note(cls: str, name: str | None, n: int | None = None) -> str:
    """Class and name of a signature in one text, with the number of texts that a class rests on."""
    text = f"{cls}: {name}" if name else cls
    return text if n is None or cls == "unclassified" else f"{text}, n {n}"


def _contrast_row(rank: int, at: NeuronAt, score: float | None, v: dict[str, Any]) -> Row:
    note = contrast_note(*(math.nan if v[c] is None else v[c] for c in _CONTRAST))
    return Row(rank, at, v["pole"], score, None, None, None, None, note)


def contrast_note(mean_a: float, mean_b: float, auroc: float, q: float) -> str:
    """What a row of a contrast shows beside its score; empty if the neuron was not tested."""
    return "" if math.isnan(q) else f"A {mean_a:.3g}, B {mean_b:.3g}, AUROC {auroc:.3f}, q {q:.2g}"


_ROW = {
    "peaks": _peaks_row, "influence": _influence_row, "signatures": _signature_row, "contrast": _contrast_row,
}  # fmt: skip
