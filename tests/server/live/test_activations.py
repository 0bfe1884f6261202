"""Activations equal those of plain forward passes and those that a run stores."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from attribution_cases import loaded
from intervention_runs import demo_run
from live_cases import DALLAS, DALLAS_ID, IDS, held, held_with_runs, never, plain_acts, record_run
from tiny_models import ARCHITECTURES

from neuron_signatures.api.live import ActivationsRequest, NeuronRef
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run
from neuron_signatures.server.live import activations as module
from neuron_signatures.server.live.activations import activations, activations_tensor


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run of 25 prompts, and a run with records."""
    folder = tmp_path_factory.mktemp("runs")
    demo_run(folder)
    record_run(folder / "recorded")
    return folder


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_acts_and_the_strongest_neurons_are_those_of_a_plain_forward_pass(name):
    acts = plain_acts(name, IDS)
    refs = (NeuronRef(layer=0, neuron=3), NeuronRef(layer=2, neuron=71))
    request = ActivationsRequest(token_ids=IDS, neurons=refs, layers=[1, 2], positions=[-1, 3], top_k=5)
    found = activations(held(name), request, never)
    assert (found.ordered_by, found.reference, found.warnings) == ("act", "", [])
    for row, ref in zip(found.neurons, refs, strict=True):
        assert (row.layer, row.neuron) == (ref.layer, ref.neuron)
        assert row.acts == pytest.approx(acts[ref.layer, :, ref.neuron].tolist(), abs=1e-5)
    wanted = []
    for pos in (8, 3):
        sizes = {(layer, i): float(a) for layer in (1, 2) for i, a in enumerate(acts[layer, pos])}
        wanted += [(pos, *key) for key in sorted(sizes, key=lambda k: -abs(sizes[k]))[:5]]
    assert [(t.pos, t.layer, t.neuron) for t in found.top] == wanted
    assert [t.act for t in found.top] == pytest.approx([float(acts[w[1], w[0], w[2]]) for w in wanted], abs=1e-5)
    assert all(t.z is None for t in found.top)
    assert [x.layer for x in found.layers] == [1, 2]
    for row in found.layers:
        own = acts[row.layer, 1:]
        assert row.mean_abs == pytest.approx(float(own.abs().mean()), rel=1e-5)
        assert row.max_abs == pytest.approx(float(own.abs().max()), rel=1e-5)
        assert row.share_positive == pytest.approx(float((own > 0).float().mean()))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tensors_are_those_of_a_plain_forward_pass(name):
    body = activations_tensor(held(name), ActivationsRequest(token_ids=IDS, layers=[2, 0]), never)
    found, acts = safetensors.torch.load(body), plain_acts(name, IDS)
    assert set(found) == {"L0", "L2"}
    for layer in (0, 2):
        assert found[f"L{layer}"].dtype == torch.float32
        torch.testing.assert_close(found[f"L{layer}"], acts[layer], atol=1e-5, rtol=1e-5)


def test_a_tensor_has_the_asked_positions_and_says_which(tmp_path):
    body = activations_tensor(held("gpt2"), ActivationsRequest(token_ids=IDS, positions=[-1, 2], layers=[1]), never)
    (tmp_path / "acts.safetensors").write_bytes(body)
    with safetensors.safe_open(tmp_path / "acts.safetensors", "pt") as file:
        assert json.loads(file.metadata()["positions"]) == [8, 2]
        assert json.loads(file.metadata()["token_ids"]) == IDS
        torch.testing.assert_close(file.get_tensor("L1"), plain_acts("gpt2", IDS)[1, [8, 2]], atol=1e-5, rtol=1e-5)


def test_they_equal_what_a_run_stores_for_the_same_text(root):
    with Run.open(root / "run") as run:
        stored = run.acts(DALLAS_ID)
        record = run.prompt(DALLAS_ID)
    here = held_with_runs(root)
    found = safetensors.torch.load(activations_tensor(here, ActivationsRequest(text=record.text), never))
    np.testing.assert_allclose(np.stack([found[f"L{i}"].numpy() for i in range(5)]), stored, atol=1e-5, rtol=1e-5)
    refs = (NeuronRef(layer=3, neuron=508),)
    answer = activations(here, ActivationsRequest(text=record.text, neurons=refs, top_k=0), never)
    assert answer.neurons[0].acts == pytest.approx(stored[3, :, 508].tolist(), abs=1e-5) and answer.top == []


def moments_by_hand(root, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    if name == "recorded":
        with Records.open(root / name) as records:
            found = [records.layer_moments(layer, parts=["explain"]) for layer in range(5)]
        return np.stack([f.mean for f in found]), np.stack([f.std for f in found]), int(found[0].count[0])
    with Run.open(root / name) as run:
        every = np.concatenate([run.acts(p)[:, 1:] for p in run.prompts], 1).astype(np.float64)
    return every.mean(1), every.std(1), every.shape[1]


@pytest.mark.parametrize("name", ["run", "recorded"])
def test_with_a_run_neurons_are_ordered_by_their_distance_from_its_mean(root, name):
    """In standard deviations over the tokens of the run's records, or of its prompts if it has none."""
    here = held_with_runs(root)
    mean, std, n = moments_by_hand(root, name)
    acts = plain_acts("demo", [t.token_id for t in activations(here, ActivationsRequest(text=DALLAS), never).tokens])
    found = activations(here, ActivationsRequest(text=DALLAS, positions=[-1], top_k=20, against_run=name), never)
    z = (acts[:, -1].double().numpy() - mean) / std
    order = np.argsort(-np.abs(z).reshape(-1))[:20]
    width = z.shape[1]
    assert [(t.layer, t.neuron) for t in found.top] == [(i // width, i % width) for i in order]
    assert [t.z for t in found.top] == pytest.approx(z.reshape(-1)[order].tolist(), rel=1e-3)
    assert [t.act for t in found.top] == pytest.approx(
        [float(acts[t.layer, -1, t.neuron]) for t in found.top], rel=1e-4
    )
    assert found.ordered_by == "z" and f"run {name}: {n} tokens of" in found.reference
    assert ("corpus records" in found.reference) == (name == "recorded")
    by_act = activations(here, ActivationsRequest(text=DALLAS, positions=[-1], top_k=20), never)
    assert [t.neuron for t in by_act.top] != [t.neuron for t in found.top]


def test_the_first_position_is_left_out_unless_it_is_asked_for():
    found = activations(held("gpt2"), ActivationsRequest(token_ids=IDS, top_k=1), never)
    assert [t.pos for t in found.top] == list(range(1, 9)) and found.warnings == []
    first = activations(held("gpt2"), ActivationsRequest(token_ids=IDS, top_k=1, positions=[0]), never)
    assert [t.pos for t in first.top] == [0] and "massive activations" in first.warnings[0]
    alone = activations(held("gpt2"), ActivationsRequest(token_ids=[9], top_k=1), never)
    assert [t.pos for t in alone.top] == [0] and alone.layers[0].max_abs > 0


def test_values_that_are_not_finite_are_null_and_not_listed():
    projection = loaded("gpt2").hf.transformer.h[1].mlp.c_fc
    before = projection.bias.detach().clone()
    projection.bias.data[7] = float("nan")
    try:
        refs = (NeuronRef(layer=1, neuron=7), NeuronRef(layer=1, neuron=8))
        found = activations(held("gpt2"), ActivationsRequest(token_ids=IDS, neurons=refs, layers=[1], top_k=100), never)
    finally:
        projection.bias.data.copy_(before)
    assert found.neurons[0].acts == [None] * 9 and None not in found.neurons[1].acts
    assert {t.neuron for t in found.top} == set(range(88)) - {7}
    assert found.layers[0].mean_abs is not None


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"layers": [0, 3]}, "layers: layer 3 is not in 0..2"),
        ({"neurons": [{"layer": 0, "neuron": 88}]}, "neurons: neuron 88 is not in 0..87"),
        ({"positions": [9]}, "positions: 9 is not in a prompt of 9 tokens"),
        ({"positions": [8, -1]}, "named twice"),
        ({"against_run": "x"}, "against_run: this server has no runs"),
    ],
)
def test_what_is_refused(fields, what):
    with pytest.raises(UsageError, match=what):
        activations(held("gpt2"), ActivationsRequest(token_ids=IDS, **fields), never)


def test_tensors_are_limited_and_take_no_other_fields(monkeypatch):
    monkeypatch.setattr(module, "MAX_TENSOR_BYTES", 4 * 3 * 9 * 88 - 1)
    with pytest.raises(UsageError, match=r"of tensors, more than .* Ask for fewer layers"):
        activations_tensor(held("gpt2"), ActivationsRequest(token_ids=IDS), never)
    activations_tensor(held("gpt2"), ActivationsRequest(token_ids=IDS, positions=[1]), never)
    with pytest.raises(UsageError, match="against_run: a tensor has all neurons"):
        activations_tensor(held("gpt2"), ActivationsRequest(token_ids=IDS, against_run="x"), never)


def test_an_answer_has_at_most_so_many_numbers():
    ids = [9] * 60
    refs = [{"layer": 0, "neuron": i % 88} for i in range(200)]
    activations(held("gpt2"), ActivationsRequest(token_ids=ids, neurons=refs, top_k=0), never)
    here = held_with_runs(None, max_tokens=1024)
    with pytest.raises(UsageError, match="numbers, more than 200,000"):
        activations(here, ActivationsRequest(token_ids=[9] * 1000, neurons=refs), never)
