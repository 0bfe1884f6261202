"""Direct edges sum to what they lead into, and relevance is their sum over paths."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import BIAS_FREE, FOIL, TARGET_POS, loaded, plain_value, problem_of, shape_of, target_of
from tiny_models import ARCHITECTURES, D_MLP, N_LAYERS
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.dla import direct_logit_attribution
from neuron_signatures.analysis.attribution.estimators.gradients import relp
from neuron_signatures.circuits.tracing import incoming, relevance
from neuron_signatures.circuits.types import Incoming, NeuronAt, Row
from neuron_signatures.runs.errors import UsageError

WITH_BIASES = ("gpt2", "qwen2", "gpt_neox", "phi", "opt")
SIZES = dict.fromkeys(BIAS_FREE, 1e-5) | dict.fromkeys(WITH_BIASES, 1e-4)


def reference_of(name: str, size: float = 0.1) -> Tensor:
    """Random values in place of means."""
    shape = shape_of(name)
    generator = torch.Generator().manual_seed(3)
    return size * torch.randn(shape.n_layers, TARGET_POS + 1, shape.d_mlp, generator=generator)


def some_rows(name: str) -> list[Row]:
    layers = range(shape_of(name).n_layers)
    return [None, *(NeuronAt(layer, pos, n) for layer in layers for pos in (0, 5, TARGET_POS) for n in (1, 20, 64))]


def some_columns(name: str) -> list[NeuronAt]:
    layers = range(shape_of(name).n_layers)
    return [NeuronAt(layer, pos, n) for layer in layers for pos in (0, 4, TARGET_POS) for n in range(0, 60, 3)]


def total(found: Incoming) -> Tensor:
    return found.neurons.sum(1) + found.embeddings.sum(1) + found.rest.sum((1, 2)) + found.constant


@pytest.mark.parametrize("foil", [None, FOIL])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_edges_sum_to_the_activation_and_to_the_target(name: str, centred: bool, foil: int | None) -> None:
    hf, target = loaded(name).hf, target_of(name, foil=foil)
    rows, reference = some_rows(name), reference_of(name, 0.1 * centred)
    problem = problem_of(hf, target)
    found = incoming(problem, rows, some_columns(name), reference)
    assert float(found.value[0]) == pytest.approx(plain_value(hf, target), abs=1e-5)
    acts = problem.suffix().acts(problem.positions, range(N_LAYERS))
    assert torch.allclose(found.value[1:], torch.stack([acts[row] for row in rows if row is not None]), atol=1e-6)
    error = (total(found) - found.value).abs()
    assert bool((error <= SIZES.get(name, 1e-5) * found.absolute).all())
    assert bool(found.constant.any()) == centred
    parts = found.neurons.abs().sum(1) + found.embeddings.abs().sum(1) + found.constant.abs()
    assert bool((parts <= found.absolute * (1 + 1e-6)).all())


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_edges_come_from_below_and_from_no_later_position(name: str) -> None:
    rows = [NeuronAt(1, 4, 3), NeuronAt(2, 5, 7)]
    columns = [NeuronAt(layer, pos, 2) for layer in range(3) for pos in range(TARGET_POS + 1)]
    found = incoming(problem_of(loaded(name).hf, target_of(name)), rows, columns, reference_of(name))
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            assert bool(found.neurons[r, c] != 0) == (column.layer < row.layer and column.pos <= row.pos)
        assert bool(found.embeddings[r, : row.pos + 1].all()) and not bool(found.embeddings[r, row.pos + 1 :].any())


def test_edges_stay_in_the_sliding_window() -> None:
    """The last layer attends to 4 positions, and edges from the layer before it pass through no other attention."""
    columns = [NeuronAt(1, pos, 2) for pos in range(TARGET_POS + 1)]
    problem = problem_of(loaded("gemma2").hf, target_of("gemma2"))
    found = incoming(problem, [NeuronAt(2, 5, 7)], columns, reference_of("gemma2"))
    assert [c.pos for c, edge in zip(columns, found.neurons[0], strict=True) if edge] == [2, 3, 4, 5]


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "phi"])
def test_edges_into_the_target_at_its_position_are_direct(name: str) -> None:
    """Where attention does not lead elsewhere: the last layer's neurons at the target position."""
    target = target_of(name)
    problem = problem_of(loaded(name).hf, target)
    columns = [NeuronAt(N_LAYERS - 1, TARGET_POS, n) for n in range(60)]
    found = incoming(problem, [None], columns, torch.zeros_like(reference_of(name)))
    direct = direct_logit_attribution(problem).attribution.scores[-1, 0, :60]
    assert torch.allclose(found.neurons[0], direct, atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_relevance_is_that_of_stage_2_and_reaches_the_embeddings(name: str) -> None:
    hf, target = loaded(name).hf, target_of(name)
    problem = problem_of(hf, target)
    got = relevance(problem, torch.zeros_like(reference_of(name)))
    assert torch.allclose(got.neurons, relp(problem).scores, atol=1e-5)
    sources = float(got.embeddings.sum() + got.biases.sum())
    size = float(got.embeddings.abs().sum() + got.biases.abs().sum())
    assert sources == pytest.approx(plain_value(hf, target), abs=1e-5 * size)
    assert bool(got.biases.any()) == (name in WITH_BIASES)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_relevance_is_the_sum_over_paths_of_direct_edges(name: str) -> None:
    """score_s = E_sf + Σ_t E_st score_t / a_t over all neurons t."""
    zero = torch.zeros(N_LAYERS, TARGET_POS + 1, D_MLP)
    problem = problem_of(loaded(name).hf, target_of(name))
    scores = relevance(problem, zero)
    every: list[Row] = [NeuronAt(i, p, n) for i in range(N_LAYERS) for p in range(TARGET_POS + 1) for n in range(D_MLP)]
    sources = [NeuronAt(layer, pos, n) for layer, pos, n in [(0, 2, 5), (0, 8, 40), (1, 7, 3), (1, 8, 80), (2, 8, 9)]]
    found = incoming(problem, [None, *every], sources, zero)
    ratio = scores.neurons.flatten() / scores.acts.flatten()
    got = found.neurons[0] + (found.neurons[1:] * ratio[:, None]).sum(0)
    want = torch.stack([scores.neurons[s] for s in sources])
    size = found.neurons[0].abs() + (found.neurons[1:] * ratio[:, None]).abs().sum(0)
    assert bool(((got - want).abs() <= 1e-5 * size).all()) and bool(want[:4].any())


def test_relevance_is_centred_by_the_reference() -> None:
    problem, reference = problem_of(loaded("llama").hf, target_of("llama")), reference_of("llama")
    plain, centred = relevance(problem, torch.zeros_like(reference)), relevance(problem, reference)
    assert torch.allclose(centred.neurons, plain.neurons * (1 - reference / plain.acts), atol=1e-5)
    assert torch.equal(centred.embeddings, plain.embeddings)


def test_the_memory_limit_changes_no_number() -> None:
    problem = problem_of(loaded("llama").hf, target_of("llama"))
    rows, columns, reference = some_rows("llama"), some_columns("llama"), reference_of("llama")
    many, few = (incoming(problem, rows, columns, reference, memory=m) for m in (2**28, 1))
    assert torch.allclose(many.neurons, few.neurons, atol=1e-6) and torch.allclose(many.rest, few.rest, atol=1e-6)


def test_other_target_functions_are_refused() -> None:
    target = target_of("gemma2", function="logit")
    with pytest.raises(UsageError, match="into the pre-cap logit, not into logit"):
        incoming(problem_of(loaded("gemma2").hf, target), [None], [], reference_of("gemma2"))


def test_the_model_is_left_as_it_was() -> None:
    hf = loaded("llama").hf
    before = hf.config._attn_implementation
    incoming(problem_of(hf, target_of("llama")), [None], [], reference_of("llama"))
    assert hf.config._attn_implementation == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in hf.modules())
