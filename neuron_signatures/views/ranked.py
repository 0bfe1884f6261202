"""The ranked lists of a run (peaks, influence, signatures): what there is, in which order, and how each was made."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import ProjectError, UsageError
from neuron_signatures.runs.results import (
    ANALYSIS_META,
    NEURONS,
    SIGNATURES,
    SIGNATURES_META,
    list_influence,
    meta_name,
    read_arrow,
    read_json,
)
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float64, Int64

Kind = Literal["peaks", "influence", "signatures"]
SortKey = Literal["score", "|score|", "neuron", "token", "note"]
SORT_KEYS: tuple[SortKey, ...] = ("score", "|score|", "neuron", "token", "note")
_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "peaks": ("layer", "neuron", "mean_peak_abs", "max_act", "max_act_prompt", "max_act_pos", "max_act_token",
              "min_act", "min_act_prompt", "min_act_pos", "min_act_token", "mode_peak_token", "n_peaks"),
    "influence": ("layer", "neuron", "influence", "ctx_idx", "ctx_token", "activation"),
    "signatures": ("layer", "neuron", "pole", "class", "name", "n_active", "max_peak", "mode_peak_token"),
}  # fmt: skip


class ListRef(NamedTuple):
    """A ranked list that is on disk, not read yet. `stem` names its files."""

    kind: Kind
    stem: str
    title: str
    created_at_utc: str
    problem: str = ""
    """Why its record cannot be read; such a list is shown, and cannot be opened."""


class Row(NamedTuple):
    """One line of a list. What a list does not know is None or empty."""

    rank: int
    """1 for the first in the list's own order."""
    at: NeuronAt
    pole: str
    score: float | None
    prompt_id: str | None
    pos: int | None
    token: str | None
    """Raw; where the neuron was scored, or where it peaks."""
    act: float | None
    """Activation there."""
    note: str
    """Raw; the most frequent peak token, or the signature's class and name."""


_TEXTS: dict[Kind, tuple[str, ...]] = {
    "peaks": ("max_act_prompt", "max_act_token", "min_act_prompt", "min_act_token", "mode_peak_token"),
    "influence": ("ctx_token",),
    "signatures": ("pole", "class", "name", "mode_peak_token"),
}


class Coded(NamedTuple):
    """A text column: each row's index into the different texts."""

    code: Int64[np.ndarray, " row"]
    texts: list[str]


@dataclass(frozen=True)
class RankedList:
    """A list in memory. Its arrays are in the order of `rank`; `order` gives any other."""

    ref: ListRef
    score_name: str
    meta: tuple[tuple[str, str], ...]
    """How it was made, as label and text; text from data is raw."""
    warnings: tuple[str, ...]
    layer: Int64[np.ndarray, " row"]
    neuron: Int64[np.ndarray, " row"]
    score: Float64[np.ndarray, " row"]
    """NaN where it is undefined."""
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
            ranks = np.unique(shown.texts, return_inverse=True)[1][shown.code]
            return np.argsort(-ranks if descending else ranks, kind="stable")
        values = np.abs(self.score) if key == "|score|" else self.score
        return np.argsort(-values if descending else values, kind="stable")  # NaN sorts last either way

    def matching(self, query: str) -> Bool[np.ndarray, " row"]:
        """Which rows hold every word of `query`: `L3`, `L3N14`, `>0.5`, `<=-1` (of the score), or text of token or
        note, ignoring case. Raises `UsageError` for a comparison without a number.
        """
        mask = np.ones(len(self), bool)
        for word in query.split():
            mask &= self._matches(word)
        return mask

    def find(self, at: NeuronAt) -> int | None:
        """Index of the neuron's first row, or None."""
        rows = np.flatnonzero((self.layer == at.layer) & (self.neuron == at.neuron))
        return int(rows[0]) if rows.size else None

    def _matches(self, word: str) -> Bool[np.ndarray, " row"]:
        if m := re.fullmatch(r"L(\d{1,6})(?:N(\d{1,9}))?([+-]?)", word, re.IGNORECASE):
            mask: np.ndarray = self.layer == int(m[1])
            if m[2]:
                mask &= self.neuron == int(m[2])
            if m[3] and self.ref.kind == "signatures":
                pole = self._coded("pole")
                mask &= np.array([t == m[3] for t in pole.texts])[pole.code]
            return mask
        if m := re.match(r"(<=|>=|<|>)(.*)", word):
            try:
                limit = float(m[2])
            except ValueError as e:
                raise UsageError(f"{word[:40]!r} compares with no number", next_step="Such as >0.5") from e
            compare = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal}[m[1]]
            with np.errstate(invalid="ignore"):
                found: np.ndarray = compare(self.score, limit)
            return found
        low = word.casefold()
        found = np.zeros(len(self), bool)
        for shown in (self._shown("token"), self._shown("note")):
            found |= np.array([low in t.casefold() for t in shown.texts], bool)[shown.code]
        return found

    def _shown(self, key: Literal["token", "note"]) -> Coded:
        """The text of each row as a viewer shows it; each different text is made visible once."""
        code, texts = self._token() if key == "token" else self._note()
        return Coded(code, [visible(t) for t in texts])

    def _token(self) -> Coded:
        if self.ref.kind != "peaks":
            return self._coded("ctx_token" if self.ref.kind == "influence" else "mode_peak_token")
        high, low = self._coded("max_act_token"), self._coded("min_act_token")
        higher = self._numbers("max_act") >= -self._numbers("min_act")
        return Coded(np.where(higher, high.code, low.code + len(high.texts)), high.texts + low.texts)

    def _note(self) -> Coded:
        if self.ref.kind == "influence":
            return Coded(np.zeros(len(self), np.int64), [""])
        if self.ref.kind == "peaks":
            return self._coded("mode_peak_token")
        cls, name = self._coded("class"), self._coded("name")
        texts = [signature_note(c, n) for c in cls.texts for n in name.texts]
        return Coded(cls.code * len(name.texts) + name.code, texts)

    def _coded(self, name: str) -> Coded:
        column = self.table.column(name).unify_dictionaries().combine_chunks()
        texts: list[str] = [t or "" for t in column.dictionary.to_pylist()]
        return Coded(column.indices.fill_null(len(texts)).to_numpy().astype(np.int64), [*texts, ""])

    def _numbers(self, name: str) -> Float64[np.ndarray, " row"]:
        values: np.ndarray = self.table.column(name).to_numpy().astype(np.float64)
        return values


def list_refs(run_dir: Path) -> list[ListRef]:
    """The finished lists of a run: influence, newest first, then peaks and signatures. Reads their records only."""
    influence = [_ref(run_dir, "influence", stem, meta_name(stem)) for stem in list_influence(run_dir)]
    influence.sort(key=lambda r: r.stem)
    influence.sort(key=lambda r: r.created_at_utc, reverse=True)
    others = []
    for kind, stem, record in (("peaks", NEURONS, ANALYSIS_META), ("signatures", SIGNATURES, SIGNATURES_META)):
        with contextlib.suppress(UsageError):  # not made yet
            others.append(_ref(run_dir, kind, stem, record))  # type: ignore[arg-type]
    return influence + others


def read_list(run_dir: Path, ref: ListRef) -> RankedList:
    """Raises `UsageError` if it has gone, `BadRunError` if its files are damaged."""
    if ref.problem:
        raise UsageError(ref.problem, where=ref.stem)
    record = read_json(run_dir, _record_name(ref))
    table = read_arrow(run_dir, ref.stem, columns=_COLUMNS[ref.kind], coded=_TEXTS[ref.kind])
    name = {"peaks": "mean_peak_abs", "influence": "influence", "signatures": "max_peak"}[ref.kind]
    score = table.column(name).to_numpy().astype(np.float64)  # null becomes NaN
    first = np.argsort(-np.abs(score), kind="stable")
    table, score = table.take(first), score[first]
    return RankedList(
        ref, _score_name(ref, record), _meta(ref, record), tuple(map(str, record.get("warnings") or ())),
        np.asarray(table.column("layer").to_numpy(), np.int64), np.asarray(table.column("neuron").to_numpy(), np.int64),
        score, table, record.get("prompt_id"),
    )  # fmt: skip


def _ref(run_dir: Path, kind: Kind, stem: str, record_name: str) -> ListRef:
    try:
        record = read_json(run_dir, record_name)
        return ListRef(kind, stem, _title(kind, record), str(record["created_at_utc"]))
    except UsageError:
        raise
    except (ProjectError, KeyError, TypeError, AttributeError) as e:
        what = e.what if isinstance(e, ProjectError) else f"its record lacks {e}"
        return ListRef(kind, stem, stem, "", f"{record_name}: {what}")


def _title(kind: Kind, record: dict[str, Any]) -> str:
    if kind == "peaks":
        return f"peaks over {record['n_prompts']} prompts"
    if kind == "signatures":
        counts = record["class_counts"]
        return f"signatures: {counts['semantic']} semantic, {counts['say_x']} say-x"
    target = record["target"]
    foil = f" - {visible(target['foil']['token'])}" if target.get("foil") else ""
    where = f"{record['prompt_id']} at {target['pos']}"
    return f"{record['metric']} → {visible(target['token']['token'])}{foil} ({target['mode']}), {where}"


def _score_name(ref: ListRef, record: dict[str, Any]) -> str:
    if ref.kind == "influence":
        return f"influence ({record['target']['function']})"
    return "mean peak |act|" if ref.kind == "peaks" else "largest peak"


def _meta(ref: ListRef, record: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    made = ("made", f"{record['created_at_utc']} by {record['stage']} --mode {record['mode']}")
    if ref.kind == "influence":
        target = record["target"]
        token = target["token"]
        probability = f"p {token['probability']:.3g}, rank {token['rank']}"
        lines = [
            ("metric", record["metric"]),
            (
                "target",
                f"{visible(token['token'])} ({token['token_id']}) after position {target['pos']}, {probability}",
            ),
        ]
        if target.get("foil"):
            lines.append(("foil", f"{visible(target['foil']['token'])} ({target['foil']['token_id']})"))
        lines += [
            ("prompt", record["prompt_id"]),
            ("function", f"{target['function']} = {target['value']:.4g}"),
            ("|influence|", f"{record['total_abs_influence']:.4g} in all, {record['n_selected']} neurons selected "
                            f"hold {record['selected_share']:.0%}"),
        ]  # fmt: skip
        return (*lines, made)
    tokens = ("tokens", f"{record['n_tokens']} of {record['n_prompts']} prompts; {record['bos_rule']}")
    if ref.kind == "peaks":
        return tokens, ("score", "mean over prompts of the largest |act|"), made
    null = record.get("null") or {}
    counts = ", ".join(f"{k} {v}" for k, v in record["class_counts"].items())
    shuffled = ", ".join(f"{k} {v}" for k, v in (null.get("class_counts") or {}).items())
    return ("classes", counts), ("shuffled", shuffled or "not computed"), tokens, made


def _record_name(ref: ListRef) -> str:
    return {"peaks": ANALYSIS_META, "signatures": SIGNATURES_META}.get(ref.kind) or meta_name(ref.stem)


def _peaks_row(rank: int, at: NeuronAt, score: float | None, v: dict[str, Any]) -> Row:
    high = v["max_act"] is not None and (v["min_act"] is None or v["max_act"] >= -v["min_act"])
    side = "max_act" if high else "min_act"
    return Row(rank, at, "", score, v[f"{side}_prompt"], v[f"{side}_pos"], v[f"{side}_token"], v[side],
               v["mode_peak_token"] or "")  # fmt: skip


def _influence_row(rank: int, at: NeuronAt, score: float | None, v: dict[str, Any]) -> Row:
    return Row(rank, at, "", score, None, v["ctx_idx"], v["ctx_token"], v["activation"], "")


def _signature_row(rank: int, at: NeuronAt, score: float | None, v: dict[str, Any]) -> Row:
    note = signature_note(v["class"], v["name"])
    return Row(rank, at, v["pole"], score, None, None, v["mode_peak_token"], None, note)


def signature_note(cls: str, name: str | None) -> str:
    """Class and name of a signature in one text."""
    return f"{cls}: {name}" if name else cls


_ROW = {"peaks": _peaks_row, "influence": _influence_row, "signatures": _signature_row}
