"""Pruning of hand-made edges, whose answers are visible, and its definitions by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from neuron_signatures.circuits.graph.candidates import strongest
from neuron_signatures.circuits.graph.influence import cumulative_share, graph_scores, influence
from neuron_signatures.circuits.graph.matrix import EdgeMatrix, keep_edges, keep_neurons
from neuron_signatures.circuits.graph.prune import PruneRules, prune
from neuron_signatures.circuits.types import NeuronAt

N_LAYERS, N_POS = 3, 2
EVERYTHING = PruneRules(max_nodes=1000, node_share=1.0, edge_share=1.0)


def made(neurons, edges, *, embeddings=None, rest=None, constant=None) -> EdgeMatrix:
    """Edges by (source, target), where the target function is -1; each row sums to its value."""
    n = len(neurons)
    between = np.zeros((n + 1, n))
    for (source, target), weight in edges.items():
        between[target + 1, source] = weight
    parts = [np.zeros((n + 1, N_POS)), np.zeros((n + 1, N_LAYERS, N_POS)), np.zeros(n + 1)]
    for part, given in zip(parts, (embeddings, rest, constant), strict=True):
        for place, weight in (given or {}).items():
            row, *where = (place,) if isinstance(place, int) else place
            part[row + 1, *where] = weight
    absolute = sum(np.abs(p).reshape(n + 1, -1).sum(1) for p in (between, *parts))
    value = sum(p.reshape(n + 1, -1).sum(1) for p in (between, *parts))
    return EdgeMatrix(tuple(NeuronAt(*at) for at in neurons), between, *parts, absolute, value)


def random_matrix(seed: int, n_neurons: int = 12) -> EdgeMatrix:
    """Acyclic random edges between neurons of three layers and two positions, with embeddings, rest and constant."""
    rng = np.random.default_rng(seed)
    places = [(layer, pos, i) for layer in range(N_LAYERS) for pos in range(N_POS) for i in range(5)]
    chosen = sorted(places[i] for i in rng.choice(len(places), n_neurons, replace=False))
    found = made(chosen, {}, constant={row: float(rng.normal()) for row in range(-1, n_neurons)})
    for row in range(n_neurons + 1):
        layer, pos = chosen[row - 1][:2] if row else (N_LAYERS, N_POS - 1)
        feeds = np.array([at[0] < layer and at[1] <= pos for at in chosen])
        found.between[row] = np.where(feeds, rng.normal(size=n_neurons), 0)
        found.embeddings[row, : pos + 1] = rng.normal(size=pos + 1)
        found.rest[row, :layer, : pos + 1] = rng.normal(size=(layer, pos + 1))
    sources = found.all_sources()
    found.value[:], found.absolute[:] = sources.sum(1), np.abs(sources).sum(1)
    return found


def test_influence_is_the_sum_over_all_paths():
    """Σ_k w Âᵏ with the square matrix of all nodes, where embeddings, rest and constant have no inputs."""
    matrix = random_matrix(0)
    size = np.abs(matrix.all_sources())
    n_sources = size.shape[1]
    square = np.zeros((n_sources + 1, n_sources + 1))  # row and column 0 are the target
    square[: matrix.n + 1, 1:] = size / size.sum(1, keepdims=True)
    at, total = np.eye(n_sources + 1)[0], np.zeros(n_sources + 1)
    for _ in range(N_LAYERS + 2):
        at = at @ square
        total += at
    assert at.sum() == 0  # no path is longer
    found = influence(matrix)
    np.testing.assert_allclose(found.nodes, total[1:])
    np.testing.assert_allclose(found.edges.sum(0), found.nodes)


def test_a_neuron_without_any_input_ends_its_paths():
    found = influence(made([(0, 0, 1)], {(0, -1): 3.0}, embeddings={(-1, 0): 1.0}))
    np.testing.assert_allclose(found.nodes[:2], [0.75, 0.25])
    assert found.nodes[2:].sum() == 0


def test_what_is_left_out_is_in_the_rest_of_its_place():
    neurons = [(0, 0, 4), (0, 1, 2), (1, 1, 7)]
    matrix = made(neurons, {(0, -1): 1.0, (1, -1): -2.0, (2, -1): 4.0, (0, 2): 8.0, (1, 2): 16.0},
                  rest={(-1, 0, 0): 0.5})  # fmt: skip
    smaller = keep_neurons(matrix, [0, 2])
    assert smaller.neurons == (NeuronAt(0, 0, 4), NeuronAt(1, 1, 7))
    np.testing.assert_array_equal(smaller.between, [[1, 4], [0, 0], [8, 0]])
    assert smaller.rest[0, 0].tolist() == [0.5, -2.0] and smaller.rest[2, 0].tolist() == [0.0, 16.0]
    np.testing.assert_array_equal(smaller.all_sources().sum(1), smaller.value)
    fewer = keep_edges(smaller, np.array([[True, False], [False, False], [True, False]]))
    assert fewer.between[0].tolist() == [1, 0] and fewer.rest[0, 1].tolist() == [0.0, 4.0]
    np.testing.assert_array_equal(fewer.all_sources().sum(1), fewer.value)
    assert matrix.rest[0, 0].tolist() == [0.5, 0.0]  # the original stays


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rules", [
    EVERYTHING, PruneRules(1000, 0.5, 0.8), PruneRules(3, 0.9, 0.98), PruneRules(1000, 0.0, 0.5)
])  # fmt: skip
def test_rows_sum_to_their_values_however_much_is_pruned(seed, rules):
    matrix = random_matrix(seed)
    pruned = prune(matrix, rules)
    np.testing.assert_allclose(pruned.matrix.all_sources().sum(1), pruned.matrix.value, atol=1e-12)
    values = dict(zip(matrix.neurons, matrix.value[1:], strict=True))
    assert [values[n] for n in pruned.matrix.neurons] == pruned.matrix.value[1:].tolist()
    assert pruned.matrix.n <= rules.max_nodes


def test_all_shares_keep_every_node_that_reaches_the_target():
    matrix = random_matrix(1)
    pruned = prune(matrix, EVERYTHING)
    reaching = [n for n, share in zip(matrix.neurons, influence(matrix).nodes, strict=False) if share > 0]
    assert list(pruned.matrix.neurons) == reaching and pruned.n_over == pruned.n_dangling == 0
    assert (pruned.matrix.between != 0).sum() == (keep_neurons(matrix, [
        i for i, n in enumerate(matrix.neurons) if n in reaching]).between != 0).sum()  # fmt: skip


def test_the_fewest_nodes_that_have_the_share():
    """Influence: 0.5 and 0.3 of two neurons, 0.2 of a token; the neurons have no inputs but the token."""
    neurons = [(0, 0, 1), (0, 0, 2)]
    matrix = made(neurons, {(0, -1): 5.0, (1, -1): -3.0}, embeddings={(-1, 0): 2.0, (0, 0): 1.0, (1, 0): 1.0})
    # of the influence 0.5 + 0.3 + 1.0 (the token, over all paths) = 1.8
    assert [n.neuron for n in prune(matrix, PruneRules(9, 1.0 / 1.8, 1.0)).matrix.neurons] == []
    assert [n.neuron for n in prune(matrix, PruneRules(9, 1.4 / 1.8, 1.0)).matrix.neurons] == [1]
    assert [n.neuron for n in prune(matrix, PruneRules(9, 1.6 / 1.8, 1.0)).matrix.neurons] == [1, 2]
    limited = prune(matrix, PruneRules(1, 1.0, 1.0))
    assert [n.neuron for n in limited.matrix.neurons] == [1] and limited.n_over == 1


def test_neurons_that_lose_their_last_edge_are_dropped_until_all_have_one():
    """A chain of three neurons, whose last edge is weak: without it the whole chain leads nowhere."""
    neurons = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 1)]
    chain = {(0, 1): 1.0, (1, 2): 1.0, (2, -1): 0.001, (3, -1): 10.0}
    matrix = made(neurons, chain, embeddings={(0, 0): 1.0, (3, 0): 1.0})
    kept = prune(matrix, PruneRules(9, 1.0, 0.99))
    assert kept.matrix.neurons == (NeuronAt(2, 1, 1),) and kept.n_dangling == 3
    assert kept.matrix.rest[0, 2, 0] == 0.001
    assert prune(matrix, EVERYTHING).matrix.n == 4


def test_scores_count_rest_and_constant_as_errors():
    """The target: 6 of a neuron, 2 of a token, 1 of the rest, 1 of the constant. The neuron: half token, half rest."""
    matrix = made([(1, 0, 0)], {(0, -1): 6.0}, embeddings={(-1, 0): 2.0, (0, 0): 3.0},
                  rest={(-1, 0, 0): -1.0, (0, 0, 0): 3.0}, constant={-1: 1.0})  # fmt: skip
    scores = graph_scores(matrix)
    assert scores.replacement == pytest.approx(0.5)  # tokens .2 + .3, errors .2 + .3
    assert scores.completeness == pytest.approx((0.8 + 0.6 * 0.5) / 1.6)
    without_rest = made([(1, 0, 0)], {(0, -1): 6.0}, embeddings={(0, 0): 3.0})
    assert graph_scores(without_rest) == (1.0, 1.0)
    assert graph_scores(made([(0, 0, 0)], {})) == (None, None)


def test_cumulative_share_of_hand_made_values():
    np.testing.assert_allclose(cumulative_share(np.array([1.0, 5.0, 4.0])), [1.0, 0.5, 0.9])
    np.testing.assert_allclose(cumulative_share(np.zeros(2)), [1.0, 1.0])


def test_candidates_are_the_most_relevant_in_order_of_place():
    import torch

    relevance = torch.zeros(2, 2, 3)
    relevance[1, 0, 2], relevance[0, 1, 1], relevance[0, 0, 0] = -5.0, 3.0, 1.0
    relevance[0, 1, 2] = torch.nan
    assert strongest(relevance, 2) == [NeuronAt(0, 1, 1), NeuronAt(1, 0, 2)]
    assert strongest(relevance, 99) == [NeuronAt(0, 0, 0), NeuronAt(0, 1, 1), NeuronAt(1, 0, 2)]
