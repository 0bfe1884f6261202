"""Failures of stage 2: writers that fail between two files, runs without some layers, unsafe names and tokens,
wrong flags. Each case once gave a wrong number, a stale file or a traceback."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from analysis_runs import BOS, make_run, random_acts
from paths import DEMO_RUN
from short_of_memory import ERRORS, short_of_memory

from neuron_signatures.analysis.attribution.candidates import TopFrom, digest
from neuron_signatures.analysis.attribution.file_names import Naming
from neuron_signatures.analysis.attribution.influence import METRICS, InfluenceSettings
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.request import parse_metrics
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.mode_flags import EVERYWHERE, FLAGS, check_flags
from neuron_signatures.analysis.validation.best import Best
from neuron_signatures.analysis.validation.controls import Control
from neuron_signatures.analysis.validation.curves import MetricValidation
from neuron_signatures.analysis.validation.truth import ValidationConfig
from neuron_signatures.analysis.validation.validate import Validation
from neuron_signatures.analysis.validation.writing import draw, table_lines
from neuron_signatures.models.rerun import checked_prompt
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main, make_parser
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.results import ResultsWriter, list_influence, list_validations, open_results, read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table
from neuron_signatures.stats.stratified import Correlations, Estimate
from neuron_signatures.views.lists.list_files import list_refs

SMALL = DEMO_RUN  # stores layers 1, 3 and 4 of 5
SEED = ["--mode", "influence", "--prompt_id", "seed_prompt", "--target_mode", "next_token", "--target_token", " Austin"]
STEM = "seed_prompt_{}_next_token_pos8_tok704_ref-mean"


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """The small committed run without its results."""
    shutil.copytree(SMALL, tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))
    return tmp_path / "run"


def analysis(run_dir: Path) -> set[str]:
    folder = run_dir / "analysis"
    return {p.name for p in folder.iterdir()} if folder.is_dir() else set()


def call(run_dir: Path, *flags: str) -> int:
    return main(["--run_dir", str(run_dir), "--quiet", *flags])


def refused(capsys, run_dir: Path, *flags: str) -> str:
    """The error line of a command that exits with 2 and writes nothing."""
    before = analysis(run_dir)
    assert call(run_dir, *flags) == 2, flags
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and analysis(run_dir) == before, err
    return err


# means over layers that the run does not store


@pytest.mark.parametrize(
    ("flags", "needles"),
    [
        (["--influence_metric", "dla,ig"], ["ig:", "--layers", "--reference zero"]),
        (["--influence_metric", "ig", "--layers", "0,1"], ["ig:", "not finite"]),
        (["--influence_metric", "dla,ablation"], ["ablation:", "--layers", "--reference zero"]),
        (["--influence_metric", "dla", "--validate"], ["ablation:", "--reference zero"]),
    ],
)
def test_a_mean_that_is_undefined_is_refused_before_anything_is_written(run_dir, capsys, flags, needles):
    err = refused(capsys, run_dir, *SEED, *flags)
    assert all(n in err for n in needles), err


def test_a_mean_of_the_stored_layers_is_used(run_dir):
    assert call(run_dir, *SEED, "--influence_metric", "ig", "--layers", "1,3", "--ig_steps", "5") == 0
    (stem,) = list_influence(run_dir)
    assert stem == f"influence_{STEM.format('ig')}_steps5_layers1.3"
    assert read_table(run_dir, stem).influence_centred.notna().all()


def test_neurons_without_a_mean_are_not_ranked(run_dir, capsys):
    assert call(run_dir, *SEED, "--top_k", "2000") == 0
    assert "2 layers have no mean because the run does not store them" in capsys.readouterr().out
    (stem,) = list_influence(run_dir)
    table = read_table(run_dir, stem)
    assert set(table.layer[table.influence_centred.isna()]) == {0, 2} and table.influence.notna().all()
    assert len(pd.read_csv(run_dir / "analysis" / f"{stem}.csv")) == 3 * 512
    assert call(run_dir, *SEED, "--influence_metric", "dla,ablation", "--top_from", "dla:5") == 0
    capsys.readouterr()
    assert call(run_dir, *SEED, "--reference", "zero") == 0
    assert "because the run does not store" not in capsys.readouterr().out


# out of memory


@pytest.mark.parametrize("device", ERRORS)
def test_out_of_memory_ends_with_one_line_and_keeps_finished_metrics(run_dir, capsys, monkeypatch, device):
    real = checked_prompt.load_model
    with contextlib.ExitStack() as stack:

        def load(spec, *, quiet):
            model = real(spec, quiet=quiet)
            stack.enter_context(short_of_memory(model.hf, 0, error=ERRORS[device], gradients=True))
            return model

        monkeypatch.setattr(checked_prompt, "load_model", load)
        assert call(run_dir, *SEED, "--influence_metric", "dla,act_grad") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "out of memory in act_grad with one prompt of 9 tokens" in err, err
    assert "Use a shorter prompt" in err and "--device" in err
    stem = f"influence_{STEM.format('dla')}"
    assert list_influence(run_dir) == [stem] and len(read_table(run_dir, stem))
    assert read_json(run_dir, f"{stem}_meta.json")["metric"] == "dla"


@pytest.mark.parametrize("device", ERRORS)
def test_a_model_that_does_not_fit_ends_with_one_line(run_dir, capsys, monkeypatch, device):
    def from_pretrained(*_, **__):
        raise ERRORS[device]

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", from_pretrained)
    assert call(run_dir, *SEED) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "model demo: out of memory in loading" in err and "--device_map auto" in err, err
    assert ("asked for" in err) == (device != "python") and not analysis(run_dir)


# a writer that fails between two files

FAILING = {
    "peaks": ([], "top_neurons.json", "neurons_aggregated", "analysis_meta.json"),
    "signatures": (["--mode", "signatures"], "groups.json", "signatures", "signatures_meta.json"),
    "influence": (SEED, f"influence_{STEM.format('dla')}.csv", f"influence_{STEM.format('dla')}", None),
    "validation": (
        [*SEED, "--validate", "--layers", "4"], f"validation_{STEM.format('dla')}_layers4.png",
        f"validation_{STEM.format('dla')}_layers4", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILING)
def test_an_interrupted_writer_leaves_no_old_record(run_dir, capsys, what):
    flags, in_the_way, stem, record = FAILING[what]
    assert call(run_dir, *flags) == 0
    record = record or f"{stem}_meta.json"
    assert record in analysis(run_dir)
    obstacle = run_dir / "analysis" / in_the_way
    obstacle.unlink()
    obstacle.mkdir()
    capsys.readouterr()
    assert call(run_dir, *flags) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and in_the_way in err and "--out_dir" not in err and "--resume" not in err, err
    assert record not in analysis(run_dir) and f"{stem}.parquet" in analysis(run_dir)
    assert stem not in {r.stem for r in list_refs(run_dir)} | set(list_validations(run_dir))
    with pytest.raises(UsageError, match="not finished"):
        read_table(run_dir, stem)
    obstacle.rmdir()
    assert call(run_dir, *flags) == 0
    assert len(read_table(run_dir, stem))


def test_write_scores_are_removed_with_their_ranking(run_dir):
    scores = ["--write_scores", "2"]
    for flags, name in ((SEED, f"influence_{STEM.format('dla')}_write_scores.json"),
                        ([], "top_neurons_write_scores.json")):  # fmt: skip
        assert call(run_dir, *flags, *scores, "--top_k", "3") == 0
        assert name in analysis(run_dir)
        assert call(run_dir, *flags, "--per_layer_k", "1") == 0
        assert name not in analysis(run_dir)


def test_a_locked_run_is_reported(run_dir, capsys):
    with open_results(Run.open(run_dir)):
        assert call(run_dir) == 4
    err = capsys.readouterr().err
    assert "another process" in err and "--" not in err and err.count("\n") == 1


# validation at its limits


def test_ablations_without_any_effect_are_reported(run_dir, capsys):
    flags = ["--influence_metric", "act_grad", "--layers", "4", "--ctx_idx", "3", "--validate"]
    assert call(run_dir, *SEED, *flags) == 0
    out = capsys.readouterr().out
    assert "validation: sets are not scored: ablating all neurons lowers the function by" in out
    assert "Try --ctx_idx all, a foil or another --reference" in out and "\nsets " not in out
    (stem,) = list_validations(run_dir)
    record = read_json(run_dir, f"{stem}.json")
    assert not record["sets_scored"] and record["winner_sets"] is None and f"{stem}.png" in analysis(run_dir)
    for m in record["metrics"]:
        assert m["curve"] == m["controls"] == [] and m["cpr"] is m["cmd"] is m["smallest_k"] is None
    assert len(read_table(run_dir, stem)) == 0


def test_sets_are_not_scored_if_ablating_everything_raises_the_function(run_dir, capsys):
    """The neurons lower this difference: the denominator of faithfulness is negative."""
    target = [*SEED[:-1], " Houston", "--foil_token", " Austin"]
    flags = ["--influence_metric", "act_grad", "--layers", "4", "--reference", "zero", "--validate"]
    assert call(run_dir, *target, *flags) == 0
    (stem,) = list_validations(run_dir)
    record = read_json(run_dir, f"{stem}.json")
    assert "sets are not scored: ablating all neurons raises the function by" in capsys.readouterr().out
    assert record["m_full"] < record["m_empty"] and not record["sets_scored"] and record["winner_sets"] is None
    assert record["winner_single"] is None and "the only one compared" in record["winner_single_why"]


MEAN = Reference("mean", "mean", None, 70)


def validation(**changes) -> Validation:
    curve, half = (0.5, 1.0), Correlations(Estimate(0.5, 0.4, 0.6), Estimate(0.5, None, None))
    at = Control(1, 0.5, 0.1, 0.1, 0.0, 0.2, 100, 0, 0.01, 4.0)
    metric = MetricValidation("dla", half, (1, 4), curve, curve, 0.5, 0.5, (0.4, None, 0.6), 2, (at,))
    nobody = Best(None, "nothing is compared")
    found = Validation((0,), (1,), 4, 4, 4, True, 9, 1.0, 0.0, 1.0, (metric,), (), nobody, nobody)
    return replace(found, **changes)


def test_the_tables_give_intervals_and_spreads():
    text = "\n".join(table_lines(validation(), MEAN))
    assert "dla" in text and "0.500 [0.400, 0.600]" in text and "a sample of 4 of 4" in text
    assert "0.141" in text  # the spread of CMD, over the two references with which it is defined


@pytest.mark.parametrize("token", ["$$", "$_$", "$^$", "\x1b[2J", "\n", "\u4e2d\u6587", "\ud83d", "x" * 500])
def test_any_token_can_be_drawn(tmp_path, token):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with (tmp_path / "x.png").open("wb") as f:
            draw(validation(), token, f)
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"


def test_a_validation_without_any_ranking_has_a_table_and_a_figure(tmp_path):
    found = validation(metrics=(), left_out=("ablation",))
    with (tmp_path / "x.png").open("wb") as f:
        draw(found, " Austin", f)
    assert "best: nothing is compared" in table_lines(found, MEAN)


def test_partial_ablations_are_reported(run_dir, capsys):
    flags = ["--influence_metric", "dla,ablation", "--layers", "1,3,4", "--top_from", "dla:20", "--validate"]
    assert call(run_dir, *SEED, *flags) == 0
    out = capsys.readouterr().out
    (stem,) = list_validations(run_dir)
    assert stem == f"validation_{STEM.format('dla-ablation')}_layers1.3-4_top-dla-20"
    record = read_json(run_dir, f"{stem}.json")
    n = record["n_measured"]
    assert 0 < n <= 20 and record["top_from"] == "dla:20" and record["left_out"] == ["ablation"]
    assert [m["metric"] for m in record["metrics"]] == ["dla"] and not record["sampled"]
    assert record["metrics"][0]["spearman_low"] is None  # the first of a ranking are no sample
    assert f", {n} of 1536;" in out and "(--top_from dla:20)" in out


def test_a_sample_of_ablations_is_no_ranking(run_dir, capsys):
    flags = ["--influence_metric", "ablation", "--validate"]
    assert call(run_dir, *SEED, *flags) == 2
    said = capsys.readouterr().err
    assert "Add a metric to --influence_metric, or --sample all" in said and "loading" not in said
    flags = ["--influence_metric", "act_grad,ablation", "--layers", "4", "--validate", "--sample", "100"]
    assert call(run_dir, *SEED, *flags) == 0
    assert [s for s in list_influence(run_dir) if "_ablation_" in s] == []
    (stem,) = list_validations(run_dir)
    assert stem == f"validation_{STEM.format('act_grad-ablation')}_layers4_sample-100"


def test_a_sample_that_is_too_small_or_without_effect_is_refused(run_dir, capsys):
    flags = ["--influence_metric", "act_grad", "--layers", "1,3,4", "--sample", "10"]
    assert call(run_dir, *SEED, *flags, "--validate") == 2
    assert "--sample: 10 is too small a sample of 3 layers. Give at least 16, or all" in capsys.readouterr().err
    assert call(run_dir, *SEED, *flags) == 2
    assert "--sample: has no effect without --validate" in capsys.readouterr().err
    assert call(run_dir, *SEED, *flags, "--validate", "--top_from", "act_grad:5") == 2
    assert "--sample: has no effect with --top_from" in capsys.readouterr().err
    assert call(run_dir, *SEED, "--validate", "--sample", "0") == 2
    assert "neither a number from 1 nor all" in capsys.readouterr().err


# names

SETTINGS = InfluenceSettings(None, 50, 1350, "joint", 64, None, None, 100)
CONFIG = ValidationConfig(2000, 1000, 0, False, 64, 1.0)


def naming(**changes) -> Naming:
    target = Target(8, 704, None, "pre_cap_logit", "next_token")
    settings = replace(SETTINGS, **{k: changes.pop(k) for k in list(changes) if k in SETTINGS.__dict__})
    return replace(Naming("mean", 5, "seed_prompt", target, (8,), settings, None, None), **changes)


def test_default_names():
    assert naming().influence("dla") == f"influence_{STEM.format('dla')}"
    assert naming().validation(METRICS, CONFIG) == f"validation_{STEM.format('all')}"
    assert naming().validation(["dla"], CONFIG) == f"validation_{STEM.format('dla')}"
    assert naming(layers=(0, 1, 2, 3, 4)).influence("ablation") == f"influence_{STEM.format('ablation')}"


@pytest.mark.parametrize(
    ("changes", "metric", "tail"),
    [
        ({"layers": (1, 3, 4)}, "ablation", "layers1.3-4"),
        ({"layers": (0, 1)}, "ig", "layers0-1"),
        ({"ig_steps": 20}, "ig", "steps20"),
        ({"ig_max_steps": 9, "ig_path": "layer"}, "ig", "by-layer_max9"),
        ({"top_from": TopFrom("dla", 20)}, "ablation", "top-dla-20"),
        ({"top_from": TopFrom("ig", 5), "ig_steps": 9}, "ablation", "steps9_top-ig-5"),
        ({"positions": (3,)}, "dla", "ctx3"),
        ({"positions": tuple(range(9))}, "dla", "ctxall"),
        ({"dtype": "bf16"}, "dla", "bf16"),
        # a name has only the settings that the metric depends on
        ({"layers": (1,), "ig_steps": 9, "top_from": TopFrom("dla", 20)}, "dla", ""),
    ],
)
def test_names_contain_settings_that_differ_from_the_default(changes, metric, tail):
    stem = naming(**changes).influence(metric)
    assert stem == f"influence_{STEM.format(metric)}" + (f"_{tail}" if tail else "")


def test_different_validations_have_different_names():
    cases = [
        naming().validation(["dla"], CONFIG),
        naming(reference="zero").validation(["dla"], CONFIG),
        naming(layers=(4,)).validation(["dla"], CONFIG),
        naming(top_from=TopFrom("dla", 3)).validation(["dla"], CONFIG),
        naming(dtype="bf16").validation(["dla"], CONFIG),
        *(
            naming().validation(["dla"], replace(CONFIG, **c))
            for c in (
                {"sample": None},
                {"sample": 500},
                {"signed": True},
                {"seed": 3},
                {"n_random": 2000},
                {"min_effect": 0.5},
            )
        ),
        naming().validation(["dla", "act_grad"], CONFIG),
        naming().validation(["ig"], CONFIG),
        naming(ig_max_steps=9).validation(["ig"], CONFIG),
        naming(ig_path="layer").validation(["ig"], CONFIG),
        naming(ig_steps=9).validation(["ig"], CONFIG),
        naming().validation(METRICS, CONFIG),
    ]
    assert len(set(cases)) == len(cases)
    assert naming().validation(["dla", "act_grad"], CONFIG) == f"validation_{STEM.format('dla-act_grad')}"


def test_a_position_has_one_name(run_dir):
    for ctx in ([], ["--ctx_idx", "8"], ["--ctx_idx", "-1"]):
        assert call(run_dir, *SEED, *ctx) == 0
    assert list_influence(run_dir) == [f"influence_{STEM.format('dla')}"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A format-1 run whose second prompt has an id that is unsafe in paths and on a terminal."""
    folder = tmp_path_factory.mktemp("hostile")
    made = folder / "made"
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps([{"id": "first", "text": "The capital of Texas is"},
                                   {"id": "second", "text": "The capital of Ohio is"}]))  # fmt: skip
    argv = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    assert dump([*argv, "--prompts_json", str(prompts), "--out_dir", str(made)]) == 0
    run = Run.open(made)
    names = {"first": "first", "second": HOSTILE_ID}
    out = folder / "run"
    out.mkdir()
    torch.save({names[p.probe_id]: run.tensor(p.probe_id) for p in run.prompts}, out / "activations.pt")
    keys = ("text", "token_ids", "tokens_ascii", "seq_len", "activation_tensor_shape", "activation_tensor_dtype")
    record = {
        "format_version": 1, "created_at_utc": "2025-01-01T00:00:00Z", "model_name": "demo",
        "hook_name": "mlp.hook_post", "n_layers": 5, "d_mlp": 512, "run_device": "cpu", "model_dtype": "fp32",
        "save_dtype": "bf16", "prepend_bos": True, "activations_file": "activations.pt",
        "prompts": [
            {"probe_id": names[p.probe_id], "activation_tensor_key": names[p.probe_id],
             **{k: getattr(p, k) for k in keys}} for p in run.prompts
        ],
    }  # fmt: skip
    (out / "manifest.json").write_text(json.dumps(record))
    return out


HOSTILE_ID = "a/b\x1b[2J"


def test_prompt_ids_are_escaped_in_names_and_on_the_terminal(hostile, tmp_path, capsys):
    folder = tmp_path / "run\x1b[2J"
    shutil.copytree(hostile, folder)
    flags = ["--mode", "influence", "--influence_metric", "ig", "--ig_steps", "2", "--ig_max_steps", "2"]
    flags += ["--layers", "4"]
    for name in ("1", HOSTILE_ID):
        assert call(folder, *flags, "--reference", f"prompt:{name}") == 0
        assert call(folder, *flags, "--prompt_id", name) == 0
    assert call(folder) == call(folder, "--mode", "signatures") == 0
    assert "\x1b" not in capsys.readouterr().out
    stems = list_influence(folder)
    assert len(stems) == 2 and sum("_ref-prompt-id_a_b" in s for s in stems) == 1
    assert all(s.isascii() and "/" not in s and s.isprintable() for s in stems)


def test_half_a_surrogate_pair_as_a_concept(run_dir, tmp_path):
    concepts = tmp_path / "concepts.json"
    concepts.write_text('["\\ud83d", "Texas"]')
    assert call(run_dir, "--mode", "signatures", "--concepts_json", str(concepts)) == 0
    assert "\\ud83d" in read_json(run_dir, "signatures_meta.json")["concepts"]


# undefined numbers


@pytest.fixture
def with_a_dead_neuron(tmp_path) -> Path:
    prompts = {"a": [BOS, "The", " capital"], "b": [BOS, " of", " Texas"]}
    acts = random_acts(prompts, n_layers=2, d_mlp=4)
    for values in acts.values():
        values[1, :, 2] = np.nan
    return make_run(tmp_path / "dead", prompts, acts).path


def test_a_neuron_without_a_peak_is_shown(with_a_dead_neuron, capsys):
    assert call(with_a_dead_neuron, "--rank_by", "n_nonfinite") == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if "L1N2" in row)
    assert line.split()[:4] == ["1", "L1N2", "-", "-"]


@pytest.mark.parametrize("flags", [["--rank_by", "min_act"], ["--mode", "signatures"], ["--rank_by", "n_nonfinite"]])
def test_the_json_line_is_strict(with_a_dead_neuron, capsys, flags):
    assert call(with_a_dead_neuron, "--json", *flags) == 0
    record = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    if "min_act" in flags:
        assert record["total"] is None


@pytest.mark.parametrize(
    ("flags", "needle"),
    [
        (["--act_threshold", "nan"], "nan is not a finite number"),
        (["--mode", "signatures", "--active_above", "inf"], "inf is not a finite number"),
        (["--mode", "signatures", "--relationship_max_sparsity", "nan"], "not a finite number"),
        (["--mode", "signatures", "--active_share", "nan"], "not in [0, 1]"),
        (["--mode", "signatures", "--say_min_conf", "1.5"], "1.5 is not in [0, 1]"),
        (["--mode", "signatures", "--semantic_max_depth", "-0.1"], "not in [0, 1]"),
        (["--mode", "signatures", "--min_active", "-1"], "-1 is below 0"),
        (["--mode", "signatures", "--target_window", "-1"], "-1 is below 0"),
        (["--mode", "signatures", "--n_null", "0"], "0 is below 1"),
        (["--mode", "signatures", "--max_q", "2"], "not in [0, 1]"),
        (["--mode", "signatures", "--weak_pole", "-0.1"], "not in [0, 1]"),
        (["--mode", "peaks", "--n_null", "3"], "--n_null: has no effect"),
        # flags of another mode
        (["--validate"], "--validate: has no effect with --mode peaks. Use it with --mode influence"),
        (["--influence_metric", "dla"], "--influence_metric: has no effect"),
        (["--mode", "signatures", "--target_token", " Austin"], "--target_token: has no effect"),
        (["--mode", "signatures", "--top_k", "5"], "--top_k: has no effect"),
        (["--mode", "influence", "--first_pos", "0"], "--first_pos: has no effect"),
        (["--explicit_tokens", " Austin"], "unless --write_scores is given"),
        (["--model_name", "demo"], "unless --write_scores is given"),
        # errors found before the first file is written
        (["--write_scores", "2", "--explicit_tokens", "Foo Bar"], "is not one token"),
        (["--write_scores", "2", "--target_pos", "99"], "99 is not in a prompt"),
        (["--mode", "influence", "--layers="], "'' is not a layer"),
        ([*SEED, "--influence_metric", "dla,ablation", "--top_from", "ig:5"], "'ig:5' is not METRIC:K"),
        ([*SEED, "--influence_metric", "dla,ablation", "--top_from", "dla:" + "9" * 5000], "is not METRIC:K"),
        ([*SEED, "--influence_metric", "dla", "--top_from", "dla:5"], "nothing is ablated"),
        ([*SEED, "--influence_metric", "dla,ablation", "--layers", "1", "--top_from", "dla:1"], "no neuron of"),
        ([*SEED, "--influence_metric", "dla,ig", "--reference", "prompt:nobody"], "no prompt 'nobody'"),
        ([*SEED, "--ctx_idx", "99"], "--ctx_idx"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_written(run_dir, capsys, flags, needle):
    assert needle in refused(capsys, run_dir, *flags)


def test_every_flag_belongs_to_a_mode():
    flags = {a.dest for a in make_parser()._actions}
    assert flags == {*EVERYWHERE, *(f for some in FLAGS.values() for f in some)}
    assert make_parser().given(["--run-dir", "x", "--target_pos=-1", "--top_k", "5"]) == {
        "run_dir",
        "target_pos",
        "top_k",
    }
    check_flags("peaks", {"run_dir", "write_scores", "explicit_tokens", "device", "target_pos"})


def test_all_in_a_list_of_metrics_means_all():
    assert parse_metrics("all,dla") == parse_metrics("dla, all") == METRICS
    assert parse_metrics("act_grad,dla") == ("dla", "act_grad")


def test_dla_always_explains_the_pre_cap_logit(run_dir, capsys):
    assert call(run_dir, *SEED, "--influence_metric", "dla,relp", "--function", "logprob") == 0
    assert "not of the logprob" in capsys.readouterr().out
    for metric, function in (("dla", "pre_cap_logit"), ("relp", "logprob")):
        stem = f"influence_{STEM.format(metric)}_logprob"
        target = read_json(run_dir, f"{stem}_meta.json")["target"]
        assert set(read_table(run_dir, stem).function) == {function} == {target["function"]}
        assert (target["value"] == target["token"]["pre_cap_logit"]) == (metric == "dla")


def test_an_unfinished_ablation_of_other_candidates_is_refused_in_a_short_line(tmp_path):
    lists = [[(layer, n) for layer in range(9) for n in range(1000)][start:] for start in (0, 1)]
    writer = ResultsWriter(tmp_path)
    writer.folder.mkdir()
    first, second = (Partial(writer, "x.npz", {"candidates": digest(c)}) for c in lists)
    first.save_now({"done": np.ones(5, bool)})
    with pytest.raises(UsageError, match="candidates was '9000 neurons") as e:
        second.load(max_bytes=1000)
    assert len(e.value.line()) < 400
    assert first.load(max_bytes=1000)["done"].all()
