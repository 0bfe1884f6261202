"""Control edits keep what they should keep: layers, positions, norms, deltas."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from attribution_cases import loaded, token_ids
from intervention_cases import random_changes, session

from neuron_signatures.interventions.changes import Changes, setting
from neuron_signatures.interventions.controls.random_sets import (
    delta_norms,
    deltas,
    n_arrangements,
    own_share,
    permuted_deltas,
    random_neurons,
    scrambled_positions,
    with_deltas,
    write_norms,
)
from neuron_signatures.models.capture import output_projections

N_LAYERS, N_POS, N_NEURONS = 3, 6, 40
DEAD = (1, 7)


def acts_of(seed: int = 0) -> torch.Tensor:
    return torch.randn(N_LAYERS, N_POS, N_NEURONS, generator=torch.Generator().manual_seed(seed))


def norms_of() -> torch.Tensor:
    norms = torch.rand(N_LAYERS, N_NEURONS, generator=torch.Generator().manual_seed(1)) + 0.1
    norms[DEAD] = 0
    return norms


def cells(rows: list[tuple[int, int, int]], values: list[float] | None = None) -> Changes:
    layer, pos, neuron = torch.tensor(rows).unbind(1)
    return setting(layer, pos, neuron, torch.linspace(-2, 3, len(rows)) if values is None else torch.tensor(values))


ROWS = [(0, 2, 4), (0, 2, 9), (0, 5, 4), (1, 5, 0), (1, 5, 3), (2, 1, 4)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def places(changes: Changes) -> Counter:
    return Counter(zip(changes.layer.tolist(), changes.pos.tolist(), strict=True))


def keys(changes: Changes) -> list[tuple[int, int, int]]:
    return list(zip(changes.layer.tolist(), changes.pos.tolist(), changes.neuron.tolist(), strict=True))


def test_deltas_are_new_minus_clean_for_every_kind_of_cell():
    acts = torch.zeros(1, 2, 4)
    acts[0, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    at = torch.tensor
    changes = Changes(at([0] * 4), at([1] * 4), at([0, 1, 2, 3]), at([0.0, 1.0, -1.0, 0.5]), at([5.0, 0.25, 0.0, 0.0]))
    assert deltas(changes, acts).tolist() == [4.0, 0.25, -6.0, -2.0]
    norms = torch.tensor([[1.0, 2.0, 3.0, 0.0]])
    assert delta_norms(changes, acts, norms).tolist() == [4.0, 0.5, 18.0, 0.0]
    moved = with_deltas(changes, acts, at([1.0, 1.0, 1.0, 1.0]))
    assert moved.factor.tolist() == [0.0] * 4 and moved.offset.tolist() == [2.0, 3.0, 4.0, 5.0]


def test_random_neurons_keep_layers_positions_and_norms():
    changes, acts, norms = cells(ROWS), acts_of(), norms_of()
    wanted = delta_norms(changes, acts, norms)
    signs, drawn = [], []
    for found in islice(random_neurons(changes, acts, norms, rng()), 300):
        torch.testing.assert_close(delta_norms(found, acts, norms), wanted)
        assert places(found) == places(changes)
        assert len(set(keys(found))) == len(found)
        assert (1, DEAD[1]) not in {(k[0], k[2]) for k in keys(found)}
        signs.append(deltas(found, acts).sign())
        drawn += found.neuron.tolist()
    assert set(drawn) == set(range(N_NEURONS))
    assert float(torch.stack(signs).mean(0).abs().max()) < 0.2  # of both signs


def test_random_neurons_repeat_with_the_seed_and_differ_without():
    changes, acts, norms = cells(ROWS), acts_of(), norms_of()
    a, b, c = ([keys(s) for s in islice(random_neurons(changes, acts, norms, rng(seed)), 5)] for seed in (0, 0, 1))
    assert a == b != c and a[0] != a[1]


@pytest.mark.parametrize("positions", [range(1, N_POS), [2, 5, 1], [5, 2]])
def test_scrambled_deltas_are_never_at_their_own_position(positions):
    changes, acts = cells(ROWS), acts_of()
    wanted = Counter(
        (k[0], k[2], round(float(d), 5)) for k, d in zip(keys(changes), deltas(changes, acts), strict=True)
    )
    seen = set()
    for found in islice(scrambled_positions(changes, acts, positions, rng()), 100):
        assert all(a != b for a, b in zip(found.pos.tolist(), changes.pos.tolist(), strict=True))
        assert len(set(keys(found))) == len(found)
        assert set(found.pos.tolist()) <= {*positions, *changes.pos.tolist()}
        same = Counter((k[0], k[2], round(float(d), 5)) for k, d in zip(keys(found), deltas(found, acts), strict=True))
        assert same == wanted
        seen |= set(found.pos.tolist())
    assert seen >= set(positions)


def test_cells_at_every_position_are_scrambled_among_themselves():
    """As with `--positions all`: no position is free, but no delta stays where it was."""
    rows = [(0, pos, neuron) for neuron in (3, 8) for pos in range(1, N_POS)]
    changes, acts = cells(rows), acts_of()
    for found in islice(scrambled_positions(changes, acts, range(1, N_POS), rng()), 20):
        assert all(a != b for a, b in zip(found.pos.tolist(), changes.pos.tolist(), strict=True))
        assert sorted(keys(found)) == sorted(rows)


def test_permuted_deltas_are_the_norms_of_the_set_in_another_order():
    changes, acts, norms = cells(ROWS), acts_of(), norms_of()
    own = deltas(changes, acts) * norms[changes.layer, changes.neuron]
    orders = set()
    for found in islice(permuted_deltas(changes, acts, norms, rng()), 50):
        assert keys(found) == keys(changes)
        signed = deltas(found, acts) * norms[found.layer, found.neuron]
        torch.testing.assert_close(signed.sort().values, own.sort().values, atol=1e-5, rtol=1e-5)
        orders.add(tuple((signed[:, None] - own[None]).abs().argmin(1).tolist()))
    assert len(orders) > 40


def test_permuted_deltas_do_not_divide_by_the_norm_of_a_dead_neuron():
    changes = cells([(1, 2, 7), (1, 2, 8)])
    for found in islice(permuted_deltas(changes, acts_of(), norms_of(), rng()), 5):
        assert bool(torch.isfinite(found.offset).all())
        assert float(deltas(found, acts_of())[0]) == 0


@pytest.mark.parametrize("name", ["gpt2", "llama", "phi", "gemma2", "gemma3", "opt"])
def test_write_norms_are_those_of_the_weights(name):
    """By hand; of Gemma-2 and Gemma-3 through the weight 1 + w of the norm after the MLP."""
    hf = loaded(name).hf
    found = write_norms(hf, token_ids())
    assert found.dtype == torch.float32
    for layer, projection in enumerate(output_projections(hf)):
        weight = projection.weight.detach()
        rows = weight if name == "gpt2" else weight.T  # GPT-2's Conv1D has [neuron, d_model]
        if name.startswith("gemma"):
            rows = rows * (1 + hf.model.layers[layer].post_feedforward_layernorm.weight.detach())
        torch.testing.assert_close(found[layer], rows.norm(dim=1))


def test_real_control_sets_have_the_norms_of_the_set():
    hf, ids = loaded("gemma2").hf, token_ids()
    acts, norms = session("gemma2").acts(ids), write_norms(hf, ids)
    changes = random_changes(hf, (2, 8), 30, 0)
    wanted = delta_norms(changes, acts, norms)
    for found in islice(random_neurons(changes, acts, norms, rng()), 3):
        torch.testing.assert_close(delta_norms(found, acts, norms), wanted, atol=1e-5, rtol=1e-4)


def test_few_ways_to_place_or_order_deltas_are_counted():
    """By hand: one cell with 3 other places; two cells of one neuron among 3 places (3 ways move both); both."""
    layer, neuron = torch.tensor([0, 1, 1]), torch.tensor([4, 2, 2])
    changes = setting(layer, torch.tensor([1, 1, 2]), neuron, torch.zeros(3))
    assert n_arrangements(changes[:1], [1, 2, 3, 4]) == 3
    assert n_arrangements(changes[1:], [1, 2, 3]) == 3
    assert n_arrangements(changes, [1, 2, 3]) == 2 * 3


def test_a_random_set_of_a_whole_layer_is_the_set_itself():
    everything = setting(
        torch.zeros(8, dtype=torch.long), torch.ones(8, dtype=torch.long), torch.arange(8), torch.ones(8)
    )
    assert own_share(everything, 8) == 1.0 and own_share(everything[:2], 8) == 0.25


def test_the_own_order_is_not_drawn():
    acts = torch.zeros(1, 2, 3)
    two = setting(
        torch.zeros(2, dtype=torch.long),
        torch.ones(2, dtype=torch.long),
        torch.tensor([0, 2]),
        torch.tensor([1.0, 5.0]),
    )
    drawn = permuted_deltas(two, acts, torch.ones(1, 3), np.random.default_rng(0))
    assert all(next(drawn).offset.tolist() == [5.0, 1.0] for _ in range(20))
