"""Exact direct logit attribution sums to the logit; each neuron's score equals the formula."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from attribution_cases import (
    FOIL,
    LENGTH,
    REQUIRED,
    SANDWICH,
    TARGET_POS,
    loaded,
    plain_value,
    problem_of,
    shape_of,
    target_of,
    token_ids,
)
from tiny_models import ARCHITECTURES, D_MLP, N_LAYERS, build_config, build_model
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from neuron_signatures.analysis.attribution.estimators.dla import (
    at_positions,
    direct_logit_attribution,
    dla_without_norms,
    with_reference,
)
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.attribution.write_scores import write_scores
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.norms import freeze_norm, measure_norm
from neuron_signatures.models.residual import trace_residual
from neuron_signatures.models.weights import output_weight, unembedding
from neuron_signatures.runs.errors import UsageError

LAST = N_LAYERS - 1


@pytest.mark.parametrize("foil", [None, FOIL])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_the_parts_add_up_to_the_logit(name: str, foil: int | None) -> None:
    target = target_of(name, foil=foil)
    parts = direct_logit_attribution(problem_of(loaded(name).hf, target)).completeness
    assert parts.relative_error is not None and parts.relative_error <= 1e-5
    assert parts.logit == pytest.approx(plain_value(loaded(name).hf, target), abs=2e-5)
    written = [parts.embed, *parts.attn, *parts.neurons]
    assert parts.total == pytest.approx(math.fsum([*written, *parts.mlp_bias, parts.constants]))
    assert len(parts.neurons) == len(parts.attn) == shape_of(name).n_layers and min(abs(x) for x in written) > 1e-4


@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_each_layers_neurons_and_bias_are_what_its_mlp_writes(name: str) -> None:
    target = target_of(name, foil=None)
    hf = loaded(name).hf
    trace = trace_residual(hf, token_ids(), target.pos)
    parts = direct_logit_attribution(problem_of(hf, target)).completeness
    row = unembedding(hf).weight[target.token_id]
    for layer in range(shape_of(name).n_layers):
        want = float(trace.final_norm.linear(trace.mlp[layer]) @ row)
        assert parts.neurons[layer] + parts.mlp_bias[layer] == pytest.approx(want, abs=1e-5)


def test_a_gemma2_neuron_equals_the_formula() -> None:
    """D_i = a_i Σ_d W_out[i, d] (1 + w_post[d]) (1 + w_f[d]) U[d, t] / (rms(m) rms(x_f)), term by term."""
    model, target = loaded("gemma2"), target_of("gemma2", foil=None)
    hf, eps = model.hf, model.hf.config.rms_norm_eps
    block, seen = hf.model.layers[1], {}
    handles = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args: seen.update(acts=args[0][0, TARGET_POS])),
        block.mlp.down_proj.register_forward_hook(lambda _, args, out: seen.update(m=out[0, TARGET_POS])),
        hf.model.norm.register_forward_pre_hook(lambda _, args: seen.update(x=args[0][0, TARGET_POS])),
    ]
    plain_value(hf, target)
    for handle in handles:
        handle.remove()
    rms = [float(torch.sqrt(seen[k].square().mean() + eps)) for k in ("m", "x")]
    gains = (1 + block.post_feedforward_layernorm.weight) * (1 + hf.model.norm.weight)
    got = direct_logit_attribution(problem_of(hf, target)).attribution
    for neuron in (0, 17, D_MLP - 1):
        column = block.mlp.down_proj.weight[:, neuron]
        want = float(seen["acts"][neuron] * (column * gains * hf.lm_head.weight[target.token_id]).sum())
        assert float(got.scores[1, 0, neuron]) == pytest.approx(want / rms[0] / rms[1], rel=1e-4, abs=1e-7)


def test_a_gpt2_neuron_equals_the_formula() -> None:
    """D_i = a_i Σ_d (W_out[i, d] - mean) w_f[d] U[d, t] / std(x_f)."""
    model, target = loaded("gpt2"), target_of("gpt2", foil=None)
    hf, seen = model.hf, {}
    handles = [
        hf.transformer.h[0].mlp.c_proj.register_forward_pre_hook(lambda _, a: seen.update(acts=a[0][0, TARGET_POS])),
        hf.transformer.ln_f.register_forward_pre_hook(lambda _, args: seen.update(x=args[0][0, TARGET_POS])),
    ]
    plain_value(hf, target)
    for handle in handles:
        handle.remove()
    std = torch.sqrt(seen["x"].var(correction=0) + hf.config.layer_norm_epsilon)
    got = direct_logit_attribution(problem_of(hf, target)).attribution
    for neuron in (0, 17, D_MLP - 1):
        row = hf.transformer.h[0].mlp.c_proj.weight[neuron]
        read = ((row - row.mean()) * hf.transformer.ln_f.weight * hf.lm_head.weight[target.token_id]).sum() / std
        assert float(got.scores[0, 0, neuron]) == pytest.approx(float(seen["acts"][neuron] * read), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama"])
def test_scores_by_a_reference_are_the_direct_change_of_the_logit(name: str) -> None:
    """(a - ā) W_out[i], sent through the norms at their scales: what setting the neuron to ā takes from the logit."""
    hf, target = loaded(name).hf, target_of(name)
    trace = trace_residual(hf, token_ids(), target.pos)
    found = direct_logit_attribution(problem_of(hf, target)).attribution
    values = torch.randn(found.acts.shape, generator=torch.Generator().manual_seed(5))
    scores = Reference("mean", "mean", values, 64).centred(found)
    head = unembedding(hf).weight
    for layer, neuron in ((0, 3), (2, 41)):
        removed = (found.acts - values)[layer, 0, neuron] * output_weight(output_projections(hf)[layer])[neuron]
        norm = trace.post_mlp[layer]
        change = trace.final_norm.linear(removed if norm is None else norm.linear(removed))
        want = float(change @ (head[target.token_id] - head[FOIL]))
        assert float(scores[layer, 0, neuron]) == pytest.approx(want, rel=1e-4, abs=1e-6)


def test_scores_are_activation_times_weight_at_the_target_position_only() -> None:
    got = direct_logit_attribution(problem_of(loaded("gemma2").hf, target_of("gemma2"))).attribution
    assert got.positions == (TARGET_POS,) and got.layers == tuple(range(N_LAYERS))
    assert got.scores.shape == (N_LAYERS, 1, D_MLP) and got.per_act is not None
    assert torch.equal(got.scores, got.acts * got.per_act)


def test_the_direct_effect_is_zero_at_other_positions() -> None:
    direct = direct_logit_attribution(problem_of(loaded("llama").hf, target_of("llama"))).attribution
    acts = torch.ones(N_LAYERS, LENGTH, D_MLP)
    got = at_positions(direct, (2, TARGET_POS, 3), acts)
    assert got.positions == (2, TARGET_POS, 3) and got.scores.shape == (N_LAYERS, 3, D_MLP)
    assert torch.equal(got.scores[:, 1], direct.scores[:, 0]) and torch.equal(got.acts[:, 1], direct.acts[:, 0])
    assert got.per_act is not None and not got.scores[:, [0, 2]].any() and not got.per_act[:, [0, 2]].any()
    assert torch.equal(got.acts[:, [0, 2]], acts[:, [2, 3]])


@pytest.mark.parametrize("name", SANDWICH)
def test_the_approximation_without_norms_does_not_add_up(name: str) -> None:
    target = target_of(name, foil=None)
    exact = direct_logit_attribution(problem_of(loaded(name).hf, target))
    old = dla_without_norms(problem_of(loaded(name).hf, target))
    parts = exact.completeness
    total = parts.total - sum(parts.neurons) + float(old.scores.sum())
    assert abs(total - parts.logit) / abs(parts.logit) > 0.05
    # They also differ by more than one factor per layer: the post norm's weights change the order.
    for layer in range(N_LAYERS):
        both = torch.stack([exact.attribution.scores[layer, 0], old.scores[layer, 0]])
        assert not torch.equal(*both.argsort(dim=-1))


@pytest.mark.parametrize("name", ["gemma2", "llama", "gpt2"])
def test_the_approximation_reads_the_unembedding_with_the_final_norms_weight(name: str) -> None:
    """a_i ⟨W_out[i], w ⊙ (U[:, t] - U[:, foil])⟩, w being 1 + weight on Gemma, and the weight elsewhere."""
    hf = copy.deepcopy(loaded(name).hf)
    norm = hf.transformer.ln_f if name == "gpt2" else hf.model.norm
    torch.manual_seed(3)
    nn.init.normal_(norm.weight)
    target = target_of(name)
    old = dla_without_norms(problem_of(hf, target))
    w = 1 + norm.weight if name == "gemma2" else norm.weight
    direction = w * (hf.lm_head.weight[target.token_id] - hf.lm_head.weight[FOIL])
    for layer, neuron in ((2, 5), (0, 31)):
        if name == "gpt2":
            written = hf.transformer.h[layer].mlp.c_proj.weight[neuron]
        else:
            written = hf.model.layers[layer].mlp.down_proj.weight[:, neuron]
        want = old.acts[layer, 0, neuron] * (written @ direction)
        assert float(old.scores[layer, 0, neuron]) == pytest.approx(float(want), rel=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "demo"])
def test_the_parts_with_a_reference_add_up_to_the_logit(name: str) -> None:
    problem = problem_of(loaded(name).hf, target_of(name))
    found = direct_logit_attribution(problem)
    reference = torch.randn(found.attribution.acts[:, 0].shape, generator=torch.Generator().manual_seed(2))
    parts = with_reference(found, reference)
    assert parts.reference is not None and parts.neurons_centred is not None
    by_reference = [parts.embed, *parts.attn, *parts.neurons_centred, *parts.reference, *parts.mlp_bias]
    assert math.fsum([*by_reference, parts.constants]) == pytest.approx(parts.logit, rel=1e-5)
    per_act = found.attribution.per_act
    assert per_act is not None
    for layer in range(shape_of(name).n_layers):
        centred = (found.attribution.acts[layer, 0] - reference[layer]) * per_act[layer, 0]
        assert parts.neurons_centred[layer] == pytest.approx(float(centred.sum()), abs=2e-4)
        assert abs(parts.reference[layer]) > 1e-4


def test_bfloat16_adds_up_to_its_own_rounding() -> None:
    hf = copy.deepcopy(loaded("gemma2").hf).bfloat16()
    parts = direct_logit_attribution(problem_of(hf, target_of("gemma2", foil=None))).completeness
    assert parts.relative_error is not None and 1e-6 < parts.relative_error < 0.05


@pytest.mark.parametrize("module", [nn.LayerNorm(8), nn.LayerNorm(8, elementwise_affine=False), Gemma2RMSNorm(8),
                                    LlamaRMSNorm(8)], ids=lambda m: type(m).__name__)  # fmt: skip
def test_a_norm_is_measured_exactly(module: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x, other = torch.randn(2, 8) + 0.5
    frozen = freeze_norm(module, x)
    with torch.no_grad():
        want = module(x)
    assert torch.allclose(frozen.linear(x) + frozen.form.bias, want, atol=1e-5)
    assert frozen.form.centred == isinstance(module, nn.LayerNorm)
    assert torch.allclose(frozen.linear(other) @ x, other @ frozen.pull_back(x), atol=1e-5)


class Int8Linear(nn.Linear):
    """Integer weights as in bitsandbytes: the module computes with other values than it stores."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) / 64, None if self.bias is None else self.bias.to(x))


@pytest.mark.parametrize("bias", [True, False])
def test_quantised_weights_are_read_as_the_module_computes(bias: bool) -> None:
    projection = Int8Linear(1500, 4, bias=bias)
    integers = torch.randint(-128, 128, (4, 1500), dtype=torch.int8)
    projection.weight = nn.Parameter(integers, requires_grad=False)
    if bias:
        projection.bias.data.copy_(torch.tensor([1.0, -2, 0.5, 0]))
    got = output_weight(projection)
    assert got.dtype == torch.float32
    assert torch.allclose(got, integers.T.float() / 64, atol=0.02)


@pytest.mark.parametrize("module", [nn.Softmax(-1), nn.Tanh(), nn.Linear(8, 8)], ids=lambda m: type(m).__name__)
def test_modules_that_are_not_norms_are_refused(module: nn.Module) -> None:
    with pytest.raises(UsageError, match="neither a LayerNorm nor an RMSNorm"):
        measure_norm(module, 8)


def test_a_model_without_a_final_norm_is_refused() -> None:
    hf = build_model("opt", do_layer_norm_before=False)
    with pytest.raises(UsageError, match="expected one norm after the last layer, found 0"):
        direct_logit_attribution(problem_of(hf, Target(3, 5, None, "pre_cap_logit", "top1_logit")))


def test_a_block_that_scales_what_it_adds_is_refused() -> None:
    config = build_config("llama").to_dict()
    config = {k: v for k, v in config.items() if k not in ("model_type", "architectures")}
    granite = AutoModelForCausalLM.from_config(_granite(config)).eval()
    with pytest.raises(UsageError, match=r"layer 0 .*do not add up"):
        direct_logit_attribution(problem_of(granite, Target(3, 5, None, "pre_cap_logit", "top1_logit")))


def _granite(config: dict) -> object:
    from transformers import GraniteConfig

    return GraniteConfig(**config, residual_multiplier=0.5)


@pytest.mark.parametrize("name", REQUIRED)
def test_write_scores_equal_the_direction_sent_through_the_norms(name: str) -> None:
    model, pos = loaded(name), TARGET_POS
    trace = trace_residual(model.hf, token_ids(), pos)
    neurons, vocab = [(2, 5), (0, 41), (2, 1)], unembedding(model.hf).weight.shape[0]
    got = write_scores(model, token_ids(), pos, neurons, top=4, explicit_ids=[9, 300])
    assert [(w.layer, w.neuron) for w in got] == neurons
    for w in got:
        direction = output_weight(output_projections(model.hf)[w.layer])[w.neuron]
        norm = trace.post_mlp[w.layer]
        x = trace.final_norm.linear(direction if norm is None else norm.linear(direction))
        every = [float(x @ unembedding(model.hf).weight[t]) for t in range(vocab)]
        order = sorted(range(vocab), key=lambda t: every[t], reverse=True)
        assert [t.token_id for t in w.promotes] == order[:4]
        assert [t.token_id for t in w.suppresses] == order[:-5:-1]
        for t in (*w.promotes, *w.suppresses, *w.explicit):
            assert t.score == pytest.approx(every[t.token_id], abs=1e-5)
        assert [t.token_id for t in w.explicit] == [9, 300]


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_write_score_times_activation_is_the_tokens_dla(name: str) -> None:
    target = target_of(name, foil=None)
    dla = direct_logit_attribution(problem_of(loaded(name).hf, target)).attribution
    (w,) = write_scores(loaded(name), token_ids(), target.pos, [(1, 3)], top=2, explicit_ids=[target.token_id])
    assert w.activation * w.explicit[0].score == pytest.approx(float(dla.scores[1, 0, 3]), rel=1e-4)


def test_later_tokens_change_nothing() -> None:
    target = target_of("gemma3")
    changed = [*token_ids()[: TARGET_POS + 1], *[11] * (LENGTH - TARGET_POS - 1)]
    one, two = (
        direct_logit_attribution(problem_of(loaded("gemma3").hf, target, ids=ids)) for ids in (token_ids(), changed)
    )
    assert changed != token_ids() and torch.equal(one.attribution.scores, two.attribution.scores)
