"""What is added to a graph after pruning: labels, total effects, shares of heads, measured effects, groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.case import PreparedCase
from neuron_signatures.circuits.checks.effects import n_ablations, with_measured
from neuron_signatures.circuits.graph.heads import stored_heads
from neuron_signatures.circuits.groups.names import neuron_labels
from neuron_signatures.circuits.groups.of_run import suggest_for
from neuron_signatures.circuits.groups.profiles import change_sign
from neuron_signatures.circuits.request import TraceSettings
from neuron_signatures.circuits.tracing.heads import head_shares
from neuron_signatures.circuits.tracing.totals import total_effects
from neuron_signatures.circuits.types import EmbeddingAt, NeuronAt, Row, Source
from neuron_signatures.runs.circuits.graph import Graph, Node
from neuron_signatures.runs.circuits.groups import GroupsFile
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.run import Run

_ABLATION_BATCH = 64


class Context(NamedTuple):
    """What an addition is computed from."""

    run: Run
    case: PreparedCase
    settings: TraceSettings
    progress: ProgressOf


@dataclass(frozen=True)
class Enriched:
    """A graph with additions, the suggested groups, and facts about them for the record."""

    graph: Graph
    facts: dict[str, Any]
    groups: GroupsFile = field(default_factory=GroupsFile)


Addition = Callable[[Enriched, Context], Enriched]


def additions(settings: TraceSettings) -> Iterator[tuple[str, Addition]]:
    """By name, in the order in which they are made."""
    yield "labels", _labels
    yield "total_effects", _totals
    if settings.heads:
        yield "heads", _heads
    if settings.measure:
        yield "measure", _measured
    yield "groups", _groups


def _labels(found: Enriched, context: Context) -> Enriched:
    neurons = [n for n in found.graph.nodes if n.kind == "neuron"]
    signed = [(n.layer, n.neuron or 0, change_sign(n)) for n in neurons]
    active = [1 if (n.activation or 0.0) >= 0 else -1 for n in neurons]
    labels = neuron_labels(context.run, context.case.model, signed, active=active)
    of = {n.id: label for n, label in zip(neurons, labels, strict=True)}
    nodes = (
        replace(n, label=of[n.id].text, promotes=of[n.id].promotes) if n.id in of else n for n in found.graph.nodes
    )
    return replace(found, graph=replace(found.graph, nodes=tuple(nodes)))


def _totals(found: Enriched, context: Context) -> Enriched:
    """The plain gradient's effects of neurons and tokens on neurons and the target."""
    rows, columns = _rows(found.graph), _columns(found.graph)
    effects = total_effects(
        context.case.problem, [row for _, row in rows], [at for _, at in columns], context.case.references,
        memory=context.settings.max_memory, progress=context.progress,
    )  # fmt: skip
    row_of, column_of = ({id_: i for i, (id_, _) in enumerate(some)} for some in (rows, columns))
    nodes = {node.id: node for node in found.graph.nodes}

    def total(source: str, target: str) -> float | None:
        if source in column_of:
            return float(effects.neurons[row_of[target], column_of[source]])
        node = nodes[source]
        return float(effects.embeddings[row_of[target], node.pos]) if node.kind == "embedding" else None

    edges = tuple(replace(e, total=total(e.source, e.target)) for e in found.graph.edges)
    target = rows[0][0]
    with_effect = tuple(n if n.id in (target,) else replace(n, effect=total(n.id, target)) for n in found.graph.nodes)
    return replace(found, graph=replace(found.graph, nodes=with_effect, edges=edges))


def _heads(found: Enriched, context: Context) -> Enriched:
    """Of every edge from a neuron or a token, the largest."""
    nodes = {node.id: node for node in found.graph.nodes}
    edges = [e for e in found.graph.edges if nodes[e.source].kind in ("neuron", "embedding")]
    ends = [(_source(nodes[e.source]), _row(nodes[e.target])) for e in edges]
    shares = head_shares(
        context.case.problem, ends, context.case.references, memory=context.settings.max_memory,
        progress=context.progress,
    )  # fmt: skip
    stored = stored_heads(edges, shares)
    by_ends = {(e.source, e.target): e for e in stored.edges}
    graph = replace(
        found.graph, edges=tuple(by_ends.get((e.source, e.target), e) for e in found.graph.edges), heads=stored.heads
    )
    return replace(found, graph=graph, facts={**found.facts, "heads": stored.facts()})


def _measured(found: Enriched, context: Context) -> Enriched:
    n = context.settings.measure
    with context.progress("ablations", n_ablations(found.graph, n)) as bar:
        measured = with_measured(
            found.graph, context.case.problem, context.case.references, n, batch=_ABLATION_BATCH,
            values=StoredValues(), advance=bar.advance,
        )  # fmt: skip
    agreement = [one._asdict() for one in measured.agreement]
    return replace(found, graph=measured.graph, facts={**found.facts, "measured": agreement})


def _groups(found: Enriched, context: Context) -> Enriched:
    suggested = suggest_for(context.run, context.case.model, found.graph)
    facts = {
        "line": suggested.line(), "n_groups": len(suggested.groups.groups), "n_neurons": suggested.n_neurons,
        "n_grouped": suggested.n_grouped, "silhouette": suggested.silhouette, "null_mean": suggested.null_mean,
        "null_sd": suggested.null_sd, "p": suggested.p, "n_null": suggested.n_null,
    }  # fmt: skip
    return replace(found, groups=suggested.groups, facts={**found.facts, "groups": facts})


def _rows(graph: Graph) -> list[tuple[str, Row]]:
    """The target, then the neurons, with their ids."""
    target = next(n for n in graph.nodes if n.kind == "target")
    return [(target.id, None), *_columns(graph)]


def _columns(graph: Graph) -> list[tuple[str, NeuronAt]]:
    return [(n.id, NeuronAt(n.layer, n.pos, n.neuron)) for n in graph.nodes if n.neuron is not None]


def _row(node: Node) -> Row:
    return None if node.neuron is None else NeuronAt(node.layer, node.pos, node.neuron)


def _source(node: Node) -> Source:
    return EmbeddingAt(node.pos) if node.neuron is None else NeuronAt(node.layer, node.pos, node.neuron)
