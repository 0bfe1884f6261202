"""What the search screen can look for: tokens of the prompts, and what both viewers find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast

from neuron_signatures.runs.run import Run
from neuron_signatures.tui.options import SEARCH_WAYS
from neuron_signatures.views.search_run.asked import Way

SearchBy = Literal["prompts", Way]
TITLES: Final[Mapping[SearchBy, str]] = {
    "prompts": "tokens in prompts", "words": "explanations and exemplars by words", "promotes": "who promotes a token",
    "suppresses": "who suppresses a token", "meaning": "explanations and exemplars by meaning",
}  # fmt: skip
_BYS: Final = cast("tuple[SearchBy, ...]", SEARCH_WAYS)


def ways_of(run: Run) -> tuple[SearchBy, ...]:
    """The ways to search a run; one without prompts has no tokens in prompts."""
    return _BYS if run.prompts else _BYS[1:]


def way_of(run: Run, name: str | None) -> SearchBy:
    """The way with this name; the first one if the run does not have it."""
    ways = ways_of(run)
    return next((way for way in ways if way == name), ways[0])


def next_way(run: Run, now: SearchBy, by: int) -> SearchBy:
    ways = ways_of(run)
    return ways[(ways.index(now) + by) % len(ways)]
