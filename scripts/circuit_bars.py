"""What `check_circuits.py` measures: faithfulness of sets, agreement of effects, swaps of a group."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from circuit_cases import Case, Template
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.agreement import Agreement
from neuron_signatures.circuits.checks.curves import Curves, curves
from neuron_signatures.circuits.checks.effects import with_measured
from neuron_signatures.circuits.checks.settings import CurveSettings, SwapSettings
from neuron_signatures.circuits.checks.swaps import Swap, SwapPrompt, swap_group
from neuron_signatures.circuits.graph.build import SourceValues, build_graph
from neuron_signatures.circuits.graph.candidates import strongest
from neuron_signatures.circuits.graph.matrix import edge_matrix
from neuron_signatures.circuits.graph.prune import PruneRules, prune
from neuron_signatures.circuits.groups.align import align
from neuron_signatures.circuits.tracing import frozen_change, incoming, relevance, total_effects
from neuron_signatures.circuits.types import NeuronAt, Row
from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.circuits.graph import Graph, Prompt
from neuron_signatures.runs.progress import silent
from neuron_signatures.stats.correlation import pearson, spearman

log = logging.getLogger(__name__)

RULES = PruneRules(max_nodes=90, node_share=0.8, edge_share=0.98)
CANDIDATES_PER_NODE = 8
FOLLOWS = 0.5
"""Share of the variance of an activation over prompts of the template that is between entities, from which a neuron
follows the entity."""


class Traced(NamedTuple):
    """The pruned graph of a case, by a reference."""

    case: Case
    graph: Graph
    reference: Float[Tensor, "layer pos neuron"]

    @property
    def neurons(self) -> list[NeuronAt]:
        return [NeuronAt(n.layer, n.pos, n.neuron) for n in self.graph.nodes if n.neuron is not None]


def curve_of(model: LoadedModel, case: Case, reference: Tensor, settings: CurveSettings) -> Curves:
    """Sets of the strongest units by centred relevance, kept and ablated, with random sets."""
    problem = case.problem(model)
    scores = relevance(problem, reference).neurons
    return curves(problem, scores, reference, settings, values=StoredValues(), progress=silent)


def curves_of(model: LoadedModel, template: Template, settings: CurveSettings, *, by_role: bool = True) -> list[Curves]:
    """Of every case of a template, by the mean over the other entities: at each position, or over all tokens."""
    found = []
    for case in template.cases:
        reference = template.reference(case) if by_role else template.mean_of_tokens(case)
        found.append(curve_of(model, case, reference, settings))
        log.debug("%s: %d of %d prompts", template.name, len(found), len(template.cases))
    return found


def strongest_units(model: LoadedModel, case: Case, reference: Tensor, k: int) -> list[NeuronAt]:
    """The first k of the ranking that sets are made of."""
    return strongest(relevance(case.problem(model), reference).neurons, k)


def trace(model: LoadedModel, case: Case, reference: Tensor) -> Traced:
    """The graph of a case as stage 10 makes it, with total effects."""
    problem = case.problem(model)
    scores = relevance(problem, reference)
    candidates = strongest(scores.neurons, CANDIDATES_PER_NODE * RULES.max_nodes)
    edges = incoming(problem, [None, *candidates], candidates, reference)
    matrix = prune(edge_matrix(edges, candidates), RULES).matrix
    values = SourceValues(reference, scores.neurons, scores.embeddings)
    graph = build_graph(matrix, _prompt(model, case, scores.value), values)
    return Traced(case, _with_totals(model, Traced(case, graph, reference)), reference)


def _prompt(model: LoadedModel, case: Case, value: float) -> Prompt:
    names = token_strings(model.tokenizer, list(case.token_ids))
    answer, foil = token_strings(model.tokenizer, [case.answer_id, case.foil_id])
    return Prompt(case.entity, case.text, case.token_ids, tuple(names), len(names) - 1, case.answer_id, answer, 0.0,
                  case.foil_id, foil, value=value)  # fmt: skip


def _with_totals(model: LoadedModel, traced: Traced) -> Graph:
    graph, columns = traced.graph, traced.neurons
    rows: list[Row] = [None, *columns]
    found = total_effects(traced.case.problem(model), rows, columns, traced.reference).neurons
    ids = [n.id for n in graph.nodes if n.neuron is not None]
    column = {id_: i for i, id_ in enumerate(ids)}
    row = {id_: i + 1 for i, id_ in enumerate(ids)}

    def total(source: str, target: str) -> float | None:
        return float(found[row.get(target, 0), column[source]]) if source in column else None

    target = next(n.id for n in graph.nodes if n.kind == "target")
    edges = tuple(replace(e, total=total(e.source, e.target)) for e in graph.edges)
    nodes = tuple(n if n.id == target else replace(n, effect=total(n.id, target)) for n in graph.nodes)
    return replace(graph, nodes=nodes, edges=edges)


def agreement_of(model: LoadedModel, traced: Traced) -> tuple[Agreement, ...]:
    """Every shown edge and node that has a neuron as its source, against its ablation in the model as it is."""
    n = len(traced.graph.edges)
    problem = traced.case.problem(model)
    return with_measured(traced.graph, problem, traced.reference, n, batch=64, values=StoredValues()).agreement


def frozen_agreement(model: LoadedModel, traced: Traced) -> Agreement:
    """Shown edges between neurons against the exact change with everything else constant.

    Edges into the target are left out: they are this change by definition.
    """
    at = {n.id: NeuronAt(n.layer, n.pos, n.neuron) for n in traced.graph.nodes if n.neuron is not None}
    edges = [e for e in traced.graph.edges if e.source in at and e.target in at]
    pairs = [(at[e.source], at[e.target]) for e in edges]
    found = frozen_change(traced.case.problem(model), pairs, traced.reference).double().numpy()
    weights = np.array([e.weight for e in edges])
    return Agreement(
        "edges into neurons, frozen", "half rule", pearson(weights, found), spearman(weights, found), len(edges)
    )


def share_between(cases: Sequence[Case]) -> Float[Tensor, "layer pos neuron"]:
    """Share of the variance of each activation that is between entities, over prompts of one length; 0 if constant."""
    acts = torch.stack([c.acts for c in cases])
    names = [c.entity for c in cases]
    means = {name: acts[[n == name for n in names]].mean(0) for name in set(names)}
    between = torch.stack([means[n] for n in names]).var(0, correction=0)
    total = acts.var(0, correction=0)
    return torch.where(total > 0, between / total, 0.0)


def swaps_of(
    model: LoadedModel, traced: Traced, others: Sequence[Case], members: Sequence[NeuronAt], settings: SwapSettings
) -> list[Swap]:
    """The members patched in the traced prompt from each of the others."""
    case = traced.case
    norms = write_norms(model.hf, list(case.token_ids))
    here = SwapPrompt(case.entity, case.token_ids, case.answer_id, case.acts)
    return [
        swap_group(
            model.hf, here, SwapPrompt(o.entity, o.token_ids, o.answer_id, o.acts), align(case.token_ids, o.token_ids),
            "circuit", members, settings, norms=norms, values=StoredValues(),
        )
        for o in others
    ]  # fmt: skip
