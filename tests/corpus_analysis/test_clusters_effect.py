"""The effect of a cluster, against whole forward passes with replaced activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from record_stage import extract, flags, write_corpus

from neuron_signatures.corpus_analysis.clusters.effect import Ablation, cluster_effect
from neuron_signatures.corpus_analysis.clusters.request import EffectSettings
from neuron_signatures.corpus_analysis.passes import choose_windows, open_pass
from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.records.corpus.blocks import longest_window, model_inputs
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("effect")
    assert extract(*flags(write_corpus(folder / "corpus.jsonl"), folder / "run")) == 0
    return folder / "run"


@torch.no_grad()
def _divergence(ablation: Ablation, members: np.ndarray, window: int, pos: int, span: int) -> float:
    """From two forward passes over the whole window."""
    hf = ablation.hf
    ids = torch.tensor(model_inputs(ablation.corpus, np.array([window])))
    first = pos + int(ablation.corpus.meta.prepend_bos)
    last = min(first + span, ids.shape[1])
    clean = hf(ids).logits[0, first:last].double().log_softmax(-1)
    handles = []
    for layer in np.unique(members[:, 0]).tolist():
        neurons = torch.from_numpy(members[members[:, 0] == layer, 1])

        def replace(_: object, args: tuple[torch.Tensor], layer: int = layer, neurons: torch.Tensor = neurons) -> tuple:
            acts = args[0].clone()
            for at in range(first, last):
                acts[0, at, neurons] = ablation.means[layer, neurons]
            return (acts,)

        handles.append(output_projections(hf)[layer].register_forward_pre_hook(replace))
    edited = hf(ids).logits[0, first:last].double().log_softmax(-1)
    for handle in handles:
        handle.remove()
    return float((clean.exp() * (clean - edited)).sum(-1).mean())


def test_equals_whole_forward_passes(run_dir: Path) -> None:
    with Run.open(run_dir) as run, Records.open(run) as records:
        windows = choose_windows(records.corpus, ("select",))
        places = [(int(w), int(records.corpus.window_counted_from[w])) for w in windows[:4]]
        with open_pass(run, records, ModelOverrides(device="cpu", dtype="fp32")) as corpus_pass:
            hf = corpus_pass.model.hf
            means = torch.randn(records.meta.n_layers, records.d_mlp, generator=torch.Generator().manual_seed(0))
            ablation = Ablation(hf, records.corpus, means, write_norms(hf, longest_window(records.corpus)))
            members = np.array([(0, 3), (0, 60), (2, 7), (2, 9)], np.int64)
            found = cluster_effect(ablation, members, places, EffectSettings(4, 3, 25), seed=5)
            expected = [_divergence(ablation, members, window, pos, 3) for window, pos in places]
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-3)
    assert found.low is not None and found.high is not None and found.low <= found.mean <= found.high
    assert found.n_windows == 4 and found.null.shape == (25,) and (found.null > 0).all()
    assert 1 / 26 <= found.p <= 1


def test_neurons_at_their_own_values_change_nothing(run_dir: Path) -> None:
    """The means are what the neurons do there, so no activation changes."""
    with Run.open(run_dir) as run, Records.open(run) as records:
        window = int(choose_windows(records.corpus, ("select",))[0])
        pos = int(records.corpus.window_counted_from[window])
        with open_pass(run, records, ModelOverrides(device="cpu", dtype="fp32")) as corpus_pass:
            (batch,) = corpus_pass.batches(np.array([window]))
            means = torch.stack([batch.acts(row)[0, pos] for row in range(3)])
            hf = corpus_pass.model.hf
            ablation = Ablation(hf, records.corpus, means, torch.ones(3, records.d_mlp))
            members = np.array([(1, n) for n in range(20)], np.int64)
            found = cluster_effect(ablation, members, [(window, pos)], EffectSettings(1, 1, 3), seed=0)
    assert found.mean == pytest.approx(0, abs=1e-6) and found.low is None
