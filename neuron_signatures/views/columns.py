"""Columns of result tables in the types that they are shown with, whatever type somebody wrote them in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = ("max_act_prompt", "max_act_token", "min_act_prompt", "min_act_token", "mode_peak_token", "ctx_token", "pole",
          "class", "name")  # fmt: skip
_WHOLE = ("layer", "neuron", "max_act_pos", "min_act_pos", "n_peaks", "ctx_idx", "n_active")
_NEEDED = ("layer", "neuron", "pole", "class")


def texts_of(names: Iterable[str]) -> tuple[str, ...]:
    """Those columns of `names` that hold texts."""
    return tuple(n for n in names if n in _TEXTS)


def typed(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """The columns `names` of the table: texts as dictionaries of strings, the others as integers or floats.

    Raises `ValueError` for a column that cannot be that, or lacks a value that a row is nothing without.
    """
    import pyarrow as pa

    for name in names:
        column = table.column(name)
        try:
            if name in _TEXTS:
                coded = pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type)
                column = column if coded else column.cast(pa.string()).dictionary_encode()
            elif name in _WHOLE:
                column = column if pa.types.is_integer(column.type) else column.cast(pa.int64())
            elif not pa.types.is_floating(column.type):
                column = column.cast(pa.float64())
        except pa.ArrowException as e:
            raise ValueError(f"column {name}: {e}") from e
        if name in _NEEDED and column.null_count:
            raise ValueError(f"column {name} lacks a value")
        table = table.set_column(table.column_names.index(name), name, column)
    return table
