"""From a prepared case to its graph: relevance, candidates, direct edges, pruning."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

from neuron_signatures.circuits import parts
from neuron_signatures.circuits.case import PreparedCase
from neuron_signatures.circuits.graph.build import SourceValues, build_graph
from neuron_signatures.circuits.graph.candidates import strongest
from neuron_signatures.circuits.graph.facts import graph_facts
from neuron_signatures.circuits.graph.matrix import edge_matrix
from neuron_signatures.circuits.graph.prune import prune
from neuron_signatures.circuits.request import TraceSettings
from neuron_signatures.circuits.tracing.incoming import incoming
from neuron_signatures.circuits.tracing.relevance import Relevance, relevance
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.run import Run


class Candidates(NamedTuple):
    """The neurons that edges are computed between, and the relevance by which they were chosen."""

    neurons: list[NeuronAt]
    relevance: Relevance


def find_candidates(case: PreparedCase, n: int) -> Candidates:
    """The `n` neurons at positions with the largest |(a - ā) ∂f/∂a| under the rules of RelP."""
    found = relevance(case.problem, case.references)
    return Candidates(strongest(found.neurons, n), found)


def matrix_bytes(case: PreparedCase, n_candidates: int) -> int:
    """Of the edges between candidates: once in float32, and twice in float64 while they are pruned."""
    n_layers, n_pos, _ = case.references.shape
    return (n_candidates + 1) * (n_candidates + n_pos * (n_layers + 1) + 1) * (4 + 2 * 8)


def trace_case(run: Run, case: PreparedCase, settings: TraceSettings, progress: ProgressOf) -> parts.Enriched:
    """The graph of a case with everything that a node or an edge shows.

    Raises `UsageError` if the edges do not fit into `--max_memory`, and as `incoming`.
    """
    n_bytes = matrix_bytes(case, min(settings.n_candidates, case.references.numel()))
    if n_bytes > settings.max_memory:
        what = f"the edges between candidates need {human_bytes(n_bytes)}, more than {human_bytes(settings.max_memory)}"
        raise UsageError(what, where="--max_memory", next_step="Give more, or fewer --candidates")
    seconds, start = dict[str, float](), time.monotonic()
    found = find_candidates(case, settings.n_candidates)
    edges = incoming(
        case.problem, [None, *found.neurons], found.neurons, case.references, progress=progress,
        memory=settings.max_memory,
    )  # fmt: skip
    pruned = prune(edge_matrix(edges, found.neurons), settings.rules)
    values = SourceValues(case.references, found.relevance.neurons, found.relevance.embeddings)
    graph = build_graph(pruned.matrix, case.prompt, values)
    facts = {"n_candidates": len(found.neurons), **graph_facts(graph, pruned)}
    seconds["trace"] = time.monotonic() - start
    enriched = parts.Enriched(graph, facts)
    for name, add in parts.additions(settings):
        start = time.monotonic()
        enriched = add(enriched, parts.Context(run, case, settings, progress))
        seconds[name] = time.monotonic() - start
    timed = {"seconds": {name: round(taken, 2) for name, taken in seconds.items()}}
    return replace(enriched, facts={**enriched.facts, **timed})
