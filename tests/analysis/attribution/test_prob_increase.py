"""prob_increase equals running the model's own norm and head on the stream with the write added; query neurons equal
finite differences of the value neurons' activations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from attribution_cases import FOIL, TARGET_POS, in_float64, loaded, problem_of, target_of, token_ids
from tiny_models import ARCHITECTURES, D_MLP, N_LAYERS, build_model
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from neuron_signatures.analysis.attribution.estimators.layer_scores import LayerScores
from neuron_signatures.analysis.attribution.estimators.prob_increase import prob_increase
from neuron_signatures.analysis.attribution.estimators.query_neurons import ValueNeurons, query_neurons, top_values
from neuron_signatures.analysis.attribution.influence import InfluenceSettings, influence
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.models.capture import decoder_layers, output_projections
from neuron_signatures.models.norms import measure_epsilon, measure_norm
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.models.residual import final_norm
from neuron_signatures.models.weights import output_weight
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import Bar, silent
from neuron_signatures.runs.results import ResultsWriter

# The norm before the MLP, whose input is the stream; Phi and GPT-NeoX are parallel blocks.
BEFORE_MLP = {
    "gpt2": "ln_2", "gemma2": "pre_feedforward_layernorm", "gemma3": "pre_feedforward_layernorm",
    "demo": "pre_feedforward_layernorm", "phi": "input_layernorm", "opt": "final_layer_norm",
}  # fmt: skip
AFTER_MLP = dict.fromkeys(("gemma2", "gemma3", "demo"), "post_feedforward_layernorm")
NEURONS = (0, 17, 41)
POS = (TARGET_POS,)


class Seen(NamedTuple):
    """Of one layer at the target position: the stream that the MLP's norm reads and its output, the activations, and
    the factor of the norm after the MLP (1 without one)."""

    stream: Tensor
    normed: Tensor
    acts: Tensor
    gain: Tensor


def norm_before_mlp(name: str, layer: nn.Module) -> nn.Module:
    return layer.get_submodule(BEFORE_MLP.get(name, "post_attention_layernorm"))


def seen_by(name: str, hf: PreTrainedModel) -> list[Seen]:
    """What the modules of a plain forward pass were called with."""
    calls: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        x, y = (t.reshape(-1, t.shape[-1])[TARGET_POS] for t in (args[0], out))
        calls[module] = x, y

    watched = [*output_projections(hf)]
    for layer in decoder_layers(hf):
        watched.append(norm_before_mlp(name, layer))
        watched += [layer.get_submodule(AFTER_MLP[name])] if name in AFTER_MLP else []
    handles = [m.register_forward_hook(keep) for m in watched]
    with torch.no_grad():
        hf(input_ids=torch.tensor([token_ids()]), use_cache=False)
    for handle in handles:
        handle.remove()
    found = []
    for layer, projection in zip(decoder_layers(hf), output_projections(hf), strict=True):
        stream, normed = calls[norm_before_mlp(name, layer)]
        gain = torch.ones_like(stream)
        if name in AFTER_MLP:
            x, y = calls[layer.get_submodule(AFTER_MLP[name])]
            gain = y / x
        found.append(Seen(stream, normed, calls[projection][0], gain))
    return found


@torch.no_grad()
def log_p(hf: PreTrainedModel, target: Target, stream: Tensor) -> float:
    """From the residual stream through the model's own modules."""
    logits = hf.get_output_embeddings()(final_norm(hf)(stream))
    cap = getattr(hf.config, "final_logit_softcapping", None)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    found = logits.log_softmax(-1)
    return float(found[target.token_id] - (0 if target.foil_id is None else found[target.foil_id]))


def check(name: str, hf: PreTrainedModel, target: Target, reference: Tensor) -> None:
    got = prob_increase(problem_of(hf, target, POS), reference=reference)
    for layer, seen in enumerate(seen_by(name, hf)):
        base = log_p(hf, target, seen.stream)
        assert got.log_p[layer] == pytest.approx(base, abs=1e-5)
        for neuron in NEURONS:
            write = seen.gain * output_weight(output_projections(hf)[layer])[neuron]
            full, held = (
                log_p(hf, target, seen.stream + a * write) for a in (seen.acts[neuron], reference[layer, neuron])
            )
            assert float(got.acts[layer, neuron]) == pytest.approx(float(seen.acts[neuron]), abs=1e-6)
            assert float(got.zero[layer, neuron]) == pytest.approx(full - base, abs=1e-5)
            assert float(got.centred[layer, neuron]) == pytest.approx(full - held, abs=1e-5)
    assert float(got.zero.abs().amax(1).min()) > 1e-3 and float(got.centred.abs().amax(1).min()) > 1e-3


def reference_of(hf: PreTrainedModel) -> Tensor:
    rows = [output_weight(p).shape[0] for p in output_projections(hf)]
    return torch.randn(len(rows), rows[0], generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("foil", [None, FOIL])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_scores_equal_running_the_models_own_norm_and_head(name: str, foil: int | None) -> None:
    check(name, loaded(name).hf, target_of(name, foil=foil), reference_of(loaded(name).hf))


@pytest.mark.parametrize("changes", [{"final_logit_softcapping": 1.5}, {"rms_norm_eps": 0.5}], ids=["cap", "eps"])
def test_a_strong_soft_cap_and_a_large_epsilon_are_part_of_it(changes: dict[str, float]) -> None:
    hf = build_model("gemma2", **changes)
    check("gemma2", hf, Target(TARGET_POS, 9, None, "pre_cap_logit", "next_token"), reference_of(hf))


def test_blocks_that_are_not_parallel_read_what_attention_adds() -> None:
    hf = build_model("gpt_neox", use_parallel_residual=False)
    target = Target(TARGET_POS, 9, None, "pre_cap_logit", "next_token")
    check("gpt_neox", hf, target, reference_of(hf))


@pytest.mark.parametrize("name", ["gemma2", "phi"])
def test_parts_of_the_vocabulary_give_the_same_numbers(name: str) -> None:
    hf, target = loaded(name).hf, target_of(name, foil=None)
    reference = reference_of(hf)
    whole = prob_increase(problem_of(hf, target, POS), reference=reference)
    for n_tokens in (7, 100):  # 384 are no multiple of 7 or 100
        parts = prob_increase(problem_of(hf, target, POS), reference=reference, max_bytes=n_tokens * 4 * (D_MLP + 1))
        for one, other in ((whole.zero, parts.zero), (whole.centred, parts.centred)):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_chosen_layers_have_the_same_scores() -> None:
    problem = problem_of(loaded("llama").hf, target_of("llama", foil=None), POS)
    whole, some = prob_increase(problem), prob_increase(problem, layers=[2, 0])
    assert some.layers == (2, 0) and torch.equal(some.zero, whole.zero[[2, 0]])
    assert bool(whole.centred.isnan().all())  # there is no reference


def test_a_neuron_without_activation_has_no_increase() -> None:
    got = prob_increase(problem_of(loaded("opt").hf, target_of("opt", foil=None), POS))
    silent_ones = got.acts == 0  # ReLU
    assert bool(silent_ones.any()) and not got.zero[silent_ones].any()
    assert bool(got.zero[~silent_ones].all())


def test_layers_without_a_reference_are_undefined() -> None:
    hf = loaded("llama").hf
    reference = reference_of(hf)
    reference[1] = torch.nan
    reference[2, 5] = torch.nan
    got = prob_increase(problem_of(hf, target_of("llama"), POS), reference=reference)
    undefined = got.centred.isnan()
    assert bool(undefined[1].all()) and int(undefined[2].sum()) == 1 and not bool(undefined[0].any())
    assert not bool(got.zero.isnan().any())


@pytest.mark.parametrize(("module", "eps"), [
    (nn.LayerNorm(8, eps=1e-3), 1e-3), (nn.LayerNorm(8, eps=1e-6), 1e-6),
    (LlamaRMSNorm(8, eps=1e-5), 1e-5), (LlamaRMSNorm(8, eps=0.0), 0.0),
])  # fmt: skip
def test_epsilon_is_measured(module: nn.Module, eps: float) -> None:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    assert measure_epsilon(module, measure_norm(module, 8)) == pytest.approx(eps, rel=1e-4, abs=1e-11)


def settings(layers: tuple[int, ...] | None = None) -> InfluenceSettings:
    return InfluenceSettings(None, 50, 1350, "joint", 64, layers, None, 5)


def test_other_positions_are_zero_with_a_warning() -> None:
    name, positions = "gemma2", (2, TARGET_POS, 3)
    problem = problem_of(loaded(name).hf, target_of(name, foil=None), positions)
    acts = recompute(loaded(name), token_ids())
    values = torch.randn(N_LAYERS, 3, D_MLP, generator=torch.Generator().manual_seed(3))
    reference = Reference("mean", "mean", values, 64)
    got = influence(
        "prob_increase", problem, acts, settings(), reference=reference, partial=None, progress=silent
    )  # fmt: skip
    want = prob_increase(problem, reference=values[:, 1])
    assert torch.equal(got.zero[:, 1], want.zero) and torch.equal(got.centred[:, 1], want.centred)
    assert torch.equal(got.attribution.scores, got.centred)  # the command's reference ranks
    assert not got.zero[:, [0, 2]].any() and not got.centred[:, [0, 2]].any()
    assert got.facts == {"log_p_before": want.log_p, "additive": False}
    assert got.warnings[:2] == (
        "a direct effect exists at the target position only: elsewhere the score is 0",
        "scores are of the log probability, not of the pre_cap_logit",
    )
    queries = influence(
        "prob_increase_query", problem, acts, settings(), reference=reference, partial=None, progress=silent,
        values=got.attribution,
    )  # fmt: skip
    assert not queries.zero[:, [0, 2]].any() and bool(queries.zero[0, 1].all())
    assert [list(v) for v in queries.facts["value_neurons"]] == [["layer", "neuron", "prob_increase"]] * 5


def test_layers_before_which_the_target_is_less_likely_than_chance_are_named() -> None:
    hf = loaded("llama").hf
    reference, vocab = Reference("zero", None, None), len(hf.lm_head.weight)
    for token_id in range(0, vocab, 40):
        target = Target(TARGET_POS, token_id, None, "logprob", "next_token")
        problem = problem_of(hf, target, POS)
        acts = recompute(loaded("llama"), token_ids())
        got = influence("prob_increase", problem, acts, settings(), reference=reference, partial=None, progress=silent)
        low = [layer for layer, value in enumerate(got.facts["log_p_before"]) if value < -math.log(vocab)]
        assert len(got.warnings) == bool(low)
        assert not low or got.warnings[0].startswith(f"in layer{'s' * (len(low) > 1)} {spans(low)} the stream")


def test_scores_elsewhere_than_at_the_target_are_not_computed() -> None:
    problem = problem_of(loaded("llama").hf, target_of("llama"), (2,))
    acts = recompute(loaded("llama"), token_ids())
    reference = Reference("zero", None, None)
    got = influence("prob_increase", problem, acts, settings((1,)), reference=reference, partial=None, progress=silent)
    assert got.attribution.layers == (1,) and not got.zero.any() and bool(got.centred.isnan().all())
    assert got.facts["log_p_before"] == ()


class Stop(Bar):
    """A bar that ends the computation after one step."""

    def __init__(self) -> None:
        self.skipped = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, n: int) -> None:
        raise KeyboardInterrupt

    def skip(self, n: int) -> None:
        self.skipped = n

    def extend(self, n: int) -> None: ...

    def note(self, text: str) -> None: ...


def test_a_stopped_computation_resumes_with_the_same_scores(tmp_path: Path) -> None:
    problem = problem_of(loaded("gemma2").hf, target_of("gemma2", foil=None), POS)
    reference = reference_of(problem.hf)
    want = prob_increase(problem, reference=reference)
    (tmp_path / "analysis").mkdir()
    for done in (0, 1):
        partial, bar = Partial(ResultsWriter(tmp_path), "x_partial.npz", {"of": "test"}), Stop()
        with pytest.raises(KeyboardInterrupt):
            prob_increase(problem, reference=reference, partial=partial, progress=lambda *_, bar=bar: bar)  # type: ignore[misc]
        assert bar.skipped == done
    partial = Partial(ResultsWriter(tmp_path), "x_partial.npz", {"of": "test"})
    resumed = LayerScores(N_LAYERS, D_MLP, partial)
    resumed.resume()
    assert resumed.done.tolist() == [True, True, False]
    got = prob_increase(problem, reference=reference, partial=partial)
    assert torch.equal(got.zero, want.zero) and torch.equal(got.centred, want.centred) and got.log_p == want.log_p


def test_value_neurons_are_the_first_of_the_ranking() -> None:
    scores = torch.tensor([[[0.1, -3.0, torch.nan]], [[2.0, 3.0, 0.0]]])
    acts = torch.tensor([[[1.0, -1.0, 0.0]], [[0.5, 0.2, 0.1]]])
    found = Attribution("prob_increase", (4, 6), (8,), scores, acts, None)
    got = top_values(found, torch.full((2, 3), 0.3), 8, 3)
    assert got.neurons.tolist() == [[4, 1], [6, 1], [6, 0]]  # a tie goes to the lower layer
    assert got.increases.tolist() == [-3.0, 3.0, 2.0] and got.signs.tolist() == [-1.0, -1.0, 1.0]
    assert len(top_values(found, torch.zeros(2, 3), 8, 99).neurons) == 5  # without the undefined one


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gemma3", "llama", "qwen3", "phi", "phi3", "gpt_neox", "opt"])
def test_query_neurons_equal_finite_differences(name: str) -> None:
    """Σ_k Imp_k d|a_k - ā_k|/dt, with t times the write of u added to what the norm before k's MLP reads."""
    hf, target = in_float64(name), target_of(name, foil=None)
    chosen = [(1, 3), (1, 30), (2, 7), (2, 40), (0, 5)]
    seen = seen_by(name, hf)
    held = reference_of(hf).double()
    increases = torch.tensor([0.7, -1.3, 0.4, 2.0, 5.0], dtype=torch.float64)
    signs = torch.stack([(seen[layer].acts - held[layer])[neuron].sign() for layer, neuron in chosen])
    got = query_neurons(problem_of(hf, target, POS), ValueNeurons(torch.tensor(chosen), increases, signs))
    for layer, neuron in ((0, 11), (0, 60), (1, 2), (2, 2)):
        write = seen[layer].gain * output_weight(output_projections(hf)[layer])[neuron]
        want = 0.0
        for (to, value), increase in zip(chosen, increases.tolist(), strict=True):
            if to > layer:
                want += increase * slope(name, hf, seen[to], to, value, write, float(held[to, value]))
        want *= float(seen[layer].acts[neuron])
        assert float(got.scores[layer, 0, neuron]) == pytest.approx(want, rel=2e-4, abs=1e-7)
        assert (want == 0) == (layer == 2 or float(seen[layer].acts[neuron]) == 0)
    assert got.per_act is not None
    torch.testing.assert_close(got.scores, got.acts * got.per_act)


@torch.no_grad()
def slope(name: str, hf: PreTrainedModel, seen: Seen, layer: int, neuron: int, write: Tensor, held: float) -> float:
    """Central difference of |a - ā| of one neuron by the amount of `write` in its stream, the norm's scale frozen."""
    module = norm_before_mlp(name, decoder_layers(hf)[layer])
    if isinstance(module, nn.LayerNorm):
        read = (write - write.mean()) * module.weight / (seen.stream.var(correction=0) + module.eps).sqrt()
    else:
        read = write * seen.normed / seen.stream
    step = 1e-4
    up, down = (abs(float(acts_of(hf, layer, seen.normed + t * read)[neuron]) - held) for t in (step, -step))
    return (up - down) / (2 * step)


def acts_of(hf: PreTrainedModel, layer: int, normed: Tensor) -> Tensor:
    """The layer's activations for an input of its MLP."""
    block, kept = decoder_layers(hf)[layer], []
    handle = output_projections(hf)[layer].register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    x = normed[None, None]
    block.fc2(block.activation_fn(block.fc1(x))) if hasattr(block, "fc2") else block.mlp(x)
    handle.remove()
    return kept[0][0, 0]
