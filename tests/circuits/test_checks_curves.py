"""Curves of a circuit against plain forward passes, and what random sets give."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attribution_cases import TARGET_POS, loaded, plain_value, problem_of, shape_of, target_of
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.chance import chance
from neuron_signatures.circuits.checks.curves import Curves, curves
from neuron_signatures.circuits.checks.settings import CurveSettings
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.runs.progress import Bar, silent

N_POS = TARGET_POS + 1
SETTINGS = CurveSettings(sizes=(3, 40), control_sizes=(40,), n_random=25, seed=1, batch=8, min_effect=0.0)


def case(name: str, seed: int = 0) -> tuple[Problem, Tensor, Tensor]:
    """A problem, made-up relevance without ties, and a made-up reference."""
    problem = problem_of(loaded(name).hf, target_of(name))
    shape = (shape_of(name).n_layers, N_POS, shape_of(name).d_mlp)
    made = torch.Generator().manual_seed(seed)
    return problem, torch.randn(shape, generator=made), 0.1 * torch.randn(shape, generator=made)


def plain(name: str, kept: Float[Tensor, "layer pos neuron"], reference: Tensor) -> float:
    """f with everything at its reference but what is kept, up to the target position (the prompt is longer)."""

    def edit(layer: int, acts: Tensor) -> Tensor:
        inside = acts[0, :N_POS].where(kept[layer], reference[layer])
        return torch.cat([inside, acts[0, N_POS:]])[None]

    return plain_value(loaded(name).hf, target_of(name), edit)


def measured(name: str, settings: CurveSettings = SETTINGS, **given: object) -> Curves:
    problem, relevance, reference = case(name)
    return curves(problem, relevance, reference, settings, values=StoredValues(), progress=silent, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "opt"])
def test_curves_are_those_of_plain_forward_passes(name: str) -> None:
    _, relevance, reference = case(name)
    found = measured(name)
    nothing = torch.zeros_like(relevance, dtype=torch.bool)
    empty, full = plain(name, nothing, reference), plain(name, ~nothing, reference)
    assert found.empty == pytest.approx(empty, abs=1e-4) and found.full == pytest.approx(full, abs=1e-4)
    assert found.n_units == relevance.numel()
    for point in found.points:
        top = relevance.abs() >= relevance.abs().flatten().sort(descending=True).values[point.k - 1]
        kept, left = ((plain(name, some, reference) - empty) / (full - empty) for some in (top, ~top))
        assert point.faithfulness == pytest.approx(kept, abs=1e-3)
        assert point.complement == pytest.approx(left, abs=1e-3)


def test_random_sets_are_measured_at_the_control_sizes_alone() -> None:
    small, large = measured("llama").points
    assert small.random is None and small.complement_random is None
    assert large.random is not None and large.complement_random is not None
    assert large.random.n == large.complement_random.n == 25
    assert large.random.sd > 0 and large.random.low <= large.random.mean <= large.random.high


def test_the_circuit_has_a_point_of_its_own_which_is_that_of_the_same_set() -> None:
    _, relevance, _ = case("llama")
    order = relevance.abs().flatten().argsort(descending=True)[:40]
    members = [NeuronAt(*map(int, torch.unravel_index(i, relevance.shape))) for i in order]
    found = measured("llama", circuit=members)
    assert found.circuit is not None
    for own, same in ((found.circuit, found.points[1]), (found.circuit.random, found.points[1].random)):
        assert numbers(own) == pytest.approx(numbers(same), abs=1e-4)


def numbers(of: object) -> list[float]:
    return [value for value in vars(of).values() if isinstance(value, int | float)]


def test_random_sets_are_at_the_positions_of_the_circuit() -> None:
    """All other neurons equal their references, as before the entity of a template: sets of them would be empty."""
    problem, relevance, reference = case("llama")
    n_layers, d_mlp = shape_of("llama").n_layers, shape_of("llama").d_mlp
    acts = recompute(loaded("llama"), problem.token_ids)[:, :N_POS]
    held = acts.clone()
    held[-1, -1] = reference[-1, -1]
    members = [NeuronAt(n_layers - 1, N_POS - 1, i) for i in range(d_mlp - 1)]
    found = curves(problem, relevance, held, SETTINGS, circuit=members, values=StoredValues(), progress=silent)
    assert (
        found.circuit is not None and found.circuit.random is not None and found.circuit.complement_random is not None
    )
    assert found.circuit.random.mean == pytest.approx(1, abs=0.2)
    assert found.circuit.complement_random.mean == pytest.approx(0, abs=0.2)
    anywhere = replace(SETTINGS, matched="layer")
    by_layer = curves(problem, relevance, held, anywhere, circuit=members, values=StoredValues(), progress=silent)
    assert by_layer.circuit is not None and by_layer.circuit.random is not None
    assert by_layer.circuit.random.mean < 0.7, "most of their members do nothing"


def test_a_circuit_of_whole_layers_has_no_random_sets() -> None:
    n_layers, d_mlp = shape_of("llama").n_layers, shape_of("llama").d_mlp
    members = [NeuronAt(n_layers - 1, pos, i) for pos in range(N_POS) for i in range(d_mlp)]
    found = measured("llama", circuit=members)
    assert found.circuit is not None
    assert found.circuit.k == len(members) and found.circuit.random is None


def test_where_nothing_is_left_to_share_out_shares_are_undefined() -> None:
    problem, relevance, _ = case("llama")
    own = problem.suffix().acts(problem.positions, range(len(relevance)))
    found = curves(
        problem, relevance, own, SETTINGS, circuit=[NeuronAt(0, 1, 2)], values=StoredValues(), progress=silent
    )
    assert found.full == pytest.approx(found.empty, abs=1e-4)
    assert [(p.k, p.faithfulness, p.complement, p.random) for p in found.points] == [
        (3, None, None, None),
        (40, None, None, None),
    ]
    assert found.circuit is not None and found.circuit.faithfulness is None
    assert len(found.warnings) == 1 and "sets are not scored" in found.warnings[0]


def test_sizes_beyond_all_units_are_left_out() -> None:
    found = measured("llama", CurveSettings((3, 10**7), (), 5, 0, 8, 0.0))
    assert [p.k for p in found.points] == [3]


def test_what_was_measured_is_not_measured_again() -> None:
    problem, relevance, reference = case("llama")
    values, steps = StoredValues(), Steps()
    results = []
    for _ in range(2):
        results.append(curves(problem, relevance, reference, SETTINGS, values=values, progress=lambda *_: steps))
    assert results[0] == results[1]
    assert steps.advanced == values.count == steps.skipped == 2 + 2 * 2 + 2 * 25


class Steps:
    """A bar that counts."""

    def __init__(self) -> None:
        self.advanced = self.skipped = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, n: int) -> None:
        self.advanced += n

    def skip(self, n: int) -> None:
        self.skipped += n

    def extend(self, n: int) -> None: ...

    def note(self, text: str) -> None: ...


def test_chance_counts_equal_values_as_extreme() -> None:
    drawn = [0.0, 0.1, 0.2, 0.3]
    above = chance(0.2, drawn)
    assert above is not None
    assert above.p == pytest.approx(3 / 5) and above.mean == pytest.approx(0.15) and above.n == 4
    below = chance(0.1, drawn, larger=False)
    assert below is not None and below.p == pytest.approx(3 / 5)
    beyond = chance(9.0, drawn)
    assert beyond is not None and beyond.p == pytest.approx(1 / 5)
    assert chance(1.0, []) is None
