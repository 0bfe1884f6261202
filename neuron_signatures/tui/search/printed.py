"""A search as text and data, for `--print`."""

from __future__ import annotations

from typing import Any

from neuron_signatures.tui.output import Printed
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.search.hits import FoundTable, HitList, found_head
from neuron_signatures.views.search_run.asked import SCORES, SHOWN, Asked, Way

_ALL = 100_000


def found_printed(opened: OpenedRun, query: str, way: Way, limit: int | None, record: dict[str, Any]) -> Printed:
    """Raises as `OpenedSearch.tell`."""
    k = _ALL if limit == 0 else max(limit or 0, SHOWN)
    told = opened.search.explained(opened.search.tell(Asked(query, way, k=k)))
    facts = {"score": SCORES[way], "n_hits": len(told.found.hits), "notes": list(told.found.notes)}
    return Printed(found_head(told), FoundTable(HitList(told)), {**record, **facts})
