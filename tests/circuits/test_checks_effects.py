"""Measured effects of nodes and edges against plain forward passes, one source at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attribution_cases import LENGTH, TARGET_POS, loaded, plain_value, problem_of, shape_of, target_of
from torch import Tensor

from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.agreement import agreements
from neuron_signatures.circuits.checks.effects import Measured, n_ablations, strongest_edges, with_measured
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.runs.circuits.graph import Edge, Graph, Node, Prompt, node_id

A, B, C = NeuronAt(0, 2, 5), NeuronAt(1, 4, 7), NeuronAt(1, TARGET_POS, 3)
N_LAYERS = 3


def id_of(n: NeuronAt) -> str:
    return node_id("neuron", n.layer, n.pos, n_layers=N_LAYERS, neuron=n.neuron)


TARGET = node_id("target", N_LAYERS, TARGET_POS, n_layers=N_LAYERS)


def graph() -> Graph:
    """A → B, A → C, A → target, C → target, and edges that have no ablation; A is the strongest node."""
    scores = {A: -3.0, B: 0.5, C: 2.0}
    nodes = [Node(id_of(n), "neuron", *n, score=score) for n, score in scores.items()]
    token = Node("E_9_2", "embedding", -1, 2, token_id=9)
    edges = (
        Edge("E_9_2", id_of(A), 50.0), Edge(id_of(A), id_of(B), 4.0, total=1.0), Edge(id_of(A), id_of(C), -3.0),
        Edge(id_of(A), TARGET, 1.0, total=2.0), Edge(id_of(C), TARGET, 0.5),
    )  # fmt: skip
    prompt = Prompt("p", "", tuple(range(TARGET_POS + 1)), ("",) * (TARGET_POS + 1), TARGET_POS, 0, "", 0.5)
    return Graph(prompt, N_LAYERS, (*nodes, token, Node(TARGET, "target", N_LAYERS, TARGET_POS)), edges)


def reference(name: str) -> Tensor:
    shape = (shape_of(name).n_layers, TARGET_POS + 1, shape_of(name).d_mlp)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def measured(name: str, n: int, values: StoredValues | None = None, batch: int = 4) -> Measured:
    problem = problem_of(loaded(name).hf, target_of(name))
    return with_measured(graph(), problem, reference(name), n, batch=batch, values=values or StoredValues())


def plain_effects(name: str, source: NeuronAt) -> tuple[float, Tensor]:
    """f, and all activations, of the prompt minus those with the source at its reference."""
    found = []
    for ablate in (False, True):
        seen = torch.zeros(shape_of(name).n_layers, LENGTH, shape_of(name).d_mlp)

        def edit(layer: int, acts: Tensor, ablate: bool = ablate, seen: Tensor = seen) -> Tensor:
            seen[layer] = acts[0]
            if ablate and layer == source.layer:
                acts = acts.clone()
                acts[0, source.pos, source.neuron] = reference(name)[source]
            return acts

        found.append((plain_value(loaded(name).hf, target_of(name), edit), seen))
    return found[0][0] - found[1][0], found[0][1] - found[1][1]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "opt"])
@pytest.mark.parametrize("batch", [1, 4])
def test_measured_effects_are_those_of_plain_forward_passes(name: str, batch: int) -> None:
    found = measured(name, 10, batch=batch).graph
    of_a, acts_a = plain_effects(name, A)
    of_c, _ = plain_effects(name, C)
    of_edge = {(e.source, e.target): e.measured for e in found.edges}
    assert of_edge[id_of(A), id_of(B)] == pytest.approx(float(acts_a[B]), abs=1e-5)
    assert of_edge[id_of(A), id_of(C)] == pytest.approx(float(acts_a[C]), abs=1e-5)
    assert of_edge[id_of(A), TARGET] == pytest.approx(of_a, abs=1e-5)
    assert of_edge[id_of(C), TARGET] == pytest.approx(of_c, abs=1e-5)
    assert {n.id: n.measured for n in found.nodes}[id_of(A)] == pytest.approx(of_a, abs=1e-5)
    assert abs(of_a) > 1e-3 and float(acts_a[C].abs()) > 1e-5


def test_what_has_no_ablation_has_no_measured_effect() -> None:
    found = measured("llama", 10).graph
    assert next(e for e in found.edges if e.source == "E_9_2").measured is None
    assert {n.id: n.measured for n in found.nodes}["E_9_2"] is None
    assert {n.id: n.measured for n in found.nodes}[TARGET] is None


def test_the_strongest_and_every_edge_that_leaves_them_are_measured() -> None:
    found = measured("llama", 1)
    assert {e.source for e in found.graph.edges if e.measured is not None} == {id_of(A)}
    assert all(e.measured is not None for e in found.graph.edges if e.source == id_of(A))
    assert [n.id for n in found.graph.nodes if n.measured is not None] == [id_of(A)]
    assert found.n_sources == n_ablations(graph(), 1) == 1
    assert n_ablations(graph(), 10) == 3


def test_edges_are_chosen_by_influence_not_by_weight() -> None:
    first, second = [e for e in graph().edges if e.source == id_of(A)][:2]
    edges = (replace(first, weight=100.0, share=0.9), replace(second, weight=0.1, share=0.2))
    assert strongest_edges(replace(graph(), edges=edges), 1) == [edges[1]]


def test_a_source_that_was_measured_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    values = StoredValues()
    first = measured("llama", 10, values)
    monkeypatch.setattr("neuron_signatures.models.suffix.Suffix.run", None)
    assert measured("llama", 10, values) == first


def test_agreement_is_of_what_has_both_and_by_unit() -> None:
    made = graph()
    values = {id_of(B): 1.0, id_of(C): 3.0, TARGET: 7.0}
    edges = tuple(replace(e, measured=values[e.target]) for e in made.edges if e.source != "E_9_2")
    found = {(a.what, a.predictor): a for a in agreements(replace(made, edges=edges))}
    into_neurons = found["edges into neurons", "half rule"]
    assert (into_neurons.n, into_neurons.pearson, into_neurons.spearman) == (2, *[pytest.approx(-1.0)] * 2)
    assert found["edges into neurons", "plain gradient"].n == 1
    assert found["edges into neurons", "plain gradient"].pearson is None
    assert found["nodes", "half rule"].n == 0 and found["nodes", "half rule"].pearson is None


def test_without_first_positions_agreement_is_of_the_rest_alone() -> None:
    made = graph()
    first = NeuronAt(0, 0, 9)
    node = Node(id_of(first), "neuron", *first, score=9.0, measured=1.0)
    edges = [replace(e, measured=1.0) for e in made.edges if e.source != "E_9_2"]
    edges.append(Edge(id_of(first), id_of(B), 40.0, measured=0.1))
    found = {(a.what, a.predictor): a for a in agreements(replace(made, nodes=(*made.nodes, node), edges=tuple(edges)))}
    assert found["edges into neurons", "half rule"].n == 3
    assert found["edges into neurons, first position left out", "half rule"].n == 2
    assert ("edges into the target, first position left out", "half rule") not in found
    assert found["nodes, first position left out", "half rule"].n == 0
