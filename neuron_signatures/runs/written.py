"""What every neuron writes, without a prompt: the tables of `--mode write_scores` as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.results import WRITE_SIDES, WRITES, WRITES_TOKENS, table_name, write_column
from neuron_signatures.runs.tables import count_rows, iter_arrow, read_arrow

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Bool, Float32, Int32, Int64

_AT_ONCE: Final = 1 << 13
_MOST: Final = 2**31 - 1


class WrittenIds(NamedTuple):
    """Token ids by neuron and side (promoted, suppressed), strongest first; -1 for none."""

    layer: Int32[np.ndarray, " neuron"]
    neuron: Int32[np.ndarray, " neuron"]
    ids: Int32[np.ndarray, "neuron side rank"]


class WrittenScores(NamedTuple):
    """The write scores of `WrittenIds`, and their mean and standard deviation over the vocabulary; NaN for none."""

    scores: Float32[np.ndarray, "neuron side rank"]
    mean: Float32[np.ndarray, " neuron"]
    std: Float32[np.ndarray, " neuron"]


def side_of(negative: Bool[np.ndarray, "*row"], *, suppressed: bool) -> Int64[np.ndarray, "*row"]:
    """The index in `WRITE_SIDES` of what a pole promotes (or suppresses): a negative activation promotes what the
    neuron suppresses."""
    side: np.ndarray = (negative != suppressed).astype(np.int64)
    return side


def every_id(run_dir: Path, top: int) -> WrittenIds:
    """The token ids of every neuron, `top` of each side. Raises `UsageError` if they have not been made, `BadRunError`
    if damaged."""
    names = ("layer", "neuron", *_columns("id", top))
    columns = _read_columns(run_dir, dict.fromkeys(names, "integer"), np.int32)
    return WrittenIds(columns[0], columns[1], _by_side(columns[2:], top))


def every_score(run_dir: Path, top: int) -> WrittenScores:
    """The scores of `every_id`. Raises as it."""
    names = ("mean", "std", *_columns("score", top))
    columns = _read_columns(run_dir, dict.fromkeys(names, "floating"), np.float32)
    return WrittenScores(_by_side(columns[2:], top), columns[0], columns[1])


def read_token_texts(run_dir: Path) -> TokenTexts:
    """The texts of the token ids in those tables. Raises as `every_id`."""
    return TokenTexts(read_arrow(run_dir, WRITES_TOKENS, columns=("token_id", "token")))


class TokenTexts:
    """The texts of token ids, from a table in order of id."""

    def __init__(self, table: pa.Table) -> None:
        import pyarrow as pa

        ids, texts = table.column("token_id"), table.column("token")
        text_type = texts.type.value_type if pa.types.is_dictionary(texts.type) else texts.type
        if not pa.types.is_integer(ids.type) or not pa.types.is_string(text_type) or ids.null_count:
            raise bad_writes(WRITES_TOKENS, f"has columns of types {ids.type} and {texts.type}")
        self._ids, self._texts = np.asarray(ids.to_numpy(), np.int64), texts
        if (np.diff(self._ids) <= 0).any():
            raise bad_writes(WRITES_TOKENS, "its ids are not in order")

    @property
    def ids(self) -> Int64[np.ndarray, " id"]:
        """In ascending order."""
        return self._ids

    def all(self) -> list[str]:
        """The texts in the order of `ids`; null is an empty text."""
        return [t or "" for t in self._texts.to_pylist()]

    def matching(self, match: Callable[[Sequence[str]], Bool[np.ndarray, " text"]]) -> Int64[np.ndarray, " id"]:
        """The ids whose text matches; null is an empty text."""
        masks = [np.empty(0, bool)]
        for start in range(0, len(self._ids), _AT_ONCE):  # the texts of a vocabulary take 30 MB as Python objects
            masks.append(match([t or "" for t in self._texts.slice(start, _AT_ONCE).to_pylist()]))
        found: np.ndarray = self._ids[np.concatenate(masks)]
        return found

    def text(self, token_id: int) -> str:
        at = int(np.searchsorted(self._ids, token_id))
        text = self._texts[at].as_py() if at < len(self._ids) and self._ids[at] == token_id else None
        if text is None:
            raise bad_writes(WRITES_TOKENS, f"has no token {token_id}")
        return str(text)


def check_types(schema: pa.Schema, kinds: Mapping[str, str]) -> None:
    """Raise `BadRunError` for a column of another type than `integer` or `floating`, as `kinds` says."""
    import pyarrow as pa

    for field in schema:
        if not getattr(pa.types, f"is_{kinds[field.name]}")(field.type):
            raise bad_writes(WRITES, f"column {field.name} has type {field.type}, not {kinds[field.name]}")


def bad_writes(stem: str, what: str) -> BadRunError:
    """The error for a damaged table of write scores."""
    return BadRunError(what, where=table_name(stem), next_step="Make it again")


def _columns(what: str, top: int) -> list[str]:
    return [write_column(side, what, rank) for side in WRITE_SIDES for rank in range(top)]


def _read_columns(run_dir: Path, kinds: Mapping[str, str], dtype: type) -> np.ndarray:
    """Axes `column row`. A missing integer is -1, a missing number NaN."""
    n, whole = count_rows(run_dir, WRITES), np.issubdtype(dtype, np.integer)
    found: np.ndarray = np.empty((len(kinds), n), dtype)
    start = 0
    for batch in iter_arrow(run_dir, WRITES, columns=tuple(kinds)):
        check_types(batch.schema, kinds)
        rows = slice(start, start + len(batch))
        if rows.stop > n:
            break
        for i, name in enumerate(kinds):
            column = batch[name]
            if whole:
                found[i, rows] = np.clip(column.cast("int64").fill_null(-1).to_numpy(), -1, _MOST)
            else:
                found[i, rows] = column.to_numpy(zero_copy_only=False)
        start = rows.stop
    if start != n:
        raise bad_writes(WRITES, "changed while it was read")
    return found


def _by_side(columns: np.ndarray, top: int) -> np.ndarray:
    """From `column row` to `row side rank`."""
    return np.ascontiguousarray(columns.T).reshape(-1, len(WRITE_SIDES), top)
