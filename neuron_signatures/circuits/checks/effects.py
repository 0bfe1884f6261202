"""True ablations of the nodes and edges of a circuit.

A source is set to its reference ā at its position, alone; everything after it responds. Effects are the clean value
minus that of the ablated copy in the same forward pass, so they are for the change a - ā, as edges are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import refuse_undefined
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.agreement import Agreement, agreements
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.models.batching import BatchSize, run_in_passes, work_on
from neuron_signatures.runs.circuits.graph import Edge, Graph, Node

Downstream = Mapping[NeuronAt, Sequence[NeuronAt]]
"""Sources to ablate, each with the neurons whose change is measured beside that of the target function."""


class SourceEffects(NamedTuple):
    """f(clean) - f(source at ā), and a(clean) - a(source at ā) of each neuron that was asked for."""

    source: NeuronAt
    target: float
    neurons: tuple[float, ...]


@torch.no_grad()
def ablate_sources(
    problem: Problem,
    downstream: Downstream,
    reference: Float[Tensor, "layer prompt_pos neuron"],
    *,
    batch: int,
    values: StoredValues,
    advance: Callable[[int], Any],
) -> Iterator[SourceEffects]:
    """The effects of each source, a forward pass of one copy of the prompt; those that `values` has are not repeated.

    `reference` is at all positions of the prompt up to the target's. Raises `UsageError` if it is not finite for a
    source, and `EnvironmentProblem` if one copy does not fit into memory.
    """
    todo = []
    for source, targets in downstream.items():
        known = values.of(_name(source))
        if len(known) == 1 + len(targets):
            yield SourceEffects(source, known[0], tuple(known[1:]))
        else:
            known.clear()
            todo.append(source)
    if not todo:
        return
    refuse_undefined(torch.stack([reference[s] for s in todo]), where="--measure", next_step="Use --reference zero")
    run = _Ablations(problem, downstream, reference, first=min(s.pos for s in todo))
    work = work_on(problem.hf, "ablations of nodes", problem.token_ids)
    size = BatchSize(batch)
    for found in run_in_passes(run.effects, sorted(todo), size=size, unit="ablations", work=work):
        for one in found:
            values.of(_name(one.source)).extend([one.target, *one.neurons])
        values.changed()
        advance(len(found))
        yield from found


class _Ablations:
    def __init__(
        self, problem: Problem, downstream: Downstream, reference: Float[Tensor, "layer prompt_pos neuron"], first: int
    ) -> None:
        self._problem, self._downstream, self._reference, self._first = problem, downstream, reference, first
        self._suffix = problem.suffix(first=first)

    def effects(self, sources: list[NeuronAt]) -> list[SourceEffects]:
        """Copy 0 is clean, copy i + 1 has source i at its reference."""
        seen: dict[NeuronAt, Float[Tensor, " copy"]] = {}
        wanted = {t for s in sources for t in self._downstream[s]}

        def edit(layer: int, acts: Tensor) -> Tensor:
            for neuron in wanted:
                if neuron.layer == layer:
                    seen[neuron] = acts[:, neuron.pos - self._first, neuron.neuron].float().cpu()
            rows = [i for i, s in enumerate(sources) if s.layer == layer]
            if not rows:
                return acts
            cells = (
                [i + 1 for i in rows],
                [sources[i].pos - self._first for i in rows],
                [sources[i].neuron for i in rows],
            )
            new = torch.stack([self._reference[sources[i]] for i in rows]).to(acts)
            return acts.index_put(tuple(torch.tensor(c, device=acts.device) for c in cells), new)

        lowest = min(s.layer for s in sources)
        layers = sorted({n.layer for n in (*sources, *wanted)})
        f = self._problem.value(self._suffix.run(len(sources) + 1, edit, layers, from_layer=lowest)).float().cpu()
        return [
            SourceEffects(
                s, float(f[0] - f[i]), tuple(float(seen[t][0] - seen[t][i]) for t in self._downstream[s])
            )
            for i, s in enumerate(sources, 1)
        ]  # fmt: skip


def _name(source: NeuronAt) -> str:
    return "ablated {}_{}_{}".format(*source)


@dataclass(frozen=True)
class Measured:
    """The graph with `measured` on its strongest nodes and edges, and how predictions agree with it."""

    graph: Graph
    agreement: tuple[Agreement, ...]
    n_sources: int


def with_measured(
    graph: Graph,
    problem: Problem,
    reference: Float[Tensor, "layer prompt_pos neuron"],
    n: int,
    *,
    batch: int,
    values: StoredValues,
    advance: Callable[[int], Any] = lambda _: None,
) -> Measured:
    """`measured` of the sources of the `n` edges from neurons with the largest influence, of the `n` neurons with the
    largest |score|, and of every edge that leaves them.

    Edges from other nodes have no ablation: embeddings are not centred, and a rest node is a sum.
    """
    nodes = {node.id: node for node in graph.nodes}
    sources = [*strongest_nodes(graph, n), *(nodes[edge.source] for edge in strongest_edges(graph, n))]
    downstream: dict[NeuronAt, list[NeuronAt]] = {_at(node): [] for node in sources}
    chosen = {node.id for node in sources}
    for edge in graph.edges:
        if edge.source in chosen and nodes[edge.target].kind == "neuron":
            downstream[_at(nodes[edge.source])].append(_at(nodes[edge.target]))
    found = {
        one.source: one
        for one in ablate_sources(problem, downstream, reference, batch=batch, values=values, advance=advance)
    }

    def of_edge(edge: Edge) -> Edge:
        if edge.source not in chosen:
            return edge
        source, into = _at(nodes[edge.source]), nodes[edge.target]
        one = found[source]
        value = one.neurons[downstream[source].index(_at(into))] if into.kind == "neuron" else one.target
        return replace(edge, measured=value)

    def of_node(node: Node) -> Node:
        return replace(node, measured=found[_at(node)].target) if node.kind == "neuron" and _at(node) in found else node

    new = replace(graph, nodes=tuple(map(of_node, graph.nodes)), edges=tuple(map(of_edge, graph.edges)))
    return Measured(new, agreements(new), len(downstream))


def n_ablations(graph: Graph, n: int) -> int:
    """How many copies of the prompt `with_measured` runs."""
    nodes = {node.id: node for node in graph.nodes}
    sources = {_at(node) for node in strongest_nodes(graph, n)}
    return len(sources | {_at(nodes[e.source]) for e in strongest_edges(graph, n)})


def strongest_edges(graph: Graph, n: int) -> list[Edge]:
    """The `n` edges from neurons with the largest influence on the target; ties by |weight|, then as in the graph.

    Weights into different neurons are in units of different activations: by |weight| alone, edges between massive
    activations of the first position would be all that is measured.
    """
    neurons = {node.id for node in graph.nodes if node.kind == "neuron"}
    own = (e for e in graph.edges if e.source in neurons)
    return sorted(own, key=lambda e: (1.0 if e.share is None else e.share, -abs(e.weight)))[:n]


def strongest_nodes(graph: Graph, n: int) -> list[Node]:
    """The `n` neurons with the largest |score|; those without a score last."""
    neurons = [node for node in graph.nodes if node.kind == "neuron"]
    return sorted(neurons, key=lambda node: -abs(node.score or 0.0))[:n]


def _at(node: Node) -> NeuronAt:
    assert node.neuron is not None
    return NeuronAt(node.layer, node.pos, node.neuron)
