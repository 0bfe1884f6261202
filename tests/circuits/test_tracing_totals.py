"""Total effects are derivatives of the model as it is."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import TARGET_POS, in_float64, loaded, problem_of, shape_of, target_of
from tiny_models import ARCHITECTURES
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.gradients import act_grad
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.circuits.tracing import total_effects
from neuron_signatures.circuits.types import NeuronAt, Row

# transformers computes the norms of Llama and Gemma in float32 also in a float64 model
_STEP = 0.02
ROWS: list[Row] = [None, NeuronAt(1, 5, 3), NeuronAt(2, 4, 9), NeuronAt(2, TARGET_POS, 30)]
COLUMNS = [NeuronAt(0, 4, 7), NeuronAt(1, 4, 2), NeuronAt(1, TARGET_POS, 12), NeuronAt(2, 3, 5)]


def reference_of(name: str) -> Tensor:
    shape = shape_of(name)
    generator = torch.Generator().manual_seed(3)
    return torch.randn(shape.n_layers, TARGET_POS + 1, shape.d_mlp, generator=generator)


def values(problem: Problem, column: NeuronAt, added: float) -> Tensor:
    """The rows in a pass of the live model with `added` to one neuron."""
    seen: list[Tensor] = []

    def edit(layer: int, acts: Tensor) -> Tensor:
        if layer == column.layer:
            acts = acts.clone()
            acts[0, column.pos, column.neuron] += added
        seen.append(acts[0])
        return acts

    with torch.no_grad():
        f = problem.value(problem.suffix().run(1, edit))[0]
    return torch.stack([f if row is None else seen[row.layer][row.pos, row.neuron] for row in ROWS])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_total_effects_are_finite_differences(name: str) -> None:
    target, exact = target_of(name), problem_of(in_float64(name), target_of(name))
    acts = exact.suffix().acts(exact.positions, range(shape_of(name).n_layers))
    change = 1 + torch.rand(acts.shape, generator=torch.Generator().manual_seed(3))
    got = total_effects(problem_of(loaded(name).hf, target), ROWS, COLUMNS, acts - change)
    for c, column in enumerate(COLUMNS):
        slope = (values(exact, column, _STEP) - values(exact, column, -_STEP)) / (2 * _STEP)
        above = torch.tensor([row is None or row.layer > column.layer for row in ROWS])
        want = (slope * change[column] * above).float()
        assert torch.allclose(got.neurons[:, c], want, atol=2e-4)
    assert float(got.neurons.abs().max()) > 0.03  # much larger than the tolerance


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_effects_on_the_target_are_act_grad(name: str) -> None:
    problem, reference = problem_of(loaded(name).hf, target_of(name)), reference_of(name)
    got = total_effects(problem, [None], COLUMNS, torch.zeros_like(reference))
    scores = act_grad(problem).scores
    assert torch.allclose(got.neurons[0], torch.stack([scores[c] for c in COLUMNS]), atol=1e-5)


def test_effects_of_the_embeddings_are_finite_differences_of_their_scale() -> None:
    """By scaling the whole embedding, to which a norm is invariant but for what the layers add to the stream."""
    hf, target = in_float64("llama"), target_of("llama")
    problem = problem_of(hf, target)
    got = total_effects(problem, [None], [], reference_of("llama"))
    layer, sizes = hf.get_decoder().layers[0], []
    for pos in (0, 4, TARGET_POS):
        fs = []
        for step in (0.01, -0.01):

            def scaled(_: object, args: tuple[Tensor], pos: int = pos, step: float = step) -> tuple[Tensor, ...]:
                x = args[0].clone()
                x[0, pos] *= 1 + step
                return (x, *args[1:])

            handle = layer.register_forward_pre_hook(scaled)
            with torch.no_grad():
                fs.append(float(problem.value(problem.suffix().run(1))))
            handle.remove()
        want = (fs[0] - fs[1]) / 0.02
        assert float(got.embeddings[0, pos]) == pytest.approx(want, abs=1e-4)
        sizes.append(abs(want))
    assert max(sizes) > 0.01
