"""act_grad is a derivative, relp conserves its sum, ig distributes the effect of a joint ablation."""

from __future__ import annotations

import copy

import pytest
import torch
from attribution_cases import (
    BIAS_FREE,
    REQUIRED,
    SANDWICH,
    TARGET_POS,
    in_float64,
    loaded,
    plain_value,
    problem_of,
    scaling,
    setting,
    shape_of,
    target_of,
)
from tiny_models import D_MLP, N_LAYERS
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.estimators.dla import direct_logit_attribution
from neuron_signatures.analysis.attribution.estimators.gradients import (
    IG_TOLERANCE,
    act_grad,
    cancellation,
    integrated_gradients,
    relp,
)
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.target import Target, TargetFunction
from neuron_signatures.models.capture import decoder_layers
from neuron_signatures.models.relevance import relevance_rules
from neuron_signatures.runs.errors import UsageError

POSITIONS = (2, 6, TARGET_POS)


def strongest(scores: Tensor, n: int) -> list[tuple[int, int, int]]:
    """(layer, index of the position, neuron) of the n largest absolute scores, and of n others."""
    flat = scores.abs().flatten().argsort(descending=True)
    some = [*flat[:n].tolist(), *flat[100 : 100 + n].tolist()]
    return [tuple(int(x) for x in torch.unravel_index(torch.tensor(i), scores.shape)) for i in some]


def central_difference(name: str, target: Target, layer: int, pos: int, neuron: int) -> float:
    """Effect of scaling the neuron by 1 ± 0.01, per unit of the factor, in float64.

    By 1 ± 0.02 on the demo model: transformers computes Gemma's norms in float32 also in a float64 model, and on
    its larger logits that noise makes the difference itself uncertain by 1.2e-4 at 0.01.
    """
    step = 0.02 if name == "demo" else 0.01
    up, down = (plain_value(in_float64(name), target, scaling(layer, pos, neuron, 1 + s)) for s in (step, -step))
    return (up - down) / (2 * step)


@pytest.mark.parametrize("name", [*REQUIRED, "opt", "phi3"])
def test_act_grad_is_the_effect_of_scaling(name: str) -> None:
    target = target_of(name)
    got = act_grad(problem_of(loaded(name).hf, target, POSITIONS))
    assert got.scores.shape == (shape_of(name).n_layers, 3, got.acts.shape[-1]) and got.positions == POSITIONS
    for layer, p, neuron in strongest(got.scores, 4):
        want = central_difference(name, target, layer, POSITIONS[p], neuron)
        assert float(got.scores[layer, p, neuron]) == pytest.approx(want, abs=1e-4, rel=0)
        assert abs(want) > 1e-3  # much larger than the tolerance


@pytest.mark.parametrize("function", ["logit", "logprob"])
@pytest.mark.parametrize("foil", [None, 7])
def test_act_grad_of_the_other_functions(function: TargetFunction, foil: int | None) -> None:
    target = target_of("gemma2", foil=foil, function=function)
    got = act_grad(problem_of(loaded("gemma2").hf, target, [TARGET_POS]))
    for layer, _, neuron in strongest(got.scores, 2):
        want = central_difference("gemma2", target, layer, TARGET_POS, neuron)
        assert float(got.scores[layer, 0, neuron]) == pytest.approx(want, abs=1e-4, rel=0)


def test_the_functions_have_different_gradients() -> None:
    scores = [
        act_grad(problem_of(loaded("gemma2").hf, target_of("gemma2", foil=None, function=f))).scores.norm()
        for f in ("pre_cap_logit", "logit", "logprob")
    ]
    assert len({round(float(s), 4) for s in scores}) == 3


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_scores_by_a_near_reference_are_effects_of_ablation(name: str) -> None:
    """(a - ā) ∂f/∂a is f(clean) - f(neuron at ā) to first order: positive if the neuron's value supports the target."""
    target = target_of(name)
    problem = problem_of(loaded(name).hf, target, [TARGET_POS])
    found = act_grad(problem)
    step = 0.01 * torch.randn(found.acts.shape, generator=torch.Generator().manual_seed(4))
    values = found.acts + step
    scores = Reference("mean", "mean", values, 64).centred(found)
    assert float(scores.min()) < -1e-4 < 1e-4 < float(scores.max())
    clean = plain_value(in_float64(name), target)
    for layer, _, neuron in strongest(scores, 3):
        held = setting([(layer, TARGET_POS, neuron, float(values[layer, 0, neuron]))])
        effect = clean - plain_value(in_float64(name), target, held)
        assert float(scores[layer, 0, neuron]) == pytest.approx(effect, rel=0.05, abs=1e-6)


def test_the_path_of_one_neuron_has_its_effect_of_ablation() -> None:
    """With a reference that differs in one neuron only, ig gives that neuron f(clean) - f(neuron at ā)."""
    hf, target = loaded("llama").hf, target_of("llama")
    problem = problem_of(hf, target, [TARGET_POS])
    acts = problem.suffix().acts([TARGET_POS], range(N_LAYERS))
    largest = int(act_grad(problem).scores[1, 0].abs().argmax())
    for value in (-2.0, 2.0):
        reference = acts.clone()
        reference[1, 0, largest] = value
        got = integrated_gradients(problem, reference=reference, path="layer")
        effect = plain_value(hf, target) - plain_value(hf, target, setting([(1, TARGET_POS, largest, value)]))
        scores = got.attribution.scores
        assert float(scores[1, 0, largest]) == pytest.approx(effect, rel=0.02, abs=2e-5) and abs(effect) > 1e-3
        assert int((scores.abs() > 1e-5).sum()) == 1


@pytest.mark.parametrize("name", REQUIRED)
def test_act_grad_cancels_on_models_with_a_norm_on_the_mlp_output(name: str) -> None:
    got = cancellation(act_grad(problem_of(loaded(name).hf, target_of(name))))
    ratios = [c.ratio for c in got if c.ratio is not None]
    assert len(got) == shape_of(name).n_layers * (TARGET_POS + 1) and len(ratios) >= N_LAYERS
    if name in SANDWICH:
        assert max(ratios) < 1e-2
    else:
        assert max(ratios) > 0.1


def test_a_cancellation_without_scores_has_no_ratio() -> None:
    last = cancellation(act_grad(problem_of(loaded("llama").hf, target_of("llama"), [0])))[-1]
    assert last.layer == N_LAYERS - 1 and last.absolute_total == 0 and last.ratio is None


@pytest.mark.parametrize("name", BIAS_FREE)
def test_relevance_is_conserved_from_the_embedding_to_the_logit(name: str) -> None:
    hf, target = loaded(name).hf, target_of(name)
    with relevance_rules(hf), torch.enable_grad():
        embed, relevance, value = _embedding_gradient(hf, target)
    want = plain_value(hf, target)
    assert value == pytest.approx(want, abs=1e-5)
    assert float((embed * relevance).sum()) == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "phi", "gpt_neox", "opt", "qwen2"])
def test_relevance_is_conserved_without_the_biases_of_a_model_that_has_them(name: str) -> None:
    model = loaded(name)
    hf = copy.deepcopy(model.hf)
    for key, parameter in hf.named_parameters():
        if key.endswith("bias"):
            parameter.data.zero_()
    target = target_of(name)
    with relevance_rules(hf), torch.enable_grad():
        embed, relevance, _ = _embedding_gradient(hf, target)
    assert float((embed * relevance).sum()) == pytest.approx(plain_value(hf, target), rel=1e-4)


def test_plain_gradients_do_not_conserve() -> None:
    """The conservation above is a property of the rules: plain gradients do not have it."""
    target = target_of("llama")
    with torch.enable_grad():
        embed, grad, value = _embedding_gradient(loaded("llama").hf, target)
    assert abs(float((embed * grad).sum()) - value) > 0.05 * abs(value)


@pytest.mark.parametrize("name", [*REQUIRED, "phi3", "opt"])
def test_in_the_last_layer_relevance_is_direct(name: str) -> None:
    """Nothing but the norms, with constant scales, lies between the last layer's neurons and the logit."""
    hf, target = loaded(name).hf, target_of(name)
    got = relp(problem_of(hf, target, POSITIONS))
    direct = direct_logit_attribution(problem_of(hf, target)).attribution
    assert torch.allclose(got.scores[-1, -1], direct.scores[-1, 0], atol=1e-6)
    assert not got.scores[-1, :-1].any()
    assert not torch.allclose(got.scores[0, -1], direct.scores[0, 0], atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama"])
def test_the_model_is_left_as_it_was(name: str) -> None:
    hf, target = loaded(name).hf, target_of(name)
    before, implementation = act_grad(problem_of(hf, target)).scores, hf.config._attn_implementation
    relp(problem_of(hf, target))
    with pytest.raises(RuntimeError, match="stop"), relevance_rules(hf):
        raise RuntimeError("stop")
    assert hf.config._attn_implementation == implementation
    assert torch.equal(act_grad(problem_of(hf, target)).scores, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in hf.modules())


def test_relevance_refuses_unknown_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    hf = loaded("llama").hf
    monkeypatch.setattr(hf.config, "_attn_implementation_internal", "flex_attention")
    with pytest.raises(UsageError, match="eager and sdpa attention, not flex_attention"):
        relp(problem_of(hf, target_of("gemma2")))


@pytest.mark.parametrize("path", ["joint", "layer"])
@pytest.mark.parametrize("name", [n for n in REQUIRED if n not in SANDWICH])
def test_integrated_gradients_add_up_to_the_joint_ablation(name: str, path: str) -> None:
    hf, target = loaded(name).hf, target_of(name)
    reference = torch.zeros(N_LAYERS, len(POSITIONS), D_MLP)
    reference[:, 1] = 0.1
    sets = [list(range(N_LAYERS))] if path == "joint" else [[layer] for layer in range(N_LAYERS)]
    got = integrated_gradients(
        problem_of(hf, target, POSITIONS),
        reference=reference,
        steps=50,
        path=path,  # type: ignore[arg-type]
    )
    assert [x.layers for x in got.sums] == [tuple(x) for x in sets]
    for layers, found in zip(sets, got.sums, strict=True):
        want = plain_value(hf, target) - plain_value(hf, target, _replacing(layers, reference))
        assert float(got.attribution.scores[layers].sum()) == pytest.approx(want, rel=0.02)
        assert found.difference == pytest.approx(want, abs=2e-5)
        assert found.total == pytest.approx(float(got.attribution.scores[layers].double().sum()), abs=1e-6)
        assert found.residual == pytest.approx(abs(found.difference - found.total) / abs(found.difference))
        assert found.converged and found.steps == 50 and abs(want) > 0.01


def test_integrated_gradients_of_some_layers_and_any_batch() -> None:
    hf, target = loaded("llama").hf, target_of("llama")
    reference = torch.zeros(N_LAYERS, 1, D_MLP)
    got = [
        integrated_gradients(
            problem_of(hf, target, [TARGET_POS]), reference=reference, layers=[0, 2], steps=10, batch=b
        ).attribution
        for b in (1, 4)
    ]
    assert got[0].layers == (0, 2) and got[0].scores.shape == (2, 1, D_MLP)
    assert torch.allclose(got[0].scores, got[1].scores, atol=1e-6)


def test_steps_triple_until_the_scores_sum_to_the_difference() -> None:
    """One step is too few from a far reference; the rule with three times the steps reuses the points it has."""
    hf, target = loaded("llama").hf, target_of("llama")
    problem = problem_of(hf, target, [TARGET_POS])
    far = torch.full((N_LAYERS, 1, D_MLP), 1.5)
    once = integrated_gradients(problem, reference=far, steps=1)
    (alone,) = once.sums
    assert alone.steps == 1 and not alone.converged and alone.residual is not None and alone.residual > IG_TOLERANCE
    got = integrated_gradients(problem, reference=far, steps=1, max_steps=3**7)
    (found,) = got.sums
    assert found.converged and found.residual is not None and found.residual <= IG_TOLERANCE
    steps = found.steps
    assert steps in [3**i for i in range(1, 8)] and found.difference == pytest.approx(alone.difference)
    fresh = integrated_gradients(problem, reference=far, steps=steps)
    assert torch.allclose(got.attribution.scores, fresh.attribution.scores, atol=1e-5)
    (before,) = integrated_gradients(problem, reference=far, steps=steps // 3).sums
    assert not before.converged  # it stops at the first that is enough


def test_steps_stop_at_the_limit_on_a_sandwich_model_from_zero() -> None:
    """The norm on the MLP's output hides its scale, so nearly all change is in the last step towards zero."""
    hf, target = loaded("gemma2").hf, target_of("gemma2")
    zeros = torch.zeros(N_LAYERS, 1, D_MLP)
    got = integrated_gradients(problem_of(hf, target, [TARGET_POS]), reference=zeros, steps=10, max_steps=100)
    want = plain_value(hf, target) - plain_value(hf, target, _replacing(range(N_LAYERS), zeros, [TARGET_POS]))
    (found,) = got.sums
    assert found.difference == pytest.approx(want, abs=2e-5)
    assert not found.converged and found.steps == 90


def test_a_path_without_a_difference_needs_no_more_steps() -> None:
    """Differences by rounding are not worth more steps."""
    hf, target = loaded("llama").hf, target_of("llama")
    problem = problem_of(hf, target, [TARGET_POS])
    acts = problem.suffix().acts([TARGET_POS], range(N_LAYERS))
    (found,) = integrated_gradients(problem, reference=acts, steps=2, max_steps=100).sums
    assert found.steps == 2 and found.converged


def _embedding_gradient(hf: PreTrainedModel, target: Target) -> tuple[Tensor, Tensor, float]:
    """What enters layer 0, ∂f/∂ of it, and f."""
    leaves: list[Tensor] = []

    def leaf(_: object, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        x = (args[0] if args else kwargs["hidden_states"]).detach().requires_grad_()
        leaves.append(x)
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})

    handle = decoder_layers(hf)[0].register_forward_pre_hook(leaf, with_kwargs=True)
    try:
        problem = problem_of(hf, target)
        f = problem.value(problem.suffix().run(1))
    finally:
        handle.remove()
    (grad,) = torch.autograd.grad(f.sum(), leaves[0])
    return leaves[0].detach(), grad, float(f.detach())


def _replacing(layers: object, reference: Tensor, positions: object = POSITIONS):
    def edit(layer: int, acts: Tensor) -> Tensor:
        if layer in layers:  # type: ignore[operator]
            acts[0, list(positions)] = reference[layer]  # type: ignore[call-overload]
        return acts

    return edit
