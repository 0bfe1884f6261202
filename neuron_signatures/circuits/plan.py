"""What a command of stage 10 takes, before it starts: nodes, rows of edges, time, and bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from neuron_signatures.circuits.case import PreparedCase
from neuron_signatures.circuits.checks.forecast import CheckForecast
from neuron_signatures.circuits.request import TraceSettings
from neuron_signatures.circuits.trace import find_candidates, matrix_bytes
from neuron_signatures.circuits.tracing.incoming import incoming
from neuron_signatures.runs.files import counted, human_bytes, human_seconds

_ROWS: Final = 16
_NODE_BYTES: Final = 760
_EDGE_BYTES: Final = 150
_HEAD_BYTES: Final = 45
"""In the tables and in the graph file: an edge's share of one head."""


@dataclass(frozen=True)
class Forecast:
    """`n_circuits` are to be traced. Sizes are those of the largest circuit, seconds those of all. Times are those of
    a few rows, scaled; labels, total effects and what `--heads` adds come on top."""

    n_circuits: int
    n_finished: int
    max_nodes: int
    """Neurons of a circuit."""
    n_candidates: int
    n_rows: int
    """Of edges: one backward pass each."""
    seconds: float
    memory_bytes: int
    """Of the edges between candidates, besides the model and the batches of backward passes."""
    disk_bytes: int
    """About what a circuit takes in its folder."""
    device: str
    checks: CheckForecast | None = None
    """What `--checks` and `--measure` add; None if nothing."""

    def lines(self) -> list[str]:
        return [self._line(), *(f"forecast: {line}" for line in (self.checks.lines() if self.checks else ()))]

    def _line(self) -> str:
        if not self.n_circuits:
            return f"forecast: nothing to trace, {counted(self.n_finished, 'circuit')} finished"
        finished = f" ({self.n_finished:,} finished)" if self.n_finished else ""
        return (
            f"forecast: {counted(self.n_circuits, 'circuit')}{finished} of at most {self.max_nodes:,} neurons out of "
            f"{self.n_candidates:,} candidates, {self.n_rows:,} rows of edges: about {human_seconds(self.seconds)} "
            f"on {self.device}; {human_bytes(self.memory_bytes)} for edges, up to {human_bytes(self.disk_bytes)} on "
            "disk for each"
        )

    def fields(self) -> dict[str, Any]:
        checks = self.checks.fields() if self.checks else None
        return {**asdict(self), "checks": checks}


def forecast(cases: Sequence[PreparedCase], settings: TraceSettings, *, n_finished: int) -> Forecast:
    """Measures a few rows of the longest case."""
    if not cases:
        return Forecast(0, n_finished, settings.rules.max_nodes, settings.n_candidates, 0, 0.0, 0, 0, "no device")
    case = max(cases, key=lambda c: c.resolved.target.pos)
    n_layers, n_pos, d_mlp = case.references.shape
    candidates = min(settings.n_candidates, n_layers * n_pos * d_mlp)
    nodes = min(settings.rules.max_nodes, candidates)
    width = n_pos + n_layers * n_pos + 1
    edges = (nodes + 1) * (nodes + width) // 2  # causal, and from lower layers only
    return Forecast(
        n_circuits=len(cases), n_finished=n_finished, max_nodes=settings.rules.max_nodes, n_candidates=candidates,
        n_rows=candidates + 1, seconds=len(cases) * _seconds(case, settings, candidates + 1),
        memory_bytes=matrix_bytes(case, candidates),
        disk_bytes=(nodes + width) * _NODE_BYTES + edges * (_EDGE_BYTES + _heads_of_edge(case, settings) * _HEAD_BYTES),
        device=str(case.model.device),
    )  # fmt: skip


def _heads_of_edge(case: PreparedCase, settings: TraceSettings) -> int:
    """How many heads an edge passes through, about: half of all, those between its ends."""
    config = case.model.hf.config.get_text_config()
    return config.num_hidden_layers * config.num_attention_heads // 2 if settings.heads else 0


def _seconds(case: PreparedCase, settings: TraceSettings, n_rows: int) -> float:
    """One pass for the relevance and one for the edges, and the rows of candidates spread over the layers."""
    start = time.perf_counter()
    found = find_candidates(case, n_rows - 1).neurons
    fixed = time.perf_counter() - start
    some = found[:: max(1, len(found) // _ROWS)][:_ROWS]
    taken = []
    for rows in (some[:1], some):
        start = time.perf_counter()
        incoming(case.problem, [None, *rows], found, case.references, memory=settings.max_memory)
        taken.append(time.perf_counter() - start)
    per_row = max(0.0, taken[1] - taken[0]) / max(1, len(some) - 1)
    return fixed + taken[0] + per_row * n_rows
