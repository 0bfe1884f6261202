"""Edits as hooks of a bridge do what the same edits do that are made by hand with hooks of PyTorch."""

from __future__ import annotations

import math

import pytest
import torch
from attribution_cases import loaded, token_ids
from intervention_cases import plain_logits, session
from tiny_models import ARCHITECTURES, D_MODEL

from neuron_signatures.interventions.edits import Edit, fwd_hooks
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.runs.errors import UsageError

NEURONS, POSITIONS = (3, 40), (2, 5)
MANY = tuple(range(60))  # of OPT's neurons, which end in a ReLU, most are 0
PER_POSITION = ((0.5, -4.0), (2.0, 3.0))
FACTORS = tuple(torch.linspace(-3, 5, len(MANY)).tolist())
VECTOR = tuple(torch.linspace(-2, 3, D_MODEL).tolist())
CELLS = (slice(None), torch.tensor(POSITIONS)[:, None], torch.tensor(NEURONS))
EVERYWHERE = (slice(None), slice(None), torch.tensor(NEURONS))
MANY_CELLS = (slice(None), torch.tensor(POSITIONS)[:, None], torch.tensor(MANY))
MANY_EVERYWHERE = (slice(None), slice(None), torch.tensor(MANY))


def with_cells(cells, change):
    """A copy of the activations whose cells are `change` of what they were."""

    def edit(acts):
        acts[cells] = change(acts[cells])
        return acts

    return edit


def to(values):
    return lambda old: torch.tensor(values).expand_as(old)


# The edit, and the same by hand.
CASES = {
    "set per position": (Edit(1, NEURONS, POSITIONS, "set", PER_POSITION), with_cells(CELLS, to(PER_POSITION))),
    "ablate": (Edit(1, MANY, POSITIONS, "ablate"), with_cells(MANY_CELLS, to(0.0))),
    "ablate everywhere": (Edit(1, MANY, None, "ablate"), with_cells(MANY_EVERYWHERE, to(0.0))),
    "patch per neuron": (Edit(1, NEURONS, POSITIONS, "patch", (3.0, -3.0)), with_cells(CELLS, to((3.0, -3.0)))),
    "patch everywhere": (Edit(1, NEURONS, None, "patch", ((3.0, -3.0),)), with_cells(EVERYWHERE, to((3.0, -3.0)))),
    "add": (Edit(1, NEURONS, POSITIONS, "add", 2.5), with_cells(CELLS, lambda a: a + 2.5)),
    "add per position": (
        Edit(1, NEURONS, POSITIONS, "add", PER_POSITION), with_cells(CELLS, lambda a: a + torch.tensor(PER_POSITION)),
    ),
    "flip": (Edit(1, MANY, None, "flip"), with_cells(MANY_EVERYWHERE, lambda a: -a)),
    "scale": (Edit(1, MANY, POSITIONS, "scale", 3.0), with_cells(MANY_CELLS, lambda a: 3 * a)),
    "scale per neuron": (
        Edit(1, MANY, None, "scale", FACTORS), with_cells(MANY_EVERYWHERE, lambda a: a * torch.tensor(FACTORS)),
    ),
}  # fmt: skip


def bridge_logits(name, ids, edits):
    bridge = session(name).bridge
    with torch.no_grad(), bridge.hooks(fwd_hooks=fwd_hooks(edits)):
        return bridge(torch.tensor(ids))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_kind_equals_the_edit_made_by_hand(name):
    hf, ids = loaded(name).hf, [token_ids()]
    clean = plain_logits(hf, ids)
    for case, (edit, by_hand) in CASES.items():
        wanted = plain_logits(hf, ids, {1: by_hand})
        torch.testing.assert_close(
            bridge_logits(name, ids, [edit]), wanted, atol=2e-4, rtol=1e-4, msg=lambda m, c=case: f"{c}: {m}"
        )
        assert float((wanted - clean).abs().max()) > 0.01, f"{case} changes nothing"


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("positions", [POSITIONS, None])
def test_a_direction_is_added_to_the_output_of_the_layer(name, positions):
    hf, ids = loaded(name).hf, [token_ids()]

    def by_hand(residual):
        residual[:, slice(None) if positions is None else list(positions)] += torch.tensor(VECTOR)
        return residual

    found = bridge_logits(name, ids, [Edit(1, (), positions, "direction", VECTOR)])
    torch.testing.assert_close(found, plain_logits(hf, ids, residual={1: by_hand}), atol=2e-4, rtol=1e-4)
    assert float((found - plain_logits(hf, ids)).abs().max()) > 0.01


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_edits_of_several_layers_and_of_one_point_apply_in_their_order(name):
    edits = [Edit(2, (4,), (3,), "set", 2.0), Edit(0, (4, 5), None, "scale", 3.0), Edit(2, (4, 9), (3,), "scale", 2.0)]
    by_hand = {
        0: lambda a: torch.cat([a[..., :4], 3 * a[..., 4:6], a[..., 6:]], -1),
        2: lambda a: torch.cat([a[:, :3], torch.stack([_doubled(a[:, 3])], 1), a[:, 4:]], 1),
    }
    ids = [token_ids()]
    wanted = plain_logits(loaded(name).hf, ids, by_hand)
    torch.testing.assert_close(bridge_logits(name, ids, edits), wanted, atol=2e-4, rtol=1e-4)


def _doubled(row):
    row = row.clone()
    row[:, 4], row[:, 9] = 4.0, 2 * row[:, 9]
    return row


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prompts_of_one_token_and_batches_of_equal_length(name):
    edits = [Edit(0, (1, 2), (0,), "set", 3.0), Edit(2, (7,), None, "add", 2.0)]
    by_hand = {0: with_cells((slice(None), [0], torch.tensor([[1, 2]])), to(3.0)),
               2: with_cells((slice(None), slice(None), [7]), lambda a: a + 2.0)}  # fmt: skip
    hf = loaded(name).hf
    for ids in ([[9]], [token_ids(4, seed) for seed in range(3)], [[9], [11]]):
        found = bridge_logits(name, ids, edits)
        torch.testing.assert_close(found, plain_logits(hf, ids, by_hand), atol=2e-4, rtol=1e-4)
        for one, row in zip(ids, found, strict=True):
            torch.testing.assert_close(bridge_logits(name, [one], edits)[0], row, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_values_that_are_the_clean_ones_change_no_bit(name):
    own, ids = session(name), token_ids()
    acts = own.acts(ids)
    n_neurons, chosen = mlp_shape(loaded(name).hf).d_mlp, (2, 5, 9)
    edits = [
        Edit(layer, tuple(range(n_neurons)), chosen, "patch", tuple(map(tuple, acts[layer, list(chosen)].tolist())))
        for layer in range(3)
    ]
    nothing = [Edit(1, (3,), None, "add", 0.0), Edit(1, (4,), None, "scale", 1.0),
               Edit(1, (), None, "direction", (0.0,) * D_MODEL)]  # fmt: skip
    clean = own.logits(ids)
    assert torch.equal(own.logits(ids, edits), clean)
    assert torch.equal(own.logits(ids, nothing), clean)
    assert torch.equal(own.pre_cap_logits(ids, 8, edits), own.pre_cap_logits(ids, 8))


def test_the_hooks_leave_the_bridge_and_the_activations_as_they_were():
    own, ids = session("gpt2"), token_ids()
    clean, acts = own.logits(ids), own.acts(ids)
    assert not torch.equal(own.logits(ids, [Edit(1, NEURONS, None, "flip")]), clean)
    assert torch.equal(own.logits(ids), clean) and torch.equal(own.acts(ids), acts)


def test_positions_that_a_pass_does_not_reach_are_left_out():
    own, ids = session("gpt2"), token_ids()
    near, both = Edit(1, NEURONS, (2,), "set", 4.0), Edit(1, NEURONS, (2, 60), "set", ((4.0, 4.0), (9.0, 9.0)))
    assert torch.equal(own.logits(ids, [both]), own.logits(ids, [near]))
    assert torch.equal(own.logits(ids, [Edit(1, NEURONS, (60,), "flip")]), own.logits(ids))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"neurons": ()}, "no neurons"),
        ({"kind": "direction", "values": VECTOR}, "a direction has no neurons"),
        ({"neurons": (3, 3)}, "distinct"),
        ({"neurons": (-1,)}, "distinct numbers from 0"),
        ({"layer": -1}, "distinct numbers from 0"),
        ({"positions": ()}, "positions must be"),
        ({"positions": (-1,)}, "positions must be"),
        ({"positions": (2, 2)}, "positions must be"),
        ({"values": math.nan}, "finite"),
        ({"values": math.inf}, "finite"),
        ({"values": (1.0, 2.0, 3.0)}, "of shape () or [2] or [2, 2]"),
        ({"values": ((1.0, 2.0),)}, "of shape"),
        ({"values": ((1.0, 2.0), (1.0,))}, "not numbers of one shape"),
        ({"kind": "direction", "neurons": (), "values": 1.0}, "of shape"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(fields, message):
    whole = {"layer": 1, "neurons": NEURONS, "positions": POSITIONS, "kind": "set", "values": 0.0}
    with pytest.raises(UsageError) as error:
        Edit(**{**whole, **fields})
    assert message in str(error.value) and "\n" not in str(error.value)


def test_neurons_and_directions_of_another_model_are_refused():
    with pytest.raises(UsageError, match="neuron 5000 is not in 0"):
        session("gpt2").logits(token_ids(), [Edit(1, (5000,), None, "flip")])
    with pytest.raises(UsageError, match=f"has 3 values, not {D_MODEL}"):
        session("gpt2").logits(token_ids(), [Edit(1, (), None, "direction", (1.0, 2.0, 3.0))])
