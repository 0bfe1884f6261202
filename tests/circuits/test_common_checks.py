"""Common neurons at their positions in a prompt, and what is said of their tests."""

from __future__ import annotations

import pytest
from template_circuits import RARE, SHARED, VARYING, circuit

from neuron_signatures.circuits.common.checks import places
from neuron_signatures.circuits.common.circuit import common_keys
from neuron_signatures.circuits.common.members import Key, template_of
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.views.circuit.common_checks import CommonCheckRow, common_check_words, common_kept


def test_common_neurons_are_placed_at_their_roles_in_each_prompt() -> None:
    template = template_of([*(circuit(i) for i in range(4)), circuit(5, held_out=True, strange=True)])
    keys = common_keys(template)
    both = {Key("neuron", 2, SHARED, "end-1"), Key("neuron", 1, VARYING, "entity-1")}
    assert keys[0] == keys[-1] == both
    # the held-out prompt has two tokens of the entity, and neither neuron in its own circuit
    assert places(template.members[-1], keys[-1]) == [NeuronAt(1, 4, VARYING), NeuronAt(2, 5, SHARED)]
    assert places(template.members[0], keys[0]) == [NeuronAt(1, 3, VARYING), NeuronAt(2, 4, SHARED)]
    assert places(template.members[0], {Key("neuron", 1, VARYING, "entity-2")}) == []


def test_a_circuit_is_left_out_of_what_it_is_tested_with() -> None:
    first, second = common_keys(template_of([circuit(0), circuit(1)]))
    rare = Key("neuron", 0, RARE, "end-1")
    assert rare not in first and any(key.neuron == RARE for key in second)


def row(share: float | None, *, held_out: bool = True, p: float | None = 1 / 1001) -> CommonCheckRow:
    known = {"random_mean": 0.01, "random_sd": 0.05, "p": p, "n_random": 1000} if share is not None else {"n_random": 0}
    return CommonCheckRow(10, faithfulness=share, complement=share, circuit="c", held_out=held_out, **known)  # type: ignore[arg-type]


def test_means_are_over_the_prompts_that_can_be_scored() -> None:
    found = common_kept([row(0.2), row(0.6, p=0.5), row(None)])
    assert (found.n, found.n_scored, found.n_random) == (3, 2, 1000)
    assert found.keep.mean == pytest.approx(0.4) and found.keep.sd == pytest.approx(0.2 * 2**0.5)
    assert found.keep.largest_p == 0.5 and found.left.random_mean is None
    empty = common_kept([])
    assert empty.keep.mean is None and empty.keep.largest_p is None and empty.n_random is None


def test_what_is_said() -> None:
    held, own = common_check_words([row(0.2), row(0.6), row(0.5, held_out=False), row(None, held_out=False)])
    assert held == (
        "in 2 held-out prompts the common neurons keep 0.40 ± 0.28 of the target function (random sets 0.01 ± 0.05, "
        "largest p ≤ 0.001); without them 0.40 ± 0.28 is left"
    )
    assert own.startswith("in 2 prompts of the circuits, each left out of what is common, (1 can be scored)")
    assert common_check_words([row(None)]) == ["in 1 held-out prompt the common neurons cannot be scored"]
    assert common_check_words([]) == []
