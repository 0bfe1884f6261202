"""Values as strict JSON takes them, and text as a spreadsheet may have it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuron_signatures.runs.tokens import encodable, escape

if TYPE_CHECKING:
    import pyarrow as pa

# What a spreadsheet takes for the beginning of a formula, in both widths.
_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"


def strict(value: Any) -> Any:
    """`value` in terms of strict JSON: NaN and infinities are null, numpy values, records and paths are plain.

    Half a surrogate pair, which a token may hold and UTF-8 cannot, becomes an escape.
    """
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return encodable(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.ndarray):
        return strict(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: strict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {encodable(str(k)): strict(v) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [strict(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, Path):
        return str(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise TypeError(f"{type(value).__name__} has no place in a record")


def refuse_constant(name: str) -> None:
    """The `parse_constant` of a strict `json.loads`: NaN and infinities are refused."""
    raise ValueError(f"{name} is not JSON")


def csv_text(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula and no terminal obeys: `=1` is `'=1`, a tab `\\x09`."""
    shown = escape(text)
    return f"'{shown}" if shown.lstrip().startswith(tuple(_FORMULA)) else shown


def csv_safe(table: pa.Table, plain: Sequence[str]) -> pa.Table:
    """The table with its text cells as `csv_text`, but for the columns `plain`, which are our own."""
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        value_type = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if field.name not in plain and (pa.types.is_string(value_type) or pa.types.is_large_string(value_type)):
            table = table.set_column(i, field.name, _safe_column(table.column(i)))
    return table


def _safe_column(column: pa.ChunkedArray) -> pa.Array:
    """Each different text is escaped once: tokens repeat."""
    import pyarrow as pa

    coded = column.combine_chunks()
    coded = coded if pa.types.is_dictionary(coded.type) else coded.dictionary_encode()
    safe = pa.array([None if t is None else csv_text(t) for t in coded.dictionary.to_pylist()], pa.large_string())
    return safe.take(coded.indices)
