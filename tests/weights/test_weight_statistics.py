"""The statistics of neurons against scipy and numpy in float64, on tiny models of the architectures that differ."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from tiny_models import D_MLP, D_MODEL, VOCAB, build_model

from neuron_signatures.models.capture import decoder_layers
from neuron_signatures.models.norms import NormForm
from neuron_signatures.weights.model_weights import ModelWeights, model_weights
from neuron_signatures.weights.readout import Readout, TokenCounts, make_readout
from neuron_signatures.weights.statistics import (
    PAIR_COLUMNS,
    WRITE_COLUMNS,
    logit_moments,
    pair_statistics,
    random_directions,
    write_statistics,
)

KINDS = ("gpt2", "llama", "gemma2", "phi", "phi3", "gpt_neox", "opt")
"""LayerNorm with Conv1D; pre-norm; sandwich norm; parallel with one norm; gate and up fused; parallel with two; OPT."""
GATED = ("llama", "gemma2", "phi3")
LAYER = 1
FOLDED = {  # the weights of the norms, by hand: (before the MLP, on its output, final)
    "gpt2": lambda m: (m.transformer.h[LAYER].ln_2.weight, None, m.transformer.ln_f.weight),
    "llama": lambda m: (m.model.layers[LAYER].post_attention_layernorm.weight, None, m.model.norm.weight),
    "gemma2": lambda m: (
        1 + m.model.layers[LAYER].pre_feedforward_layernorm.weight,
        1 + m.model.layers[LAYER].post_feedforward_layernorm.weight,
        1 + m.model.norm.weight,
    ),
    "phi": lambda m: (m.model.layers[LAYER].input_layernorm.weight, None, m.model.final_layernorm.weight),
    "phi3": lambda m: (m.model.layers[LAYER].post_attention_layernorm.weight, None, m.model.norm.weight),
    "gpt_neox": lambda m: (
        m.gpt_neox.layers[LAYER].post_attention_layernorm.weight, None, m.gpt_neox.final_layer_norm.weight,
    ),
    "opt": lambda m: (
        m.model.decoder.layers[LAYER].final_layer_norm.weight, None, m.model.decoder.final_layer_norm.weight,
    ),
}  # fmt: skip
CENTRED = ("gpt2", "phi", "gpt_neox", "opt")
MATRICES = {  # W_out, W_in and the gate, one row per neuron
    "gpt2": lambda b: (b.mlp.c_proj.weight, b.mlp.c_fc.weight.T, None),
    "llama": lambda b: (b.mlp.down_proj.weight.T, b.mlp.up_proj.weight, b.mlp.gate_proj.weight),
    "gemma2": lambda b: (b.mlp.down_proj.weight.T, b.mlp.up_proj.weight, b.mlp.gate_proj.weight),
    "phi": lambda b: (b.mlp.fc2.weight.T, b.mlp.fc1.weight, None),
    "phi3": lambda b: (b.mlp.down_proj.weight.T, b.mlp.gate_up_proj.weight[D_MLP:], b.mlp.gate_up_proj.weight[:D_MLP]),
    "gpt_neox": lambda b: (b.mlp.dense_4h_to_h.weight.T, b.mlp.dense_h_to_4h.weight, None),
    "opt": lambda b: (b.fc2.weight.T, b.fc1.weight, None),
}


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def read(weights: ModelWeights, counts: TokenCounts | None = None) -> Readout:
    return make_readout(weights.writes.head.weight, weights.writes.final, counts)


def by_hand(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """W_U', w_out, w_in and gate of a layer, folded in float64."""
    model = build_model(kind)
    before, post, final = (None if w is None else w.double().detach().numpy() for w in FOLDED[kind](model))
    out, inp, gate = (
        None if w is None else w.double().detach().numpy() for w in MATRICES[kind](decoder_layers(model)[LAYER])
    )

    def centred(x):
        return x - x.mean(-1, keepdims=True) if kind in CENTRED else x

    readout = centred(model.get_output_embeddings().weight.double().detach().numpy() * final)
    written = centred(out if post is None else out * post)
    return readout, written, centred(inp * before), None if gate is None else centred(gate * before)


def cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return (one @ two.T) / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(two, axis=1)


def test_moments_equal_those_of_scipy(kind):
    weights = model_weights(build_model(kind))
    found = write_statistics(weights.directions(LAYER, "output").clone(), read(weights)).numpy()
    readout, written, *_ = by_hand(kind)
    every = cosines(written, readout)
    mean, variance, skewness, kurtosis = found[:, :4].T
    np.testing.assert_allclose(mean, every.mean(1), atol=1e-7)
    np.testing.assert_allclose(variance, every.var(1), rtol=1e-6)
    np.testing.assert_allclose(skewness, scipy.stats.skew(every, axis=1), atol=1e-6)
    np.testing.assert_allclose(kurtosis, scipy.stats.kurtosis(every, axis=1, fisher=False), rtol=1e-6)
    np.testing.assert_allclose(found[:, 4], np.linalg.norm(written, axis=1), rtol=1e-6)


def test_sharp_scores_keep_their_digits():
    """A direction that all but equals the row of one token has a kurtosis in the thousands."""
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(5000, 64, generator=generator)
    head[17] *= 100
    form = NormForm(False, torch.ones(64), torch.zeros(64))
    units = torch.nn.functional.normalize(head[17:19] + 0.01 * torch.randn(2, 64, generator=generator), dim=1)
    units[1] -= 0.2  # with a mean far from 0
    found = logit_moments(torch.nn.functional.normalize(units, dim=1), make_readout(head, form, None)).numpy()
    every = cosines(units.double().numpy(), head.double().numpy())
    np.testing.assert_allclose(found[:, 2], scipy.stats.skew(every, axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[:, 3], scipy.stats.kurtosis(every, axis=1, fisher=False), rtol=1e-6)


def test_norms_and_cosines_of_a_neurons_weights(kind):
    found = dict(zip(PAIR_COLUMNS, pair_statistics(model_weights(build_model(kind)), LAYER).numpy().T, strict=True))
    _, out, inp, gate = by_hand(kind)
    np.testing.assert_allclose(found["norm_in"], np.linalg.norm(inp, axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["cos_in_out"], np.diag(cosines(inp, out)), atol=1e-7)
    assert (gate is not None) == (kind in GATED)
    if gate is None:
        assert all(np.isnan(found[name]).all() for name in ("norm_gate", "cos_gate_out", "cos_in_gate"))
    else:
        np.testing.assert_allclose(found["norm_gate"], np.linalg.norm(gate, axis=1), rtol=1e-6)
        np.testing.assert_allclose(found["cos_gate_out"], np.diag(cosines(gate, out)), atol=1e-7)
        np.testing.assert_allclose(found["cos_in_gate"], np.diag(cosines(inp, gate)), atol=1e-7)


def test_input_directions_give_the_models_own_values(kind):
    """What a neuron's projection gives is its direction · stream / scale + bias, with one scale per position."""
    model = build_model(kind)
    weights, layer = model_weights(model), decoder_layers(model)[LAYER]
    norm = next(m for m in layer.modules() if getattr(m, "weight", None) is FOLDED[kind](model)[0]) \
        if kind != "gemma2" else layer.pre_feedforward_layernorm  # fmt: skip
    stream = torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(1))
    reads = weights.reads[LAYER]
    for which, name in ((reads.input, "input"), (reads.gate, "gate")):
        if which is None:
            continue
        with torch.no_grad():
            got = (
                which.module(norm(stream))[:, which.first : which.first + which.n]
                - which.module(norm(0 * stream))[:, which.first : which.first + which.n]
            )
        ratio = got / (stream @ weights.directions(LAYER, name).T)
        torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=2e-3, atol=1e-5)
        assert (ratio > 0).all()


def test_the_share_in_the_weakest_directions(kind):
    weights = model_weights(build_model(kind))
    readout = read(weights)
    found = write_statistics(weights.directions(LAYER, "output").clone(), readout).numpy()[:, 5]
    w_u, written, *_ = by_hand(kind)
    right = np.linalg.svd(w_u)[2]
    weakest = right[: D_MODEL - 1 if kind in CENTRED else D_MODEL][-len(readout.weakest) :]
    assert len(weakest) == 1  # 2 % of 32
    want = ((written @ weakest.T) ** 2).sum(1) / (written**2).sum(1)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-9)


def test_the_correlation_with_log_counts(kind):
    weights = model_weights(build_model(kind))
    ids = torch.arange(3, 203)
    counts = torch.from_numpy(np.random.default_rng(0).zipf(1.5, len(ids)).clip(max=10**6))
    readout = read(weights, TokenCounts(ids, counts))
    found = write_statistics(weights.directions(LAYER, "output").clone(), readout).numpy()
    w_u, written, *_ = by_hand(kind)
    effects, logs = written @ w_u[ids].T, np.log(counts.numpy())
    want = [np.corrcoef(effect, logs)[0, 1] for effect in effects]
    np.testing.assert_allclose(found[:, WRITE_COLUMNS.index("frequency_correlation")], want, rtol=1e-6, atol=1e-7)
    assert write_statistics(weights.directions(LAYER, "output").clone(), read(weights))[:, 6].isnan().all()


def test_tokens_and_neurons_of_zero():
    """A token without a direction is left out; the statistics of a neuron without output weights are undefined."""
    model = build_model("llama", tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight[5:8] = 0
        decoder_layers(model)[LAYER].mlp.down_proj.weight[:, 4] = 0
    weights = model_weights(model)
    readout = read(weights)
    found = write_statistics(weights.directions(LAYER, "output").clone(), readout).numpy()
    assert readout.n_tokens == VOCAB - 3
    assert np.isnan(found[4, [0, 1, 2, 3, 5]]).all() and found[4, 4] == 0
    head = np.delete(model.lm_head.weight.double().numpy(force=True), [5, 6, 7], 0)
    every = cosines(
        weights.directions(LAYER, "output").double().numpy(force=True),
        head * FOLDED["llama"](model)[2].numpy(force=True),
    )
    np.testing.assert_allclose(np.delete(found[:, 1], 4), np.delete(every.var(1), 4), rtol=1e-6)


def test_weights_in_bf16_are_those_of_the_checkpoint():
    """Computed in float32 from the rounded weights."""
    exact, rounded = build_model("gemma2"), build_model("gemma2").to(torch.bfloat16)
    again = build_model("gemma2").to(torch.bfloat16).to(torch.float32)
    one, two, three = (write_statistics(w.directions(LAYER, "output").clone(), read(w)).numpy() for w in map(
        model_weights, (exact, rounded, again)))  # fmt: skip
    np.testing.assert_allclose(two[:, :4], three[:, :4], rtol=1e-5, atol=1e-7)
    assert np.abs(one[:, 3] - two[:, 3]).max() > 1e-4


def test_random_directions_have_the_second_moments_and_lengths_of_the_neurons():
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9.0)
    drawn = random_directions(rows, 200_000, seed=3)
    unit = torch.nn.functional.normalize
    wanted, found = rows.T @ rows, unit(drawn, dim=1).T @ unit(drawn, dim=1)
    order = wanted.diagonal().argsort()
    assert (found.diagonal().argsort() == order).all()
    lengths = torch.linalg.vector_norm(rows, dim=1)
    assert (
        torch.isin(torch.linalg.vector_norm(drawn, dim=1).round(decimals=3), lengths.round(decimals=3)).float().mean()
        > 0.99
    )
    assert torch.equal(drawn[:5], random_directions(rows, 200_000, seed=3)[:5])
    assert not torch.equal(drawn[:5], random_directions(rows, 200_000, seed=4)[:5])
