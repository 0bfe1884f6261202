"""Ablation in batches equals one plain forward pass per neuron or set."""

from __future__ import annotations

import logging

import pytest
import torch
from attribution_cases import (
    REQUIRED,
    TARGET_POS,
    ablation,
    loaded,
    plain_value,
    problem_of,
    setting,
    target_of,
    token_ids,
)
from tiny_models import D_MLP, N_LAYERS
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.ablation import (
    every_neuron,
    joint_ablation,
    single_ablations,
)
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.suffix import Suffix
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError

N = 12
POSITIONS = [0, 5, TARGET_POS]
TOLERANCE = 2e-5  # two float32 forward passes, f around 3


def some_neurons(name: str, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    layers = torch.arange(N) % N_LAYERS
    positions = torch.tensor(POSITIONS)[torch.arange(N) % 4 % 3]
    return torch.stack(
        [layers, positions, torch.randint(mlp_shape(loaded(name).hf).d_mlp, (N,), generator=generator)], 1
    )


def reference_of(name: str, n_pos: int = len(POSITIONS), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    n_layers, d_mlp = mlp_shape(loaded(name).hf)
    return 0.2 * torch.randn(n_layers, n_pos, d_mlp, generator=generator)


def run_singles(name: str, neurons: Tensor, values: Tensor, **kwargs: object) -> Tensor:
    effects = torch.full((len(neurons),), float("nan"))
    for chunk in single_ablations(
        problem_of(loaded(name).hf, target_of(name)),
        neurons,
        values=values,
        **kwargs,  # type: ignore[arg-type]
    ):
        assert torch.isnan(effects[chunk.rows]).all()  # no neuron twice
        effects[chunk.rows] = chunk.effects
    return effects


@pytest.mark.parametrize("name", [*REQUIRED, "opt", "phi3", "mistral"])
def test_equals_one_plain_forward_per_neuron(name: str) -> None:
    target, neurons = target_of(name), some_neurons(name)
    values = torch.linspace(-2, 2, N)
    got = run_singles(name, neurons, values, batch=5)
    clean = plain_value(loaded(name).hf, target)
    for row, value, effect in zip(neurons.tolist(), values.tolist(), got.tolist(), strict=True):
        want = clean - plain_value(loaded(name).hf, target, setting([(*row, value)]))
        assert effect == pytest.approx(want, abs=TOLERANCE)
    assert float(got.abs().max()) > 100 * TOLERANCE


def test_the_batch_does_not_matter_and_finished_neurons_are_skipped() -> None:
    neurons, values = some_neurons("gemma2"), torch.zeros(N)
    one, many = (run_singles("gemma2", neurons, values, batch=b) for b in (1, 64))
    assert torch.allclose(one, many, atol=TOLERANCE)
    done = torch.arange(N) % 2 == 0
    rest = run_singles("gemma2", neurons, values, batch=3, done=done)
    assert torch.equal(torch.isnan(rest), done)
    assert torch.allclose(rest[~done], many[~done], atol=TOLERANCE)
    assert torch.isnan(run_singles("gemma2", neurons, values, done=torch.ones(N, dtype=torch.bool))).all()


def test_a_neuron_at_its_reference_has_no_effect() -> None:
    target, hf = target_of("llama"), loaded("llama").hf
    acts = Suffix(hf, token_ids(), first=0, last=TARGET_POS).acts([5], range(N_LAYERS))
    got = ablation(problem_of(hf, target, [5]), reference=acts)
    assert float(got.scores.abs().max()) < TOLERANCE
    assert torch.allclose(got.acts, acts)


def test_all_neurons_of_chosen_layers_and_positions() -> None:
    target, hf, reference = target_of("gpt2"), loaded("gpt2").hf, reference_of("gpt2", 2)
    got = ablation(problem_of(hf, target, [3, TARGET_POS]), reference=reference, layers=[1, 2])
    assert got.layers == (1, 2) and got.positions == (3, TARGET_POS) and got.scores.shape == (2, 2, D_MLP)
    for i, p, neuron in ((0, 0, 3), (0, 1, 40), (1, 1, 87)):
        changes = [(got.layers[i], got.positions[p], neuron, float(reference[got.layers[i], p, neuron]))]
        want = plain_value(hf, target) - plain_value(hf, target, setting(changes))
        assert float(got.scores[i, p, neuron]) == pytest.approx(want, abs=TOLERANCE)
    # The last layer reaches the target position only.
    assert float(got.scores[1, 0].abs().max()) < TOLERANCE < float(got.scores[1, 1].abs().max())


def test_every_neuron_is_in_order() -> None:
    rows = every_neuron(loaded("gpt2").hf, layers=[0, 2], positions=[4])
    assert rows.shape == (2 * D_MLP, 3) and rows[D_MLP].tolist() == [2, 4, 0] and rows[-1].tolist() == [2, 4, D_MLP - 1]


@pytest.mark.parametrize("name", REQUIRED)
def test_sets_equal_one_plain_forward_per_set(name: str) -> None:
    hf, target, reference = loaded(name).hf, target_of(name), reference_of(name)
    n_layers, d_mlp = mlp_shape(hf)
    total = n_layers * d_mlp
    rows = [torch.arange(0), torch.arange(total), torch.tensor([3, d_mlp + 5, 2 * d_mlp]), torch.arange(0, total, 7)]
    sets = [torch.zeros(total, dtype=torch.bool).index_fill(0, i, True).view(n_layers, d_mlp) for i in rows]
    problem, layers = problem_of(hf, target, POSITIONS), range(n_layers)
    ablated = torch.cat(list(joint_ablation(problem, sets, reference=reference, layers=layers, batch=3)))
    kept = torch.cat(list(joint_ablation(problem, sets, reference=reference, layers=layers, meaning="keep")))
    for i, inside in enumerate(sets):
        for got, mask in ((ablated, inside), (kept, ~inside)):
            want = plain_value(hf, target, replacing(mask, reference))
            assert float(got[i]) == pytest.approx(want, abs=TOLERANCE)
    clean = plain_value(hf, target)
    assert float(ablated[0]) == pytest.approx(clean, abs=TOLERANCE) == float(kept[1])
    assert abs(float(ablated[1]) - clean) > 0.01
    assert ablated.dtype == torch.float32


def test_ablating_everything_to_zero_leaves_the_mlps_biases() -> None:
    hf, target = loaded("gpt2").hf, target_of("gpt2")
    positions = list(range(TARGET_POS + 1))
    zeros = torch.zeros(N_LAYERS, len(positions), D_MLP)
    everything = [torch.ones(N_LAYERS, D_MLP, dtype=torch.bool)]
    problem = problem_of(hf, target, positions)
    (got,) = joint_ablation(problem, everything, reference=zeros, layers=range(N_LAYERS))
    assert float(got) == pytest.approx(plain_value(hf, target, lambda _, acts: acts * 0), abs=TOLERANCE)


def test_layers_that_are_not_chosen_stay() -> None:
    hf, target, reference = loaded("llama").hf, target_of("llama"), reference_of("llama")
    nothing, problem = torch.zeros(1, D_MLP, dtype=torch.bool), problem_of(hf, target, POSITIONS)
    (got,) = joint_ablation(problem, [nothing], reference=reference, meaning="keep", layers=[1])
    mask = torch.zeros(N_LAYERS, D_MLP, dtype=torch.bool)
    mask[1] = True
    assert float(got) == pytest.approx(plain_value(hf, target, replacing(mask, reference)), abs=TOLERANCE)


def test_functions_other_than_the_pre_cap_logit() -> None:
    target = target_of("gemma2", foil=None, function="logprob")
    hf, members = loaded("gemma2").hf, torch.arange(D_MLP)[None] < 40
    zeros = torch.zeros(N_LAYERS, 1, D_MLP)
    (got,) = joint_ablation(problem_of(hf, target, [TARGET_POS]), [members], reference=zeros, layers=[0])
    want = plain_value(hf, target, setting([(0, TARGET_POS, n, 0.0) for n in range(40)]))
    assert float(got) == pytest.approx(want, abs=TOLERANCE)


def test_a_position_after_the_target_is_refused() -> None:
    neurons, values = torch.tensor([[0, TARGET_POS + 1, 0]]), torch.zeros(1)
    with pytest.raises(UsageError, match=f"position {TARGET_POS + 1} comes after the target's, {TARGET_POS}"):
        run_singles("llama", neurons, values)


def test_an_undefined_reference_is_refused() -> None:
    reference = reference_of("llama", 1)
    reference[1, 0, 3] = float("nan")
    with pytest.raises(UsageError, match="not finite for every neuron"):
        problem = problem_of(loaded("llama").hf, target_of("llama"), [5])
        next(joint_ablation(problem, [torch.ones(1, D_MLP, dtype=torch.bool)], reference=reference, layers=[1]))
    with pytest.raises(UsageError, match="not finite for every neuron"):
        run_singles("llama", torch.tensor([[1, 5, 3]]), torch.tensor([float("nan")]))


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    neurons, values = some_neurons("llama"), torch.zeros(N)
    want = run_singles("llama", neurons, values)
    run, sizes = Suffix.run, []

    def small(self: Suffix, batch: int, *args: object, **kwargs: object) -> Tensor:
        sizes.append(batch)
        if batch > 3:
            raise torch.OutOfMemoryError
        return run(self, batch, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Suffix, "run", small)
    with caplog.at_level(logging.WARNING):
        assert torch.allclose(run_singles("llama", neurons, values), want, atol=TOLERANCE)
    assert max(sizes) > 3 and "out of memory with" in caplog.text
    monkeypatch.setattr(Suffix, "run", lambda *_, **__: small(*_[:1], 99))  # type: ignore[arg-type]
    with pytest.raises(EnvironmentProblem, match="out of memory in ablation"):
        run_singles("llama", neurons, values)


@pytest.mark.parametrize(("first", "last"), [(3, 2), (-1, 4), (0, 11)])
def test_a_suffix_outside_the_prompt_is_refused(first: int, last: int) -> None:
    with pytest.raises(UsageError, match="not in a prompt of 11 tokens"):
        Suffix(loaded("llama").hf, token_ids(), first=first, last=last)


def replacing(mask: Tensor, reference: Tensor):
    """An edit that sets the masked (layer, neuron) to the reference at POSITIONS."""

    def edit(layer: int, acts: Tensor) -> Tensor:
        for i, pos in enumerate(POSITIONS):
            acts[0, pos] = torch.where(mask[layer], reference[layer, i], acts[0, pos])
        return acts

    return edit


@pytest.mark.parametrize("name", REQUIRED)
def test_layers_below_the_first_edited_one_are_not_run_again(name: str) -> None:
    from neuron_signatures.models.capture import decoder_layers, output_projections

    hf, target, reference = loaded(name).hf, target_of(name), reference_of(name)
    ran: list[int] = []
    handles = [
        module.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, module in enumerate(output_projections(hf))
    ]
    n_layers, d_mlp = mlp_shape(hf)
    sets = torch.rand(5, 1, d_mlp, generator=torch.Generator().manual_seed(1)) < 0.5
    problem = problem_of(hf, target, POSITIONS)
    try:
        got = list(joint_ablation(problem, sets, reference=reference, layers=[2], batch=1))
    finally:
        for handle in handles:
            handle.remove()
    once = 1 + (min(POSITIONS) > 0)  # the prompt, and the positions before the first edited one
    assert ran.count(2) == once + 5 and ran.count(0) == ran.count(1) == once
    for members, value in zip(sets, got, strict=True):
        mask = torch.zeros(n_layers, d_mlp, dtype=torch.bool)
        mask[2] = members[0]
        assert float(value) == pytest.approx(plain_value(hf, target, replacing(mask, reference)), abs=TOLERANCE)
    assert all("forward" not in vars(layer) for layer in decoder_layers(hf))


def test_a_forward_of_its_own_stays_on_a_layer_that_was_skipped() -> None:
    from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module

    from neuron_signatures.models.capture import decoder_layers

    class Counting(ModelHook):
        calls = 0

        def pre_forward(self, module, *args, **kwargs):
            Counting.calls += 1
            return args, kwargs

    hf, target = loaded("llama").hf, target_of("llama")
    layers = decoder_layers(hf)
    for layer in layers:
        add_hook_to_module(layer, Counting())
    try:
        suffix = problem_of(hf, target, POSITIONS).suffix()
        suffix.run(1, from_layer=2)
        Counting.calls = 0
        suffix.run(1)
        assert Counting.calls == len(layers)
    finally:
        for layer in layers:
            remove_hook_from_module(layer)


def test_a_failure_while_the_prompt_is_run_leaves_nothing_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    from neuron_signatures.models.capture import decoder_layers

    hf, target = loaded("llama").hf, target_of("llama")
    suffix = problem_of(hf, target, POSITIONS).suffix()
    want = suffix.run(2)
    last = decoder_layers(hf)[-1]

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    handle = last.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        suffix.run(2, from_layer=2)
    handle.remove()
    assert torch.allclose(suffix.run(2, from_layer=2), want, atol=TOLERANCE)
