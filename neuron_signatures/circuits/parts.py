"""What is added to a graph after pruning: labels, total effects, shares of heads, measured effects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuron_signatures.circuits.request import TraceSettings
from neuron_signatures.runs.circuits.graph import Graph
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.run import Run

if TYPE_CHECKING:
    from neuron_signatures.circuits.case import PreparedCase


@dataclass(frozen=True)
class Context:
    """What an addition is computed from."""

    run: Run
    case: PreparedCase
    settings: TraceSettings
    progress: ProgressOf


Addition = Callable[[Graph, Context], Graph]


def additions(settings: TraceSettings) -> Iterator[tuple[str, Addition]]:
    """By name, in order."""
    yield from ()


def write_files(writer: ResultsWriter, graph: Graph, name: str) -> None:
    """Write the files of a circuit that are not tables."""
