"""The common circuit of prompts of one template: what is shared, what changes with the entity, held-out prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from template_circuits import D_MLP, N_LAYERS, RARE, SHARED, VARYING, circuit

from neuron_signatures.circuits.common.circuit import common_circuit
from neuron_signatures.circuits.common.members import Key, template_of
from neuron_signatures.circuits.common.tables import common_tables
from neuron_signatures.runs.circuits.folder import COMMON, COMMON_EDGES, COMMON_NODES, MEMBERS, TABLES
from neuron_signatures.runs.errors import UsageError


def common(circuits, seed=0):
    return common_circuit(template_of(circuits), None, d_mlp=D_MLP, seed=seed)


def test_nodes_are_the_same_by_layer_neuron_and_role():
    found = {node.key: node for node in common([circuit(i) for i in range(6)]).nodes}
    shared, varying = found[Key("neuron", 2, SHARED, "end-1")], found[Key("neuron", 1, VARYING, "entity-1")]
    assert (shared.n_circuits, shared.share, shared.mean_score, shared.sd_score) == (6, 1.0, 5.0, 0.0)
    assert varying.n_circuits == 6 and varying.mean_score == pytest.approx(np.mean(range(1, 7)))
    assert varying.sd_score == pytest.approx(np.std(range(1, 7), ddof=1)) and varying.label == "n2"
    assert not any(key.neuron == RARE or key.kind in ("rest", "constant") for key in found)
    assert (
        found[Key("target", N_LAYERS, None, "end-1")].varies and not found[Key("embedding", -1, None, "start+0")].varies
    )


def test_what_changes_with_the_entity_is_told_from_what_does_not():
    found = {node.key.neuron: node for node in common([circuit(i) for i in range(16)]).nodes if node.key.neuron}
    shared, varying = found[SHARED], found[VARYING]
    assert shared.entity_share == 0 and shared.entity_high == 0 and not shared.varies
    d = np.array([(-1.0) ** (i // 2) * (1 + i) for i in range(16)])
    assert varying.entity_share == pytest.approx(1 - d.mean() ** 2 / (d**2).mean())
    assert varying.entity_low < varying.entity_share <= varying.entity_high and varying.varies
    assert varying.between is None and varying.n_null is None  # every entity has one prompt


def test_entities_with_several_prompts_are_compared_with_permuted_ones():
    # VARYING has the sign of the entity: i // 2 even or odd
    found = common([circuit(i, entity=f"state {(i // 2) % 2}") for i in range(12)])
    node = next(node for node in found.nodes if node.key.neuron == VARYING)
    assert node.between > node.null_mean + 2 * node.null_sd and node.p < 0.05 and node.n_null == 1000 and node.varies
    mixed = common([circuit(i, entity=f"state {i % 2}") for i in range(12)])
    node = next(node for node in mixed.nodes if node.key.neuron == VARYING)
    assert node.p > 0.05 and not node.varies


def test_a_mean_over_the_template_is_no_reference_for_what_depends_on_the_entity():
    circuits = [circuit(i, reference="template") for i in range(8)]
    found = common(circuits)
    shared = next(node for node in found.nodes if node.key.neuron == SHARED)
    assert shared.entity_share == 0 and not shared.varies and found.facts()["change_from"] == "zero"


def test_edges_join_rows_of_the_table():
    found = common([circuit(i) for i in range(4)])
    keys = [node.key for node in found.nodes]
    edge = next(e for e in found.edges if keys[e.source].neuron == VARYING and keys[e.target].neuron == SHARED)
    assert (edge.n_circuits, edge.share, edge.mean_weight) == (4, 1.0, 2.5)
    assert edge.sd_weight == pytest.approx(np.std([1, 2, 3, 4], ddof=1))
    assert len(found.edges) == 3


def test_held_out_circuits_are_compared_with_random_neurons_and_not_used():
    circuits = [*(circuit(i) for i in range(4)), circuit(4, held_out=True), circuit(5, held_out=True, strange=True)]
    found = common(circuits)
    assert {node.n_circuits for node in found.nodes} == {4} and len(found.common) == 2
    *own, holds, strange = found.held
    assert all(h.common_share == 1 and h.p is None and h.n_null is None for h in own)
    assert holds.common_share == 1 and holds.covered == 1 and holds.p < 0.01 and holds.n_null == 1000
    assert holds.null_mean == pytest.approx(1 / D_MLP, abs=0.02)
    assert strange.common_share == 0 and strange.covered == 0 and strange.p == 1
    facts = found.facts()
    assert facts["held_out_common_share"] == 0.5 and facts["n_held_out"] == 2 and facts["held_out_largest_p"] == 1
    assert facts["start_tokens"] == 3 and facts["end_tokens"] == 1


def test_a_circuit_counts_only_by_what_is_common_to_the_others():
    one = circuit(0)  # RARE is in this one alone
    found = common([one, circuit(1)])
    assert [h.common_share for h in found.held] == [1.0, 2 / 3]


def test_the_tables_have_the_columns_of_the_folder():
    frames = common_tables(common([circuit(0), circuit(1), circuit(2, held_out=True)]))
    assert {stem: list(frame.columns) for stem, frame in frames.items()} == {
        stem: list(TABLES[stem].columns) for stem in (COMMON_NODES, COMMON_EDGES, MEMBERS)
    }
    assert frames[COMMON_EDGES][["source", "target"]].to_numpy().max() < len(frames[COMMON_NODES])
    assert frames[MEMBERS]["held_out"].tolist() == [False, False, True]
    assert all(TABLES[stem].mode == COMMON for stem in frames)


def test_the_same_seed_gives_the_same():
    circuits = [*(circuit(i) for i in range(4)), circuit(4, held_out=True)]
    assert common(circuits, 1) == common(circuits, 1)


@pytest.mark.parametrize(
    ("circuits", "message"),
    [
        ([circuit(0)], "needs two prompts that are not held out, not 1"),
        ([circuit(0), circuit(1, held_out=True)], "not 1"),
        ([circuit(0, ids=[0, 1]), circuit(1, ids=[5, 6])], "no more than their first token in common"),
    ],
)
def test_circuits_that_share_no_template_are_refused(circuits, message):
    with pytest.raises(UsageError, match=message):
        template_of(circuits)


def test_circuits_of_different_models_are_refused():
    one, two = circuit(0), circuit(1)
    with pytest.raises(UsageError, match="different numbers of layers"):
        template_of([one, replace(two, graph=replace(two.graph, n_layers=9))])


def test_circuits_without_common_neurons_have_no_shares():
    bare = [replace(c, graph=replace(c.graph, nodes=c.graph.nodes[:1], edges=())) for c in (circuit(0), circuit(1))]
    found = common(bare)
    assert [h.common_share for h in found.held] == [None, None] and found.facts()["covered"] is None
