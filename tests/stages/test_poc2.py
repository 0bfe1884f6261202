"""Stage 2 end to end: the documented commands on runs of both formats, and the most common mistakes."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from paths import ROOT
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model_dir

from neuron_signatures.demo import model_dir
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.results import list_influence, list_validations, read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table

PROMPTS = ROOT / "docs" / "probe_prompts_list.json"
SEED = ["--mode", "influence", "--prompt_id", "seed_prompt", "--target_mode", "next_token", "--target_token", " Austin"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A dump of the probe prompts through the demo model, in fp32 to keep rounding small."""
    run_dir = tmp_path_factory.mktemp("poc2") / "made"
    argv = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    assert dump([*argv, "--prompts_json", str(PROMPTS), "--out_dir", str(run_dir)]) == 0
    return run_dir


@pytest.fixture
def run_dir(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def run_v1(made, tmp_path) -> Path:
    """The same run in format 1."""
    run = Run.open(made)
    folder = tmp_path / "v1"
    folder.mkdir()
    torch.save({p.probe_id: run.tensor(p.probe_id) for p in run.prompts}, folder / "activations.pt")
    m = run.manifest
    keys = ("probe_id", "text", "token_ids", "tokens_ascii", "seq_len", "activation_tensor_key",
            "activation_tensor_shape", "activation_tensor_dtype")  # fmt: skip
    record = {
        "format_version": 1, "created_at_utc": m.created_at_utc, "model_name": "demo", "hook_name": "mlp.hook_post",
        "n_layers": m.n_layers, "d_mlp": m.d_mlp, "run_device": "cpu", "model_dtype": "fp32", "save_dtype": "bf16",
        "prepend_bos": True, "activations_file": "activations.pt",
        "prompts": [{k: getattr(p, k) for k in keys} for p in m.prompts],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(record, indent=2))
    return folder


def analysis(run_dir: Path) -> set[str]:
    return {p.name for p in (run_dir / "analysis").iterdir()}


def json_out(capsys) -> dict:
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


@pytest.mark.parametrize("kind", ["run_dir", "run_v1"])
def test_the_documented_commands(kind, request, capsys):
    folder = request.getfixturevalue(kind)
    run = ["--run_dir", str(folder), "--quiet"]
    influence = [*run, "--mode", "influence"]
    assert main(run) == 0
    assert len(read_json(folder, "top_neurons.json")["neurons"]) == 200
    assert main([*run, "--cumulative_threshold", "0.8"]) == 0
    top = read_json(folder, "top_neurons.json")["neurons"]
    assert top[-2]["cumulative_share"] < 0.8 <= top[-1]["cumulative_share"]
    assert main([*influence, "--prompt_id", "0", "--target_mode", "top1_logit", "--target_pos", "-1",
                 "--influence_metric", "act_grad", "--cumulative_threshold", "0.8"]) == 0  # fmt: skip
    assert main([*influence, "--prompt_id", "probe_1_Austin", "--influence_metric", "dla",
                 "--target_mode", "last_token"]) == 0  # fmt: skip
    assert main([*influence, "--prompt_id", "probe_1_Austin", "--influence_metric", "act_grad", "--target_mode",
                 "next_token", "--target_token", " Austin", "--target_pos", "-1"]) == 0  # fmt: skip
    stems = list_influence(folder)
    n = Run.open(folder).prompt("probe_1_Austin").seq_len
    assert [s.rsplit("_tok", 1)[0] for s in stems] == [
        f"influence_probe_1_Austin_act_grad_next_token_pos{n - 1}",
        f"influence_probe_1_Austin_dla_last_token_pos{n - 2}",
        "influence_seed_prompt_act_grad_top1_logit_pos8",
    ]
    for stem in stems:
        assert {f"{stem}{end}" for end in (".json", ".csv", ".parquet", "_meta.json")} <= analysis(folder)
    for page in (folder / "analysis").glob("*.json"):
        json.loads(page.read_text(), parse_constant=pytest.fail)
    assert main([*run, "--mode", "signatures"]) == 0
    assert {"signatures.parquet", "signatures.csv", "groups.json", "signatures_meta.json"} <= analysis(folder)
    names = {g["name"] for g in read_json(folder, "groups.json")["groups"]}
    assert "Say (located)" in names
    null = read_json(folder, "signatures_meta.json")["null"]
    assert null["shuffled"]["n_draws"] == null["other_prompts"]["n_draws"] == 20


# What `--mode peaks` and `--mode signatures` may import: arrays, tables, and the validation of the manifest.
LIGHT = {
    "annotated_types", "charset_normalizer", "cloudpickle", "dateutil", "jaxtyping", "numpy", "pandas", "pyarrow",
    "pydantic", "pydantic_core", "scipy", "six", "typing_extensions", "typing_inspection",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["peaks", "signatures"])
def test_modes_without_a_model_import_no_model_library(run_dir, mode):
    code = (
        "import sys\n"
        "from neuron_signatures.poc2_analyze_run import main\n"
        f"assert main({['--run_dir', str(run_dir), '--quiet', '--mode', mode]!r}) == 0\n"
        "files = {name.split('.')[0]: getattr(m, '__file__', None) or '' for name, m in sys.modules.items()}\n"
        "print(*(name for name, file in files.items() if 'site-packages' in file and name[0] != '_'))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.splitlines()[-1].split())
    assert "numpy" in imported and not imported & {"torch", "transformers", "transformer_lens"}
    assert imported <= LIGHT, imported - LIGHT


def test_dla_is_complete_and_ranks_a_neuron_that_says_austin(run_dir, capsys):
    flags = [*SEED, "--influence_metric", "dla", "--write_scores", "5", "--explicit_tokens", " Austin| Texas"]
    assert main(["--run_dir", str(run_dir), *flags, "--json"]) == 0
    summary = json_out(capsys)
    (metric,) = summary["metrics"]
    record = read_json(run_dir, f"{metric['stem']}_meta.json")
    assert record["completeness"]["relative_error"] < 1e-5
    assert record["target"]["token"]["token"] == " Austin" and record["target"]["token"]["rank"] == 0
    assert record["target"]["token"]["pre_cap_logit"] > record["target"]["token"]["logit"]
    table = read_table(run_dir, metric["stem"])
    assert len(table) == 5 * 512
    csv = pd.read_csv(run_dir / "analysis" / f"{metric['stem']}.csv")
    assert len(csv) == 200 and list(csv["rank"]) == list(range(1, 201))
    assert csv.abs_influence.is_monotonic_decreasing
    scores = read_json(run_dir, f"{metric['stem']}_write_scores.json")["neurons"]
    assert [(w["layer"], w["neuron"]) for w in scores] == list(zip(csv.layer, csv.neuron, strict=True))
    first = scores[0]
    assert [t["token"] for t in first["explicit"]] == [" Austin", " Texas"]
    assert first["explicit"][0]["score"] * first["activation"] == pytest.approx(csv.influence[0], rel=1e-3)
    assert csv.abs_influence[0] == pytest.approx(abs(csv.influence_centred[0]), rel=1e-6)  # by the run's mean


def test_every_metric_and_its_validation(run_dir, capsys):
    flags = [*SEED, "--influence_metric", "all", "--validate", "--sample", "all", "--top_k", "10"]
    assert main(["--run_dir", str(run_dir), *flags, "--quiet"]) == 0
    out = capsys.readouterr().out
    (stem,) = list_validations(run_dir)
    record = read_json(run_dir, f"{stem}.json")
    by_name = {m["metric"]: m for m in record["metrics"]}
    assert set(by_name) == {"dla", "dla_pre_ln2_post", "act_grad", "ig", "relp", "ablation"}
    for m in record["metrics"]:
        assert m["curve"][-1]["faithfulness"] == pytest.approx(1, abs=1e-3)
        assert m["controls"][0]["n_random"] == 1000 and m["controls"][0]["p"] < 0.01
        assert m["metric"] in out
    assert by_name["ablation"]["spearman"] == pytest.approx(1)
    assert record["winner_single"] == "act_grad" and record["analysis_dtype"] == "fp32"
    assert "ablation itself cannot be best" in out and "difference" in record["winner_single_why"]
    assert record["winner_sets"] is None and "not separated" in record["winner_sets_why"]  # four of them are as good
    assert all(m["pearson_low"] is None for m in record["metrics"]) and not record["sampled"]
    assert by_name["act_grad"]["spearman"] > 0.9 and by_name["act_grad"]["cmd"] < 0.1
    control = by_name["dla"]["controls"][0]
    assert control["z"] == pytest.approx((control["observed"] - control["random_mean"]) / control["random_std"])
    assert (run_dir / "analysis" / f"{stem}.png").read_bytes()[:4] == b"\x89PNG"
    curves = read_table(run_dir, stem)
    assert set(curves.metric) == set(by_name)
    act_grad = read_json(run_dir, next(s for s in list_influence(run_dir) if "act_grad" in s) + "_meta.json")
    assert max(c["ratio"] for c in act_grad["cancellation"]) < 1e-2
    assert not act_grad["warnings"]  # scores by the mean do not cancel
    assert main(["--run_dir", str(run_dir), *SEED, "--influence_metric", "act_grad", "--reference", "zero",
                 "--quiet"]) == 0  # fmt: skip
    assert "not shares of the logit" in capsys.readouterr().out


def test_a_forecast_bounds_the_forward_passes(run_dir, caplog, monkeypatch):
    from neuron_signatures.analysis.attribution import stage
    from neuron_signatures.models.suffix import Suffix

    passes, forecasts, run, real = [], [], Suffix.run, stage.forecast

    def counted(self, batch, *args, **kwargs):
        passes.append(batch)
        return run(self, batch, *args, **kwargs)

    def before(*args):
        forecasts.append(real(*args))
        monkeypatch.setattr(Suffix, "run", counted)
        return forecasts[-1]

    monkeypatch.setattr(stage, "forecast", before)
    flags = [*SEED, "--influence_metric", "dla,ig", "--validate", "--sample", "100", "--layers", "3,4"]
    assert main(["--run_dir", str(run_dir), *flags, "--quiet"]) == 0
    (found,) = forecasts
    low, high = found.passes
    few = 4  # the gradients and the prompt itself
    assert low <= len(passes) <= high + few
    assert sum(passes) <= found.plan.ig_points[1] + 2 * found.plan.n_ablated + found.plan.most_sets + few


def test_a_validation_estimates_from_a_sample(run_dir, capsys):
    flags = [*SEED, "--influence_metric", "dla,act_grad", "--validate", "--sample", "300"]
    assert main(["--run_dir", str(run_dir), *flags]) == 0
    streams = capsys.readouterr()
    assert "a sample of 300 of 2560" in streams.out
    assert "forecast: 300 ablations of single neurons, at most" in streams.err
    (stem,) = list_validations(run_dir)
    record = read_json(run_dir, f"{stem}.json")
    assert record["sampled"] and (record["n_measured"], record["n_pairs"]) == (300, 2560)
    assert record["winner_single"] == "act_grad" and len(record["metrics"][0]["cmd_draws"]) == 20
    for m in record["metrics"]:
        assert m["spearman_low"] < m["spearman"] < m["spearman_high"] and m["pearson_low"] < m["pearson"]
    effects = read_table(run_dir, f"{stem}_effects")
    assert len(effects) == 300 and effects.weight.sum() == pytest.approx(2560) and effects.weight.min() == 1
    assert {"layer", "neuron", "ctx_idx", "effect", "dla", "act_grad"} < set(effects.columns)
    ablations = run_dir / "again"
    shutil.copytree(run_dir, ablations)
    assert main(["--run_dir", str(ablations), *SEED, "--influence_metric", "ablation", "--quiet"]) == 0
    full = read_table(ablations, next(s for s in list_influence(ablations) if "_ablation_" in s))
    joined = effects.merge(full, on=["layer", "neuron", "ctx_idx"])
    assert len(joined) == 300 and joined.effect.to_numpy() == pytest.approx(joined.influence_centred, abs=1e-4)
    assert not list((run_dir / "analysis").glob("*_partial.npz"))


def test_write_scores_of_the_highest_peaks(run_dir):
    flags = ["--top_k", "3", "--write_scores", "2", "--explicit_tokens", " Austin"]
    assert main(["--run_dir", str(run_dir), "--quiet", *flags]) == 0
    scores = read_json(run_dir, "top_neurons_write_scores.json")
    top = read_json(run_dir, "top_neurons.json")["neurons"]
    assert [(w["layer"], w["neuron"]) for w in scores["neurons"]] == [(t["layer"], t["neuron"]) for t in top]
    assert all(len(w["promotes"]) == 2 and w["explicit"][0]["token"] == " Austin" for w in scores["neurons"])
    assert scores["prompt_id"] == "seed_prompt" and scores["pos"] == 8


def test_a_foil_a_context_and_another_function_have_separate_files(run_dir):
    run = ["--run_dir", str(run_dir), *SEED, "--quiet", "--influence_metric", "relp"]
    for more in (
        [],
        ["--foil_token", " Sacramento"],
        ["--function", "logprob"],
        ["--ctx_idx", "all"],
        ["--ctx_idx", "2"],
    ):
        assert main([*run, *more]) == 0
    stems = list_influence(run_dir)
    assert len(stems) == 5
    everywhere = read_table(run_dir, next(s for s in stems if s.endswith("ctxall")))
    assert sorted(set(everywhere.ctx_idx)) == list(range(1, 9)) and len(everywhere) == 8 * 2560
    with_foil = next(s for s in stems if "_foil" in s)
    assert read_json(run_dir, f"{with_foil}_meta.json")["target"]["foil"]["token"] == " Sacramento"


def test_ablation_of_candidates_and_of_layers(run_dir, capsys):
    run = ["--run_dir", str(run_dir), *SEED, "--quiet"]
    assert main([*run, "--influence_metric", "dla,ablation", "--top_from", "dla:20"]) == 0
    stem = next(s for s in list_influence(run_dir) if "ablation" in s)
    assert read_table(run_dir, stem).influence_centred.notna().sum() == 20
    assert main([*run, "--influence_metric", "ablation", "--layers", "3,4", "--reference", "zero"]) == 0
    zero = next(s for s in list_influence(run_dir) if s.endswith("ref-zero_layers3-4"))
    assert set(read_table(run_dir, zero).layer) == {3, 4}
    capsys.readouterr()
    assert main([*run, "--influence_metric", "ablation", "--top_from", "dla:20"]) == 2
    assert "--top_from" in capsys.readouterr().err


def test_an_interrupted_ablation_resumes(run_dir, caplog, capsys):
    stop = (
        "import os, signal, sys, neuron_signatures.analysis.attribution.ablated as i\n"
        "real = i.single_ablations\n"
        "def some(*a, **k):\n"
        "    for n, chunk in enumerate(real(*a, **k)):\n"
        "        if n == 20: os.kill(os.getpid(), signal.SIGTERM)\n"
        "        yield chunk\n"
        "i.single_ablations = some\n"
    )
    argv = ["--run_dir", str(run_dir), *SEED, "--influence_metric", "ablation"]
    code = f"{stop}from neuron_signatures.poc2_analyze_run import main\nsys.exit(main({argv!r}))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 75 and "SIGTERM" in done.stderr, done.stderr
    capsys.readouterr()
    assert list_influence(run_dir) == [] and len(list((run_dir / "analysis").glob("*_partial.npz"))) == 1
    assert main([*argv, "--layers", "0"]) == 0  # a separate result, which keeps the unfinished one
    (other,) = list_influence(run_dir)
    assert other.endswith("_layers0") and len(list((run_dir / "analysis").glob("*_partial.npz"))) == 1
    assert main(argv) == 0
    assert "resuming with 1280 of 2560 ablations done" in caplog.text
    assert not list((run_dir / "analysis").glob("*_partial.npz"))
    (stem,) = set(list_influence(run_dir)) - {other}
    resumed = read_table(run_dir, stem)
    shutil.rmtree(run_dir / "analysis")
    assert main(argv) == 0
    assert (resumed.influence_centred - read_table(run_dir, stem).influence_centred).abs().max() < 1e-5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("flags", "needles"),
    [
        (["--target_mode", "next_token", "--target_token", "Austi"], ["is not one token", "'Austi' is", "'·Austi' is"]),
        (["--target_mode", "next_token", "--target_token", " Austin Texas"], ["'·Austin' 704", "is not one token"]),
        (["--target_mode", "next_token"], ["--target_token"]),
        (["--target_token", " Austin"], ["top1_logit"]),
        (["--target_pos", "99"], ["99 is not in a prompt of 9 tokens"]),
        (["--prompt_id", "nobody"], ["no prompt 'nobody'", "seed_prompt"]),
        (["--influence_metric", "magic"], ["'magic'", "dla"]),
        (["--cumulative_threshold", "1.5"], ["1.5 is not in [0, 1]"]),
        (["--ctx_idx", "8", "--target_pos", "3"], ["comes after the target position"]),
        (["--ctx_idx", "x"], ["neither a position nor all"]),
        (["--reference", "median", "--influence_metric", "ig"], ["'median'", "prompt:ID"]),
        (["--reference", "records"], ["no records of a corpus"]),
        (["--explicit_tokens", "Austin Texas", "--write_scores", "3"], ["--explicit_tokens", "is not one token"]),
        (["--layers", "9", "--influence_metric", "ablation"], ["0..4"]),
        (["--target_token_id", "99999", "--target_mode", "next_token"], ["99999"]),
    ],
)
def test_mistakes_give_one_line_and_exit_2_and_write_nothing(made, capsys, flags, needles):
    before = analysis(made) if (made / "analysis").exists() else set()
    assert main(["--run_dir", str(made), "--mode", "influence", "--quiet", *flags]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(n in err for n in needles), err
    assert (analysis(made) if (made / "analysis").exists() else set()) == before


def test_a_column_with_negatives_has_no_shares(run_dir, capsys):
    assert main(["--run_dir", str(run_dir), "--quiet", "--rank_by", "min_act", "--top_k", "5"]) == 0
    assert "selected 5 of 2560 neurons by min_act, - of its total" in capsys.readouterr().out
    assert read_json(run_dir, "top_neurons.json")["neurons"][0]["share"] is None
    assert main(["--run_dir", str(run_dir), "--quiet", "--rank_by", "min_act", "--cumulative_threshold", "0.5"]) == 2


def test_mistakes_of_the_other_modes(made, tmp_path, capsys):
    run = ["--run_dir", str(made), "--quiet"]
    (tmp_path / "bad.json").write_text('{"is": "sideways"}')
    for flags, needle in (
        (["--rank_by", "mode_peak_token"], "not a numeric column"),
        (["--functional_tokens_json", str(tmp_path / "bad.json")], "bad.json"),
        (["--functional_tokens_json", str(tmp_path / "none.json")], "none.json"),
        (["--first_pos", "999"], "no prompt has a token that counts"),
        (["--mode", "signatures", "--seed_prompt", "nobody"], "nobody"),
        (["--mode", "signatures", "--concepts_json", str(tmp_path / "none.json")], "none.json"),
        (["--top_k", "0"], "below 1"),
    ):
        assert main([*run, *flags]) == 2, flags
        err = capsys.readouterr().err
        assert needle in err and err.count("\n") == 1, err
    assert main(["--run_dir", str(tmp_path / "nothing")]) == 3


def test_broken_tensors_are_refused_in_every_mode(run_dir, capsys):
    path = run_dir / "activations.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 4
    path.write_bytes(raw)
    for mode in (["--mode", "peaks"], ["--mode", "signatures"], SEED):
        assert main(["--run_dir", str(run_dir), "--quiet", *mode]) == 3
        err = capsys.readouterr().err
        assert "activations.safetensors" in err and "sha256" in err and err.count("\n") == 1


def test_other_weights_and_another_tokenizer_are_refused(run_dir, tmp_path, capsys):
    shutil.copytree(model_dir(), tmp_path / "tuned")
    weights = load_file(tmp_path / "tuned" / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] *= 1.001
    save_file(weights, tmp_path / "tuned" / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(model_dir(), tmp_path / "renamed")
    tokenizer = json.loads((tmp_path / "renamed" / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["ĠAustin"], vocab["ĠTexas"] = vocab["ĠTexas"], vocab["ĠAustin"]
    (tmp_path / "renamed" / "tokenizer.json").write_text(json.dumps(tokenizer))
    for name, needle in (("tuned", "weights_fingerprint is"), ("renamed", "tokenizer_sha256 is")):
        argv = ["--run_dir", str(run_dir), "--quiet", "--mode", "influence", "--model_name", str(tmp_path / name)]
        assert main(argv) == 3
        err = capsys.readouterr().err
        assert needle in err and err.count("\n") == 1, err
    argv = ["--run_dir", str(run_dir), "--mode", "influence", "--model_name", str(tiny_model_dir("llama"))]
    assert main(argv) == 3


def test_nonfinite_values_are_not_ranked(run_dir, capsys):
    path = run_dir / "activations.safetensors"
    tensors = load_file(path)
    tensors["seed_prompt"][2, 3, 77] = float("nan")
    tensors["seed_prompt"][1, 4, 5] = float("inf")
    save_file(tensors, path)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    manifest["files"] = []
    (run_dir / "manifest.json").write_text(json.dumps(manifest))
    assert main(["--run_dir", str(run_dir), "--quiet"]) == 0
    assert "NaN or infinite" in capsys.readouterr().out
    table = read_table(run_dir, "neurons_aggregated")
    assert table.mean_peak_abs.map(math.isfinite).all()
    assert read_json(run_dir, "analysis_meta.json")["n_nonfinite"] == 2
    assert main(["--run_dir", str(run_dir), "--quiet", "--mode", "signatures"]) == 0
