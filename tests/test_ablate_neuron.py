"""scripts/ablate_neuron.py gives the effects of the metric ablation, for one neuron and for the rest of its layer."""

from __future__ import annotations

import ablate_neuron
import pytest
from paths import ROOT

from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.runs.results import list_influence
from neuron_signatures.runs.tables import read_table

LAYER, NEURON = 4, 178


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("ablate") / "run"
    flags = ["--model_name", "demo", "--model_dtype", "fp32", "--save_dtype", "fp32", "--device", "cpu", "--quiet"]
    prompts = str(ROOT / "docs" / "probe_prompts_list.json")
    assert dump([*flags, "--prompts_json", prompts, "--out_dir", str(path)]) == 0
    return path


def test_the_effects_are_those_of_the_ablation_metric(run_dir, capsys):
    target = ["--prompt_id", "seed_prompt", "--target_mode", "next_token", "--target_token", " Austin"]
    flags = ["--mode", "influence", *target, "--influence_metric", "ablation", "--layers", str(LAYER), "--quiet"]
    assert analyze(["--run_dir", str(run_dir), *flags]) == 0
    (stem,) = list_influence(run_dir)
    effects = read_table(run_dir, stem).set_index("neuron").influence_centred
    others = effects.drop(NEURON)
    capsys.readouterr()
    argv = ["--run_dir", str(run_dir), "--neuron", f"L{LAYER}N{NEURON}", "--prompts", "seed_prompt"]
    assert ablate_neuron.main([*argv, "--tokens", " Austin| Houston"]) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("seed_prompt")]
    (null,) = [line for line in out.splitlines() if line.startswith("  ·Austin")]
    assert float(row.split()[2]) == pytest.approx(effects[NEURON], abs=6e-4)
    before, _, after = row.split()[3:6]
    assert float(before) > float(after) > 0  # it raises Austin
    assert f"null: mean {others.mean():+.3f}, standard deviation {others.std():.3f}, " in null
    assert f"{others.min():+.3f} to {others.max():+.3f}; {int((others.abs() >= abs(effects[NEURON])).sum())} at" in null
    assert f"null: the {len(others)} other neurons of layer {LAYER}" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--neuron", "L9N0"], "layer 9 is not stored: 0..4"),
        (["--neuron", "L1N0", "--prompts", "nobody"], "nobody"),
        (["--neuron", "L1N0", "--tokens", " Austin Texas"], "--tokens"),
    ],
)
def test_mistakes_are_one_line(run_dir, capsys, flags, message):
    assert ablate_neuron.main(["--run_dir", str(run_dir), "--tokens", " Austin", *flags]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
