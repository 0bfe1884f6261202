"""Selections in charts and tables. Events come from the browser and are validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt, check_neuron


def chosen_neuron(event: Any, run: Run) -> NeuronAt | None:
    """The neuron in the `customdata` (layer, neuron) of the first selected point.

    None if nothing is selected or the run does not store the neuron.
    """
    numbers = point_data(event, 2)
    if numbers is None:
        return None
    try:
        return check_neuron(run, NeuronAt(numbers[0], numbers[1]))
    except UsageError:
        return None


def point_data(event: Any, n: int) -> list[int] | None:
    """The first `n` numbers of the first point's `customdata`; None if there is no point or they are not integers."""
    points = _selection(event).get("points") or []
    data = points[0].get("customdata") if points and isinstance(points[0], Mapping) else None
    if isinstance(data, Mapping):  # some versions of Streamlit pass a list as {"0": ..., "1": ...}
        data = [data.get(str(i)) for i in range(n)]
    if not isinstance(data, Sequence) or isinstance(data, str) or len(data) < n:
        return None
    numbers = [int(v) for v in data[:n] if _is_integer(v)]
    return numbers if len(numbers) == n else None


def chosen_row(event: Any, n_rows: int) -> int | None:
    """The first selected row of a table's event if it is in range, else None."""
    rows = _selection(event).get("rows") or []
    row = rows[0] if rows else None
    return int(row) if row is not None and _is_integer(row) and 0 <= row < n_rows else None


def _selection(event: Any) -> Mapping[str, Any]:
    found = event.get("selection") if isinstance(event, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and abs(value) < 1e15
