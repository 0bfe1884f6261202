"""Suggested groups: planted groups are found, shuffled ones are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted_circuits import planted
from sklearn.metrics import silhouette_samples

from neuron_signatures.circuits.groups.clusters import best_clusters, silhouettes
from neuron_signatures.circuits.groups.profiles import Part, edge_profiles, shuffled, similarity
from neuron_signatures.circuits.groups.suggest import neurons_of, suggest_groups
from neuron_signatures.runs.circuits.graph import Graph, Node

N_DRAWS = 60


@pytest.mark.parametrize("with_peaks", [False, True])
def test_planted_groups_are_found_also_across_signs(with_peaks):
    made = planted(alike=0.8, seed=1)
    found = suggest_groups(made.graph, made.peaks if with_peaks else None, n_draws=N_DRAWS)
    assert [set(group.nodes) for group in found.groups.groups if set(group.nodes) in made.members]
    assert sorted(map(sorted, (g.nodes for g in found.groups.groups))) == sorted(map(sorted, made.members))
    assert found.silhouette > found.null_mean + 5 * found.null_sd and found.p == 1 / (1 + N_DRAWS)
    assert found.with_signatures is with_peaks and "3 groups of 18 of 53 neurons" in found.line()


def test_profiles_without_groups_give_no_groups_and_say_so():
    made = planted(alike=0.0, seed=1)
    found = suggest_groups(made.graph, made.peaks, n_draws=N_DRAWS)
    assert found.groups.groups == () and not found.above_chance and found.p > 0.05
    assert "no more groups than chance" in found.line() and found.n_grouped == 0


def test_groups_have_only_neurons_of_one_position():
    made = planted(alike=0.9, seed=2)
    kinds = {node.id: (node.kind, node.pos) for node in made.graph.nodes}
    for group in suggest_groups(made.graph, n_draws=N_DRAWS).groups.groups:
        assert {kinds[id_] for id_ in group.nodes} <= {("neuron", 4)} or {kinds[i] for i in group.nodes} <= {
            ("neuron", 5)
        }
        assert group.source == "suggested"


def test_the_same_seed_suggests_the_same_and_a_namer_names():
    made = planted(alike=0.8)
    one, two = (suggest_groups(made.graph, made.peaks, n_draws=20, seed=3) for _ in range(2))
    assert one == two
    named = suggest_groups(made.graph, n_draws=20, namer=lambda nodes: ("x\ud800" * 300, "signatures"))
    assert {len(g.label) for g in named.groups.groups} == {200} and "\ud800" not in named.groups.groups[0].label
    assert {g.named_by for g in named.groups.groups} == {"signatures"}


def test_few_neurons_and_no_edges_are_no_error():
    made = planted(alike=0.5)
    pair = [node for node in made.graph.nodes if node.kind == "neuron"][:2]
    assert "too few" in suggest_groups(replace(made.graph, nodes=tuple(pair), edges=())).line()
    assert suggest_groups(replace(made.graph, nodes=(), edges=())).silhouette is None
    lonely = suggest_groups(replace(made.graph, edges=()), n_draws=5)
    assert lonely.groups.groups == () and lonely.silhouette == 0


def test_rest_and_constant_are_in_no_profile_and_signs_do_not_matter():
    made = planted(alike=1.0)
    neurons = neurons_of(made.graph)
    parts = edge_profiles(made.graph, neurons)
    at = [i for i, node in enumerate(neurons) if node.id in made.members[0]]
    cosines = similarity(parts)[np.ix_(at, at)]
    assert cosines == pytest.approx(np.ones_like(cosines))
    assert max(abs(part.values).max() for part in parts) < 50


def test_shuffling_keeps_each_column_at_each_position_and_what_is_impossible():
    random = np.random.default_rng(0)
    values, pos = random.normal(size=(12, 5)), np.repeat([3, 4], 6)
    possible = random.random((12, 5)) < 0.7
    values[~possible] = 0
    drawn = shuffled(Part(values, possible), pos, random).values
    assert (drawn[~possible] == 0).all() and not np.array_equal(drawn, values)
    for at in (3, 4):
        assert np.sort(drawn[pos == at], axis=0) == pytest.approx(np.sort(values[pos == at], axis=0))


def test_silhouettes_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    points = random.normal(size=(20, 3))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    labels = random.integers(0, 4, 20)
    labels[0] = 9
    assert silhouettes(distance, labels) == pytest.approx(silhouette_samples(distance, labels, metric="precomputed"))


def test_clusters_never_join_positions():
    cosines = np.ones((6, 6))
    found = best_clusters(cosines, np.array([1, 1, 1, 2, 2, 2]))
    assert found is not None and not set(found.labels[:3]) & set(found.labels[3:])


def test_embeddings_are_no_neurons():
    graph = Graph(planted(alike=0.5).graph.prompt, 4, (Node("E_1_0", "embedding", -1, 0),), ())
    assert neurons_of(graph) == []
