"""`--top_from METRIC:K`: ablate only the neurons that a cheaper metric ranks first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

from neuron_signatures.analysis.attribution.metrics import Metric
from neuron_signatures.runs.errors import UsageError

Neuron = tuple[int, int]
_MOST_DIGITS = 12  # Python refuses to read numbers of thousands of digits


class TopFrom(NamedTuple):
    """The first `k` neurons of `metric`."""

    metric: Metric
    k: int


def parse_top_from(text: str, metrics: Sequence[Metric], *, ablates: bool) -> TopFrom:
    """Parse `METRIC:K`, where METRIC is one of `metrics`. Raises `UsageError`, also if nothing is ablated."""
    name, _, k = text.partition(":")
    sources = {str(m): m for m in metrics if m != "ablation"}
    if name not in sources or not (k.isdecimal() and len(k) <= _MOST_DIGITS and int(k)):
        given = ", ".join(sources) or "none"
        what = f"{text!r} is not METRIC:K with a metric of --influence_metric ({given})"
        raise UsageError(
            what, where="--top_from", next_step="Such as --influence_metric dla,ablation --top_from dla:20"
        )
    if not ablates:
        what = "nothing is ablated"
        raise UsageError(what, where="--top_from", next_step="Add ablation to --influence_metric, or --validate")
    return TopFrom(sources[name], int(k))


def within(candidates: Sequence[Neuron], layers: Sequence[int] | None, *, top_from: TopFrom) -> tuple[Neuron, ...]:
    """The candidates in these layers (all if None), without repeats. Raises `UsageError` if there is none."""
    chosen = tuple(dict.fromkeys(c for c in candidates if layers is None or c[0] in layers))
    if not chosen:
        where = "" if layers is None else " of the chosen layers"
        what = f"no neuron{where} is among the first {top_from.k} of {top_from.metric}"
        raise UsageError(what, where="--top_from", next_step="Give a larger K, or other --layers")
    return chosen


def digest(candidates: Sequence[Neuron] | None) -> str:
    """A short text that differs between different lists of candidates."""
    if candidates is None:
        return "every neuron"
    return f"{len(candidates)} neurons ({hashlib.sha256(json.dumps(list(candidates)).encode()).hexdigest()[:12]})"
