"""Directions as units, and skills in a run that has prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skills_runs import DEMO, collect_main

from neuron_signatures import poc1_dump_activations
from neuron_signatures.models.load import load_model
from neuron_signatures.models.sites import Place, SiteCapture
from neuron_signatures.runs import __main__ as runs_main
from neuron_signatures.runs.arrays import write_arrays
from neuron_signatures.runs.skills.reader import Skills


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A run with one prompt, and directions at the residual stream of layer 2."""
    folder = tmp_path_factory.mktemp("directions")
    rows = np.random.default_rng(0).standard_normal((5, 128)).astype(np.float32)
    with (folder / "d.safetensors").open("wb") as f:
        write_arrays(f, {"random.res.2": rows}, {"format_version": "1", "made_by": "random"})
    dump = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--single_prompt", "Austin is here."]
    assert poc1_dump_activations.main([*dump, "--out_dir", str(folder / "run"), "--quiet"]) == 0
    texts = ["--texts", "demo", "--n_texts", "4", "--sources", "random", "--directions", str(folder / "d.safetensors")]
    assert collect_main("--run_dir", str(folder / "run"), *texts) == 0
    return folder / "run", rows


def test_projections_have_two_poles(run: tuple[Path, np.ndarray]) -> None:
    path, rows = run
    model = load_model(DEMO)
    with Skills.open(path) as skills:
        (bank,) = skills.banks
        assert (bank.key, bank.width, skills.meta.banks[0].sha256 is not None) == ("random.res.2", 10, True)
        stats, text = skills.stats(bank), skills.texts["content"][0]
    ids = [model.tokenizer.bos_token_id, *model.tokenizer(text, add_special_tokens=False)["input_ids"]][:64]
    with SiteCapture(model.hf, [Place("res", 2)]) as capture:
        values = capture.run(torch.tensor([ids]))[Place("res", 2)][0, 1:]
    acts = values.numpy() @ rows.T
    both = np.concatenate([np.maximum(acts, 0), np.maximum(-acts, 0)], axis=1)
    np.testing.assert_allclose(stats.total[0], both.sum(0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(stats.peak[0], both.max(0), rtol=1e-4, atol=1e-4)


def test_a_run_with_prompts_can_hold_skills(run: tuple[Path, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    assert runs_main.main(["verify", str(run[0])]) == 0
    assert runs_main.main(["show", str(run[0])]) == 0
    shown = capsys.readouterr().out
    assert "16 texts of 4 classes: random in 1 bank" in shown and "Austin" in shown
