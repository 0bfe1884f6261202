"""`poc9_compare_runs` from the command line, and its commonest mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from drift_runs import acts, make_run, token_ids
from dump_runs import TEXTS, write_prompts
from dump_runs import flags as dump_flags
from record_runs import make_record_run
from tiny_models import build_model, build_tokenizer, tiny_model_dir

from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc9_compare_runs import main
from neuron_signatures.runs.comparisons import folder as names
from neuron_signatures.runs.comparisons.folder import comparison_folder, list_comparisons
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.run import Run

FAST = ["--n_draws", "20", "--quiet", "--jaccard_k", "3"]
BARE = [*FAST, "--no_weights", "--figures", "none"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three checkpoints of one tiny model, the second between the other two."""
    folder = tmp_path_factory.mktemp("models")
    first, last = (build_model("gemma2", seed=seed) for seed in (0, 1))
    paths = []
    for name, share in (("start", 0.0), ("middle", 0.8), ("end", 1.0)):
        model = build_model("gemma2")
        with torch.no_grad():
            for p, a, b in zip(model.parameters(), first.parameters(), last.parameters(), strict=True):
                p.copy_((1 - share) * a + share * b)
        paths.append(folder / name)
        model.save_pretrained(paths[-1])
        build_tokenizer("gemma2").save_pretrained(paths[-1])
    return paths


def two_runs(folder: Path, **changes) -> list[str]:
    return [str(make_run(folder / "a", acts(0))), str(make_run(folder / "b", acts(1, **changes)))]


def error_of(argv: list[str], capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert main(argv) == code
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1
    return err


def test_checkpoints_are_dumped_compared_and_used_again(models, tmp_path, capsys):
    prompts = write_prompts(tmp_path / "prompts.json")
    argv = ["--checkpoints", ",".join(map(str, models)), "--prompts_json", str(prompts),
            "--out_dir", str(tmp_path / "out"), *FAST]  # fmt: skip
    assert main([*argv, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "dump     start:" in out and "compare  3 runs in 3 pairs" in out and not (tmp_path / "out").exists()
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "debiased linear CKA to end" in out and "smallest Pearson" in out and "permuted indices" in out
    run = tmp_path / "out" / "end"
    assert list_comparisons(run) == ["start_middle_vs_end"]
    folder = comparison_folder("start_middle_vs_end")
    for stem, table in names.TABLES.items():
        found = folder.read_table(run, stem)
        assert list(found.columns) == list(table.columns)
        assert not np.isinf(found.select_dtypes(np.number).to_numpy(np.float64, na_value=np.nan)).any()
    drift, models_table = folder.read_table(run, names.DRIFT), folder.read_table(run, names.MODELS)
    assert set(map(tuple, drift[["a", "b"]].to_numpy().tolist())) == {(0, 2), (1, 2), (0, 1)}
    assert drift[["cos_in", "cos_gate", "cos_out", "norm_ratio_out"]].notna().all().all()
    near, far = (drift[(drift["a"] == a) & (drift["b"] == 2)] for a in (1, 0))
    assert near["pearson"].median() > far["pearson"].median() + 0.3
    assert near["cos_in"].median() > 0.9 > 0.3 > abs(far["cos_in"].median())
    whole = models_table[(models_table["layer"] == -1) & (models_table["b"] == 2)].set_index("a")["debiased_cka"]
    assert whole[1] > whole[0]
    assert folder.read_table(run, names.CHECKPOINTS)["loss"].notna().all()
    page = (run / "comparisons" / "start_middle_vs_end" / "drift.html").read_text()
    assert page.startswith("<!doctype html>") and "http" not in page.split("<body>")[1]
    assert (run / "comparisons" / "start_middle_vs_end" / "figures" / "cka.png").is_file()
    before = (tmp_path / "out" / "start" / "manifest.json").read_bytes()
    shutil.rmtree(run / "comparisons")
    assert main([*argv, "--json", "--figures", "none", "--no_matches"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["name"] == "start_middle_vs_end" and record["facts"]["n_tokens"] > 10
    assert (tmp_path / "out" / "start" / "manifest.json").read_bytes() == before
    other = write_prompts(tmp_path / "prompts.json", TEXTS[:3])
    err = error_of([*argv[:3], str(other), *argv[4:]], capsys, 2)
    assert "n_prompts was" in err and "another --out_dir" in err


def test_a_run_with_itself_is_exactly_one(models, tmp_path, capsys):
    prompts = write_prompts(tmp_path / "prompts.json")
    run = tmp_path / "run"
    assert dump(["--model_name", str(models[0]), "--model_dtype", "fp32", "--prompts_json", str(prompts),
                 "--out_dir", str(run), "--quiet", "--device", "cpu"]) == 0  # fmt: skip
    assert main(["--runs", str(run), str(run), "--name", "self", *FAST, "--figures", "none"]) == 0
    folder = comparison_folder("self")
    drift = folder.read_table(run, names.DRIFT)
    ones = ["pearson", "jaccard", "cos_in", "cos_gate", "cos_out", "norm_ratio_in", "norm_ratio_out"]
    assert (drift[ones] == 1).all().all() and (drift[["mean_z", "std_z"]] == 0).all().all()
    found = folder.read_table(run, names.MODELS)
    assert (found[["cka", "debiased_cka"]] == 1).all().all()
    assert (found["null_mean"].abs() < 4 * found["null_sd"] / np.sqrt(20) + 0.02).all()
    matches = folder.read_table(run, names.MATCHES)
    assert (matches["best_neuron"] == matches["neuron"]).all() and (matches["same_index_rank"] == 1).all()
    facts = folder.read_record(run, names.COMPARISON).facts["pairs"][0]
    null = facts["pearson_permuted_indices"]
    assert abs(null["mean"]) < 0.1 and null["n_draws"] == 20 and facts["pearson"]["mean"] == 1
    assert folder.read_table(run, names.CHECKPOINTS)["label"].tolist() == ["run", "run-2"]


def test_the_same_seed_gives_the_same_tables(tmp_path):
    runs = two_runs(tmp_path)
    for name in ("x", "y"):
        assert main(["--runs", *runs, "--name", name, *BARE]) == 0
    first, second = (
        [comparison_folder(n).read_table(tmp_path / "b", s) for s in names.TABLES] for n in ("x", "y")
    )  # fmt: skip
    assert all(a.equals(b) for a, b in zip(first, second, strict=True))


def test_other_widths_leave_cka_and_matches(tmp_path, capsys):
    runs = two_runs(tmp_path, d_mlp=7)
    assert main(["--runs", *runs, *BARE]) == 0
    folder, run = comparison_folder("a_vs_b"), tmp_path / "b"
    assert len(folder.read_table(run, names.DRIFT)) == 0
    assert folder.read_table(run, names.MODELS)["debiased_cka"].notna().all()
    matches = folder.read_table(run, names.MATCHES)
    assert len(matches) == 14 and matches["same_index_rank"].isna().all()
    assert "no comparison by index" in capsys.readouterr().out
    assert not (run / "comparisons" / "a_vs_b" / "drift.html").exists()


def test_left_out_prompts_are_printed_and_in_the_table(tmp_path, capsys):
    ids = {**token_ids(), "p3": [0, 1, 2, 3, 4, 999]}
    runs = [str(make_run(tmp_path / "a", acts(0), ids=ids)), str(make_run(tmp_path / "b", acts(1)))]
    assert main(["--runs", *runs, *BARE]) == 0
    assert "a: prompt p3 other token ids" in capsys.readouterr().out
    table = comparison_folder("a_vs_b").read_table(tmp_path / "b", names.UNALIGNED)
    assert table.values.tolist() == [[0, "prompt", "p3", "other token ids"]]


def test_few_prompts_have_no_z_and_no_interval(tmp_path, capsys):
    runs = two_runs(tmp_path)
    few = [str(make_run(tmp_path / f"few{i}", {k: v for k, v in acts(i).items() if k < "p3"})) for i in range(2)]
    assert main(["--runs", *few, *BARE]) == 0
    assert "3 prompts are too few for intervals" in capsys.readouterr().out
    folder = comparison_folder("few0_vs_few1")
    assert folder.read_table(Path(few[1]), names.DRIFT)["mean_z"].isna().all()
    assert folder.read_table(Path(few[1]), names.MODELS)["low"].isna().all()
    assert runs


def test_another_reference_and_its_label(tmp_path, capsys):
    runs = two_runs(tmp_path)
    assert main(["--runs", *runs, "--reference", "a", *BARE]) == 0
    assert list_comparisons(tmp_path / "a") == ["b_vs_a"]
    assert "The labels are a, b" in error_of(["--runs", *runs, "--reference", "c", *BARE], capsys, 2)


def test_one_run_is_not_enough(tmp_path, capsys):
    assert "needs at least two runs" in error_of(["--runs", two_runs(tmp_path)[0]], capsys, 2)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--runs", "a", "b", "--save_dtype", "bf16"], "--save_dtype: has no effect with --runs"),
        (["--checkpoints", "demo", "--out_dir", "x"], "--prompts_json: is needed"),
        (["--checkpoints", "one", "--out_dir", "x", "--prompts_json", "p"], "needs at least two"),
        (["--checkpoints", "", "--out_dir", "x", "--prompts_json", "p"], "--checkpoints: needs at least two"),
        (["--model_revisions", "a,b", "--out_dir", "x", "--prompts_json", "p"], "go together"),
        (["--checkpoints", "demo", "--from", "records"], "needs --runs"),
        (["--runs", "a", "b", "--from", "records", "--cka_tokens", "9"], "no effect with --from records"),
        (["--runs", "a", "b", "--name", "../x"], "does not match"),
        (["--runs", "a", "b"], "there is no such run folder"),
    ],
)
def test_mistakes(argv, message, capsys):
    assert message in error_of(argv, capsys, 3 if "no such run" in message else 2)


def test_a_locked_reference_is_refused_and_the_other_run_is_not_locked(tmp_path, capsys):
    runs = two_runs(tmp_path)
    with run_lock(tmp_path / "b"):
        assert "another process is writing" in error_of(["--runs", *runs, *BARE], capsys, 4)
    with run_lock(tmp_path / "a"):
        assert main(["--runs", *runs, *BARE]) == 0


def test_a_damaged_run_is_refused(tmp_path, capsys):
    runs = two_runs(tmp_path)
    file = tmp_path / "a" / "activations.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    assert "truncated" in error_of(["--runs", *runs, *BARE], capsys, 3)
    assert not list_comparisons(tmp_path / "b")


def test_a_comparison_without_its_record_is_refused(tmp_path, capsys):
    runs = two_runs(tmp_path)
    assert main(["--runs", *runs, *BARE]) == 0
    record = tmp_path / "b" / "comparisons" / "a_vs_b" / "comparison_meta.json"
    record.unlink()
    with pytest.raises(UsageError, match="has not been made yet"):
        comparison_folder("a_vs_b").read_table(tmp_path / "b", names.DRIFT)
    assert list_comparisons(tmp_path / "b") == []


def test_a_model_that_is_gone_points_to_no_weights(tmp_path, capsys):
    err = error_of(["--runs", *two_runs(tmp_path), *FAST], capsys, 1)
    assert "--no_weights" in err


def test_another_tokenizer_is_refused(tmp_path, capsys):
    for model in ("gemma2", "gpt2"):
        assert dump(dump_flags(tmp_path, model=model, out=model)) == 0
    capsys.readouterr()
    err = error_of(["--runs", str(tmp_path / "gemma2"), str(tmp_path / "gpt2"), *BARE], capsys, 2)
    assert "token ids of all 7 prompts" in err and tiny_model_dir("gpt2").exists()


def test_records_of_the_same_corpus(tmp_path, capsys):
    a, b = (make_record_run(tmp_path / name, chosen=[(0, 0), (1, 3)]) for name in "ab")
    argv = ["--runs", str(a), str(b), "--from", "records", *FAST, "--figures", "png"]
    assert main(argv) == 0
    folder = comparison_folder("a_vs_b")
    drift = folder.read_table(b, names.DRIFT)
    assert (drift["jaccard"].dropna() == 1).all() and (drift["mean_a"] == drift["mean_b"]).all()
    assert drift[drift["pearson"].notna()][["layer", "neuron"]].to_numpy().tolist() == [[0, 0], [1, 3]]
    assert (drift["pearson"].dropna() == 1).all() and drift["rate_a"].between(0, 1).all()
    assert folder.read_record(b, names.COMPARISON).facts["parts"] == ["explain", "select"]
    assert (b / "comparisons" / "a_vs_b" / "drift.html").is_file()
    assert "Jaccard" in capsys.readouterr().out
    assert "the records keep 10 windows" in error_of([*argv, "--jaccard_k", "11"], capsys, 2)


def test_records_of_another_corpus_are_refused(tmp_path, capsys):
    a, b = make_record_run(tmp_path / "a", seed=0), make_record_run(tmp_path / "b", seed=1)
    err = error_of(["--runs", str(a), str(b), "--from", "records", *FAST], capsys, 2)
    assert "records are of another corpus" in err
    make_run(tmp_path / "c", acts(0))
    err = error_of(["--runs", str(tmp_path / "c"), str(b), "--from", "records", *FAST], capsys, 2)
    assert "has not been made yet" in err


def test_checkpoints_are_dumped_with_the_prompts_of_a_run(models, tmp_path, capsys):
    prompts, run = write_prompts(tmp_path / "prompts.json"), tmp_path / "run"
    assert dump(["--model_name", str(models[2]), "--prompts_json", str(prompts), "--out_dir", str(run), "--quiet",
                 "--model_dtype", "fp32", "--save_dtype", "fp32", "--device", "cpu", "--layers", "0"]) == 0  # fmt: skip
    argv = ["--run_dir", str(run), "--checkpoints", f"{models[0]},{models[1]}", *BARE]
    assert main(argv) == 0
    assert "debiased linear CKA to run" in capsys.readouterr().out
    assert list_comparisons(run) == ["start_middle_vs_run"]
    folder = comparison_folder("start_middle_vs_run")
    assert folder.read_table(run, names.CHECKPOINTS)["label"].tolist() == ["start", "middle", "run"]
    assert folder.read_table(run, names.UNALIGNED).empty
    with Run.open(tmp_path / "run-checkpoints" / "start") as one, Run.open(run) as other:
        assert one.manifest.layers == other.manifest.layers == [0]
        assert [p.token_ids for p in one.prompts] == [p.token_ids for p in other.prompts]
    for flag in ("--prompts_json", "--reference", "--save_dtype"):
        value = "fp32" if flag == "--save_dtype" else "run"
        assert f"{flag}: is th" in error_of([*argv, flag, value], capsys, 2)


def test_a_run_without_prompts_has_none_for_checkpoints(models, tmp_path, capsys):
    run = make_record_run(tmp_path / "records")
    argv = ["--run_dir", str(run), "--checkpoints", str(models[0]), *BARE]
    assert "has no prompts with which checkpoints could be dumped" in error_of(argv, capsys, 2)
