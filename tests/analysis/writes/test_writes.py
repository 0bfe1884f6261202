"""Write scores of every neuron against direct computations, and against the write scores of a prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attribution_cases import TARGET_POS, loaded, token_ids
from scipy import stats
from tiny_models import ARCHITECTURES, D_MLP, N_LAYERS, VOCAB
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.write_scores import write_scores
from neuron_signatures.analysis.writes import scores as scores_module
from neuron_signatures.analysis.writes.scores import NeuronScores, mean_row, neuron_scores
from neuron_signatures.models.write_path import write_path

TOP = 4


def of_layer(hf: PreTrainedModel, layer: int, *, ids: list[int] | None = None) -> NeuronScores:
    path = write_path(hf, token_ids() if ids is None else ids)
    directions = path.directions(layer, path.rows(layer))
    return neuron_scores(directions, path.head.weight, mean_row(path.head.weight), top=TOP)


def gemma2_directions(hf: PreTrainedModel, layer: int) -> Tensor:
    """(1 + w_post) ⊙ (1 + w_f) ⊙ W_out"""
    block = hf.model.layers[layer]
    return block.mlp.down_proj.weight.T * (1 + block.post_feedforward_layernorm.weight) * (1 + hf.model.norm.weight)


def llama_directions(hf: PreTrainedModel, layer: int) -> Tensor:
    return hf.model.layers[layer].mlp.down_proj.weight.T * hf.model.norm.weight


def gpt2_directions(hf: PreTrainedModel, layer: int) -> Tensor:
    """The final LayerNorm subtracts the mean of W_out's rows."""
    rows = hf.transformer.h[layer].mlp.c_proj.weight
    return (rows - rows.mean(-1, keepdim=True)) * hf.transformer.ln_f.weight


@pytest.mark.parametrize(
    ("name", "directions"),
    [("gemma2", gemma2_directions), ("gemma3", gemma2_directions), ("llama", llama_directions),
     ("qwen3", llama_directions), ("gpt2", gpt2_directions)],
)  # fmt: skip
def test_scores_equal_the_formula(name, directions):
    hf = loaded(name).hf
    for layer in (0, N_LAYERS - 1):
        every = directions(hf, layer) @ hf.get_output_embeddings().weight.T
        found = of_layer(hf, layer)
        for side, largest in ((0, True), (1, False)):
            values, ids = every.topk(TOP, largest=largest)
            assert torch.equal(found.extremes.ids[:, side], ids)
            torch.testing.assert_close(found.extremes.scores[:, side], values)
        table = every.double().numpy()
        want = [table.mean(1), table.std(1), stats.skew(table, axis=1), stats.kurtosis(table, axis=1)]
        np.testing.assert_allclose(found.moments.numpy(), np.stack(want, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_they_are_those_of_a_prompt_up_to_a_positive_factor(name):
    """One factor per layer, for all neurons: the norms' scales at this position."""
    model = loaded(name)
    for layer in (0, N_LAYERS - 1):
        neurons = (0, 17, 41)
        found = of_layer(model.hf, layer, ids=token_ids(seed=3))  # another prompt
        of_prompt = write_scores(model, token_ids(), TARGET_POS, [(layer, n) for n in neurons], top=TOP)
        factors = []
        for w in of_prompt:
            for side, listed in ((0, w.promotes), (1, w.suppresses)):
                assert found.extremes.ids[w.neuron, side].tolist() == [t.token_id for t in listed]
                factors += (found.extremes.scores[w.neuron, side] / torch.tensor([t.score for t in listed])).tolist()
        assert factors[0] > 0 and factors == pytest.approx([factors[0]] * len(factors), rel=1e-3)


@pytest.mark.parametrize("vocab", [64, 128, 640, 1000])
@pytest.mark.parametrize("top", [1, 3, 40])
def test_blocks_of_the_vocabulary_change_nothing(monkeypatch, vocab, top):
    monkeypatch.setattr(scores_module, "VOCAB_BLOCK", 256)
    generator = torch.Generator().manual_seed(vocab)
    directions, weight = (torch.randn(n, 8, generator=generator) for n in (5, vocab))
    found = neuron_scores(directions, weight, mean_row(weight), top=top)
    every = directions @ weight.T
    for side, largest in ((0, True), (1, False)):
        values, ids = every.topk(top, largest=largest)
        assert torch.equal(found.extremes.ids[:, side], ids)
        torch.testing.assert_close(found.extremes.scores[:, side], values)
    torch.testing.assert_close(found.moments[:, 1], every.double().std(1, correction=0), rtol=1e-4, atol=1e-5)


def test_weights_of_two_bytes_are_read_in_float32():
    generator = torch.Generator().manual_seed(0)
    directions, weight = (torch.randn(n, 8, generator=generator) for n in (3, 100))
    half = weight.bfloat16()
    found = neuron_scores(directions, half, mean_row(half), top=2).extremes.scores
    assert torch.equal(found[:, 0], (directions @ half.float().T).topk(2).values)


class LargestFloat32(TorchDispatchMode):
    """Counts the values of the largest float32 tensor that an operation returns."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor) and tensor.dtype == torch.float32:
                self.most = max(self.most, tensor.numel())
        return out


def test_the_unembedding_is_never_copied_as_a_whole(monkeypatch):
    monkeypatch.setattr(scores_module, "VOCAB_BLOCK", 64)
    weight = torch.randn(1000, 8).bfloat16()
    with LargestFloat32() as counted:
        neuron_scores(torch.randn(2, 8), weight, mean_row(weight), top=3)
    assert counted.most == 64 * 8


def test_equal_scores_are_in_order_of_id():
    weight = torch.ones(VOCAB, 8)
    weight[[300, 7, 50]] = 2
    found = neuron_scores(torch.ones(2, 8), weight, mean_row(weight), top=3).extremes
    assert found.ids[:, 0].tolist() == [[7, 50, 300]] * 2 and found.ids[0, 1].tolist() == sorted(found.ids[0, 1])


def test_a_neuron_that_writes_nothing_has_no_kurtosis():
    weight = torch.randn(VOCAB, 8, generator=torch.Generator().manual_seed(0))
    found = neuron_scores(torch.zeros(1, 8), weight, mean_row(weight), top=2)
    assert found.moments[0, :2].tolist() == [0, 0] and bool(found.moments[0, 2:].isnan().all())


def test_the_prompt_changes_no_number():
    one, two = (of_layer(loaded("gemma2").hf, 1, ids=ids) for ids in (token_ids(), token_ids(2, seed=9)))
    assert torch.equal(one.extremes.scores, two.extremes.scores) and len(one.moments) == D_MLP
