"""The ranked lists of a run (peaks, influence, signatures, contrasts): rows, sorting and filters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.tokens import MAX_SHOWN, visible
from neuron_signatures.views.columns import Coded, coded
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.filters import Compare, Place, Text, matcher, parse
from neuron_signatures.views.neurons.descriptions import NOTHING, Description, Descriptions
from neuron_signatures.views.neurons.poles import Poles

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float64, Int64

Kind = Literal["peaks", "influence", "signatures", "contrast"]
SortKey = Literal["score", "|score|", "neuron", "token", "note"]
SORT_KEYS: tuple[SortKey, ...] = ("score", "|score|", "neuron", "token", "note")
# The numbers in the note of a contrast, in the order of `contrast_note`.
_CONTRAST = ("mean_a", "mean_b", "auroc", "q")
_AT_ONCE = 1 << 15
_COMPARE = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal}


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


@dataclass(frozen=True)
class RankedList:
    """A list in memory. Its arrays are in order of rank, except `table`; `order` gives other orders."""

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
    """In the order of the file: sorting it would take longer than reading it."""
    place: Int64[np.ndarray, " row"]
    """The row of the table for each rank."""
    prompt_id: str | None
    """The one prompt that was scored; None for a list over all prompts."""
    described: Descriptions = NOTHING
    """What the run's results say of every neuron."""

    def __len__(self) -> int:
        return len(self.layer)

    def row(self, i: int) -> Row:
        """The line of rank `i + 1`."""
        values: dict[str, Any] = self.table.slice(int(self.place[i]), 1).to_pylist()[0]
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

    def description(self, i: int) -> Description:
        """What is known of the neuron of row `i`, with its sign there."""
        poles = self.poles
        at = NeuronAt(int(poles.layer[i]), int(poles.neuron[i]))
        return self.described.of(at, negative=bool(poles.negative[i]))

    def matching(self, query: str) -> Bool[np.ndarray, " row"]:
        """Mask of the rows that match every term of `query` (see `views.filters`).

        Raises `UsageError` for an invalid regular expression.
        """
        mask = np.ones(len(self), bool)
        for term in parse(query):
            if isinstance(term, Compare):
                mask &= _COMPARE[term.sign](self.score, term.limit)
            elif isinstance(term, Place):
                mask &= self._at_place(term)
            else:
                mask &= self._with_text(term)
        return mask

    @cached_property
    def poles(self) -> Poles:
        """The neuron of each row, with the sign of what moves it from its reference.

        That is the row's pole if the list has poles, else the sign of (activation - reference), which is that of
        activation, score by zero and centred score together; where one of these is unknown, the sign of the activation.
        """
        if self.ref.kind in ("signatures", "contrast"):
            return Poles(self.layer, self.neuron, self.coded("pole").equals("-"))
        acts = self.acts()
        if "influence_centred" in self.table.column_names and "influence" in self.table.column_names:
            moved = np.sign(acts) * np.sign(self._numbers("influence")) * np.sign(self._numbers("influence_centred"))
            acts = np.where(np.nan_to_num(moved) == 0, acts, moved)
        return Poles(self.layer, self.neuron, acts < 0)

    def acts(self) -> Float64[np.ndarray, " row"]:
        """The activation of each row, at the scored position or at the peak; NaN if the list has none."""
        if self.ref.kind == "influence":
            return self._numbers("activation")
        if self.ref.kind == "peaks":
            return np.where(self._peak_is_max(), self._numbers("max_act"), self._numbers("min_act"))
        return np.full(len(self), np.nan)

    def constants(self) -> frozenset[str]:
        """The fields of `Row` that have the same value in every row, of `prompt_id`, `pos`, `token` and `act`."""
        if self.ref.kind != "influence" or not len(self):
            return frozenset()
        found = {"prompt_id"}
        found |= {"pos"} if len(self.table.column("ctx_idx").unique()) == 1 else set()
        found |= {"token"} if len(np.unique(self._token().code)) == 1 else set()
        return frozenset(found)

    def place_text(self) -> str:
        """Where every row was scored: `each row at 8, ·is`; empty if rows differ in position or token."""
        if not self.constants() >= {"pos", "token"}:
            return ""
        row = self.row(0)
        return f"each row at {row.pos}, {visible(row.token or '')}"

    def find(self, at: NeuronAt, pole: str = "") -> int | None:
        """Index of the neuron's row with this pole, else of its first row; None if there is none."""
        rows = np.flatnonzero((self.layer == at.layer) & (self.neuron == at.neuron)).tolist()
        return next((i for i in rows if self.row(i).pole == pole), rows[0] if rows else None)

    def _at_place(self, place: Place) -> Bool[np.ndarray, " row"]:
        mask: np.ndarray = self.layer == place.layer
        if place.neuron is not None:
            mask &= self.neuron == place.neuron
        if place.pole and self.ref.kind in ("signatures", "contrast"):
            mask &= self.coded("pole").equals(place.pole)
        return mask

    def _with_text(self, term: Text) -> Bool[np.ndarray, " row"]:
        known = self.described
        if term.field in ("promotes", "suppresses"):
            return self._by_pole(lambda p: known.writing(p, term.pattern, suppressed=term.field == "suppresses"))
        if term.field in ("fires", "class"):
            return self._by_pole(lambda p: known.firing(p, term.pattern, cls=term.field == "class"))
        if term.field == "often":
            return self._by_pole(lambda p: known.peaking(p, term.pattern))
        own = [Coded(*column).hits(matcher(term.pattern)) for column in (self._token(), self._note())]
        about = self._by_pole(
            lambda p: known.writing(p, term.pattern) | known.firing(p, term.pattern) | known.peaking(p, term.pattern)
        )
        found: np.ndarray = np.any([*own, about], axis=0)
        return found

    def _by_pole(self, mask_of: Callable[[Poles], Bool[np.ndarray, " row"]]) -> Bool[np.ndarray, " row"]:
        """A mask of the rows, computed for a part of them at a time: looking up a row takes 60 bytes."""
        parts = [mask_of(Poles(*(v[i : i + _AT_ONCE] for v in self.poles))) for i in range(0, len(self), _AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0, bool)

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
        found = coded(self.table, name)
        return found._replace(code=found.code[self.place])

    def _peak_is_max(self) -> Bool[np.ndarray, " row"]:
        high, low = (np.nan_to_num(v, nan=-np.inf) for v in (self._numbers("max_act"), -self._numbers("min_act")))
        found: np.ndarray = high >= low
        return found

    def _numbers(self, name: str) -> Float64[np.ndarray, " row"]:
        values: np.ndarray = self.table.column(name).to_numpy().astype(np.float64)[self.place]
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
    return "" if math.isnan(q) else f"AUROC {auroc:.3f}, q {q:.2g}, A {mean_a:.3g}, B {mean_b:.3g}"


_ROW = {
    "peaks": _peaks_row, "influence": _influence_row, "signatures": _signature_row, "contrast": _contrast_row,
}  # fmt: skip
