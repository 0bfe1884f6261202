"""The intervals of a sample on the demo model cover the values for all neurons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from neuron_signatures.analysis.validation.sample import draw_sample
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.results import list_influence
from neuron_signatures.runs.tables import read_table
from neuron_signatures.stats.stratified import correlations, one_stratum

METRICS = ("dla", "act_grad", "relp", "ig")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    prompts = str(ROOT / "docs" / "probe_prompts_list.json")
    argv = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet", "--prompts_json", prompts]
    assert dump([*argv, "--out_dir", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


@pytest.mark.slow
def test_intervals_of_250_neurons_cover_the_full_values(run_dir):
    """200 seeds, four metrics, Pearson and Spearman; bar 90 %, nominal 95 %."""
    flags = ["--mode", "influence", "--prompt_id", "seed_prompt", "--target_mode", "next_token"]
    flags += ["--target_token", " Austin", "--influence_metric", ",".join((*METRICS, "ablation")), "--quiet"]
    assert main(["--run_dir", str(run_dir), *flags]) == 0
    stems = list_influence(run_dir)
    tables = {m: read_table(run_dir, next(s for s in stems if f"_{m}_next" in s)) for m in (*METRICS, "ablation")}
    column = {
        m: t.sort_values(["layer", "neuron"])["influence_centred"].to_numpy(np.float64) for m, t in tables.items()
    }
    truth, scores = column.pop("ablation"), list(column.values())
    layer_of = np.repeat(np.arange(5), len(truth) // 5)
    full = correlations(scores, truth, one_stratum(len(truth)), np.random.default_rng(0))
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sample = draw_sample(scores, layer_of, 250, rng)
        found = correlations([s[sample.rows] for s in scores], truth[sample.rows], sample.strata, rng)
        covered += [[e.low <= f.value <= e.high for e, f in zip(c, g, strict=True)]
                    for c, g in zip(found, full, strict=True)]  # fmt: skip
    print(f"coverage {np.mean(covered):.3f}, pearson and spearman {np.mean(covered, axis=0).round(3)}")
    assert np.mean(covered) >= 0.9
