"""Stage 2 by one reference: the same for every metric and for the ablations, named in every result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from paths import DEMO_RUN

from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, check_prompt
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.results import list_influence, list_validations, read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table
from neuron_signatures.stats.correlation import spearman
from neuron_signatures.views.lists.list_files import list_refs, read_list

METRICS = ("dla", "dla_pre_ln2_post", "act_grad", "ig", "relp", "ablation")
PER_ACT = {"dla": "w_to_logit", "dla_pre_ln2_post": "w_to_logit", "act_grad": "grad", "relp": "grad"}
# reference, its part of file names
REFERENCES = {"mean": "mean", "zero": "zero", "prompt:probe_1_Austin": "prompt-probe_1_Austin"}
SEED = ["--mode", "influence", "--prompt_id", "seed_prompt", "--target_mode", "next_token", "--target_token", " Austin"]
LAYERS = (3, 4)
POS = 8

Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small committed run without its results."""
    folder = tmp_path_factory.mktemp("references") / "run"
    shutil.copytree(DEMO_RUN, folder, ignore=shutil.ignore_patterns("analysis"))
    return folder


@pytest.fixture(scope="module")
def tables(run_dir: Path) -> Callable[[str], Tables]:
    """The tables of every metric by a reference, all neurons of `LAYERS`."""

    @cache
    def compute(reference: str) -> Tables:
        flags = [*SEED, "--influence_metric", "all", "--layers", "3,4", "--ig_max_steps", "50"]
        assert main(["--run_dir", str(run_dir), "--quiet", *flags, "--reference", reference]) == 0
        found = {}
        for metric in METRICS:
            table = read_table(run_dir, stem_of(run_dir, metric, REFERENCES[reference]))
            found[metric] = table[table.layer.isin(LAYERS)].reset_index(drop=True)
        return found

    return compute


def stem_of(run_dir: Path, metric: str, label: str) -> str:
    start = f"influence_seed_prompt_{metric}_next_token_pos8_tok704_ref-{label}"
    (stem,) = [s for s in list_influence(run_dir) if s.startswith(start)]
    return stem


def reference_values(run_dir: Path, reference: str) -> np.ndarray:
    """The reference of every neuron of `LAYERS`, computed here."""
    run = Run.open(run_dir)
    if reference.startswith("prompt:"):
        source = check_prompt(run, reference.removeprefix("prompt:"), ModelOverrides(dtype="fp32", device="cpu"))
        return source.acts[list(LAYERS), POS + source.prompt.seq_len - run.prompt("seed_prompt").seq_len].numpy()
    if reference == "zero":
        return np.zeros((len(LAYERS), run.manifest.d_mlp))
    counted = [run.acts(p, layer=layer)[1:] for layer in LAYERS for p in run.prompts]
    per_layer = np.split(np.array([len(c) for c in counted]), len(LAYERS))
    assert all(n.sum() == run.manifest.n_tokens - run.manifest.n_prompts for n in per_layer)
    half = len(run.prompts)
    return np.stack([np.concatenate(counted[:half]).mean(0), np.concatenate(counted[half:]).mean(0)])


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_metric_has_the_sign_of_real_ablations(tables: Callable[[str], Tables], reference: str) -> None:
    found = tables(reference)
    column = "influence" if reference == "zero" else "influence_centred"
    truth = found["ablation"][column].to_numpy()
    for metric in METRICS:
        rank = spearman(found[metric][column].to_numpy(np.float64), truth.astype(np.float64))
        assert rank is not None and rank > 0.2, metric
    strongest = np.argsort(-np.abs(truth))[:20]
    agree = np.sign(found["act_grad"][column].to_numpy()[strongest]) == np.sign(truth[strongest])
    assert agree.mean() >= 0.9


@pytest.mark.parametrize("reference", REFERENCES)
def test_linear_metrics_have_both_columns(run_dir: Path, tables: Callable[[str], Tables], reference: str) -> None:
    """Whatever the reference, `influence` is by zero; with zero, `influence_centred` is by the mean."""
    values = reference_values(run_dir, "mean" if reference == "zero" else reference).reshape(-1)
    for metric, column in PER_ACT.items():
        table = tables(reference)[metric]
        np.testing.assert_allclose(table.influence, table.activation * table[column], rtol=1e-4, atol=1e-6)
        want = (table.activation - values) * table[column]
        np.testing.assert_allclose(table.influence_centred, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("reference", REFERENCES)
def test_ig_and_ablation_fill_the_column_of_their_reference(tables: Callable[[str], Tables], reference: str) -> None:
    own, other = ("influence", "influence_centred") if reference == "zero" else ("influence_centred", "influence")
    for metric in ("ig", "ablation"):
        table = tables(reference)[metric]
        assert table[own].notna().all() and table[other].isna().all()


@pytest.mark.parametrize("reference", REFERENCES)
def test_results_name_their_reference_and_are_ordered_by_it(
    run_dir: Path, tables: Callable[[str], Tables], reference: str
) -> None:
    column = "influence" if reference == "zero" else "influence_centred"
    for metric in METRICS:
        assert set(tables(reference)[metric].reference) == {reference}
        stem = stem_of(run_dir, metric, REFERENCES[reference])
        record = read_json(run_dir, f"{stem}_meta.json")
        assert (record["reference"], record["score_column"]) == (reference, column)
        assert record["settings"]["reference"] == reference
        assert record["reference_tokens"] == (None if reference.startswith("prompt:") else 70)
        rows = pd.read_csv(run_dir / "analysis" / f"{stem}.csv")
        np.testing.assert_allclose(rows.abs_influence, rows[column].abs(), rtol=1e-6)
        assert rows.abs_influence.is_monotonic_decreasing
        total = read_table(run_dir, stem)[column].abs().sum()
        np.testing.assert_allclose(rows.share, rows.abs_influence / total, rtol=1e-4)
        np.testing.assert_allclose(rows.cumulative_share, rows.share.cumsum(), rtol=1e-4)


@pytest.mark.parametrize("reference", REFERENCES)
def test_viewers_rank_by_the_reference(run_dir: Path, tables: Callable[[str], Tables], reference: str) -> None:
    tables(reference)
    stem = stem_of(run_dir, "dla", REFERENCES[reference])
    (ref,) = [r for r in list_refs(run_dir) if r.stem == stem]
    assert ref.title.startswith(f"dla by {reference} → ")
    ranked = read_list(run_dir, ref)
    column = "influence" if reference == "zero" else "influence_centred"
    table = read_table(run_dir, stem).set_index(["layer", "neuron"])[column]
    np.testing.assert_array_equal(
        ranked.score[:50], table.loc[list(zip(ranked.layer, ranked.neuron, strict=True))][:50]
    )
    assert (np.diff(np.abs(ranked.score[np.isfinite(ranked.score)])) <= 0).all()


def test_the_reference_of_linear_metrics_changes_one_column_only(tables: Callable[[str], Tables]) -> None:
    for metric in PER_ACT:
        mean, zero, prompt = (tables(r)[metric] for r in REFERENCES)
        assert mean.influence.equals(zero.influence) and mean.influence.equals(prompt.influence)
        assert mean.influence_centred.equals(zero.influence_centred)
        assert not mean.abs_influence.equals(zero.abs_influence)


def test_dla_and_its_reference_are_complete(run_dir: Path, tables: Callable[[str], Tables]) -> None:
    tables("prompt:probe_1_Austin")
    stem = stem_of(run_dir, "dla", REFERENCES["prompt:probe_1_Austin"])
    c = read_json(run_dir, f"{stem}_meta.json")["completeness"]
    parts = [c["embed"], *c["attn"], *c["neurons_centred"], *c["reference"], *c["mlp_bias"], c["constants"]]
    assert sum(parts) == pytest.approx(c["logit"], rel=1e-5)
    per_layer = read_table(run_dir, stem).groupby("layer").influence_centred.sum()
    np.testing.assert_allclose(per_layer, c["neurons_centred"], rtol=1e-4, atol=1e-4)


def test_validation_and_ig_compare_with_the_same_values(run_dir: Path) -> None:
    """m(M) - m(empty) of the sets is F(a) - F(ā) of the joint path over the same neurons."""
    flags = [*SEED, "--influence_metric", "ig", "--layers", "4", "--ig_max_steps", "50", "--validate"]
    for reference in ("mean", "prompt:3"):
        assert main(["--run_dir", str(run_dir), "--quiet", *flags, "--reference", reference]) == 0
        name = reference if reference == "mean" else f"prompt:{Run.open(run_dir).prompts[3].probe_id}"
        (stem,) = [s for s in list_validations(run_dir) if name.replace(":", "-") in s]
        record = read_json(run_dir, f"{stem}.json")
        (ig,) = [
            r for s in list_influence(run_dir)
            if (r := read_json(run_dir, f"{s}_meta.json"))["metric"] == "ig" and r["reference"] == name
            and r["settings"]["layers"] == [4]
        ]  # fmt: skip
        (path,) = ig["path_sums"]
        assert record["reference"] == name and name in record["truth"]
        assert record["m_full"] - record["m_empty"] == pytest.approx(path["difference"], abs=1e-4)
        assert set(read_table(run_dir, stem).reference) == {name}


def test_ig_from_zero_says_that_its_scores_do_not_sum_up(
    run_dir: Path, tables: Callable[[str], Tables], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*SEED, "--influence_metric", "ig", "--ig_steps", "4", "--ig_max_steps", "40", "--reference", "zero"]
    assert main(["--run_dir", str(run_dir), "--quiet", *flags]) == 0
    out = capsys.readouterr().out
    assert "the scores sum to" in out and "f changes by" in out and "36 steps" in out and "a larger ig_max_steps" in out
    (stem,) = [s for s in list_influence(run_dir) if s.endswith("steps4_max40")]
    record = read_json(run_dir, f"{stem}_meta.json")
    (path,) = record["path_sums"]
    assert not path["converged"] and path["residual"] > 0.02 and "the scores sum to" in " ".join(record["warnings"])
    assert not any("the scores sum to" in w for w in read_json(
        run_dir, f"{stem_of(run_dir, 'dla', 'zero')}_meta.json")["warnings"])  # fmt: skip


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one prompt, in bf16."""
    folder = tmp_path_factory.mktemp("single") / "run"
    flags = ["--model_name", "demo", "--model_dtype", "bf16", "--device", "cpu", "--quiet"]
    assert dump([*flags, "--single_prompt", "The capital of Texas is", "--out_dir", str(folder)]) == 0
    return folder


def test_a_run_of_one_prompt_has_zero_as_its_reference(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run_dir", str(single), "--mode", "influence", "--quiet", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.count("fewer than 64") == said.out.count("--reference run:DIR") == 1
    summary = json.loads(said.out)
    assert (summary["reference"], summary["score_column"], summary["centred_on"]) == ("zero", "influence", None)
    (metric,) = summary["metrics"]
    assert "_ref-zero" in metric["stem"]
    record = read_json(single, f"{metric['stem']}_meta.json")
    assert sum("fewer than 64" in w for w in record["warnings"]) == 1
    assert read_table(single, metric["stem"]).influence_centred.isna().all()
    assert record["completeness"]["reference"] is None


def test_a_mean_over_one_prompt_is_refused(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["--run_dir", str(single), "--mode", "influence", "--quiet", "--reference", "mean"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--min_mean_tokens" in err and "run:DIR" in err


def test_the_mean_of_a_larger_run_is_used(single: Path, run_dir: Path) -> None:
    flags = ["--mode", "influence", "--quiet", "--reference", f"run:{run_dir}"]
    assert main(["--run_dir", str(single), *flags]) == 0
    (stem,) = [s for s in list_influence(single) if "_ref-run-run-" in s]
    record = read_json(single, f"{stem}_meta.json")
    assert (record["reference"], record["reference_tokens"]) == ("run:run", 70)
    assert record["reference_run"]["n_prompts"] == 8
    assert any("layers have no run:run" in w for w in record["warnings"])  # layers 0 and 2 are not stored there
    table = read_table(single, stem)
    assert set(table.layer[table.influence_centred.isna()]) == {0, 2}
    stored = table[table.layer.isin(LAYERS)]
    want = (stored.activation - reference_values(run_dir, "mean").reshape(-1)) * stored.w_to_logit
    np.testing.assert_allclose(stored.influence_centred, want, rtol=1e-3, atol=1e-4)


def test_results_in_another_precision_have_another_name(single: Path) -> None:
    flags = ["--run_dir", str(single), "--mode", "influence", "--quiet", "--target_pos", "3"]
    assert main(flags) == 0
    assert main([*flags, "--validate", "--layers", "4"]) == 0
    stems = [s for s in list_influence(single) if "_dla_" in s and "_pos3_" in s]
    assert len(stems) == 2 and stems[1] == f"{stems[0]}_fp32"
    assert [read_json(single, f"{s}_meta.json")["analysis_dtype"] for s in stems] == ["bf16", "fp32"]


@pytest.mark.parametrize("flag", ["--baseline", "--ablate_with", "--act-grad-source"])
def test_the_flags_before_it_name_it(run_dir: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main(["--run_dir", str(run_dir), *SEED, flag, "zero"]) == 2
    err = capsys.readouterr().err
    name = flag.replace("--act-grad-source", "--act_grad_source")
    assert err.count("\n") == 1 and f"{name} no longer exists; use --reference" in err


def test_a_token_whose_twin_is_likelier_gives_a_question(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--run_dir", str(run_dir), "--quiet", *SEED[:-1]]
    assert main([*flags, "Austin"]) == 0
    assert "did you mean ' Austin' (0.995)?" in capsys.readouterr().out
    (stem,) = [s for s in list_influence(run_dir) if "_tok2616_" in s]
    assert "did you mean" in " ".join(read_json(run_dir, f"{stem}_meta.json")["warnings"])
    assert main([*flags, " Austin"]) == 0
    assert "did you mean" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ['\\" Austin\\"', '" Austin"', "' Austin'"])
def test_quotes_around_a_token_are_taken_as_quotes(
    run_dir: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert main(["--run_dir", str(run_dir), "--quiet", "--json", *SEED[:-1], text]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["target"]["token"]["token"] == " Austin"
    assert said.err.count("\n") == 1 and "the quotes around" in said.err


def test_ten_neurons_are_printed_with_what_they_write_and_their_names(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run_dir", str(run_dir), "--quiet", "--mode", "signatures"]) == 0
    capsys.readouterr()
    assert main(["--run_dir", str(run_dir), "--quiet", "--json", *SEED]) == 0
    first = json.loads(capsys.readouterr().out)["metrics"][0]["first"]
    assert main(["--run_dir", str(run_dir), "--quiet", *SEED]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  L")]
    assert len(first) == len(lines) == 10
    signatures = read_table(run_dir, "signatures")
    rows = pd.read_csv(run_dir / "analysis" / f"{stem_of(run_dir, 'dla', 'mean')}.csv")
    for neuron, line, (_, row) in zip(first, lines, rows.head(10).iterrows(), strict=True):
        assert (neuron["layer"], neuron["neuron"]) == (row.layer, row.neuron)
        assert neuron["score"] == pytest.approx(row.influence_centred, rel=1e-5)
        assert len(neuron["writes"]) == 3 and line.startswith(f"  L{row.layer}N{row.neuron} ")
        pole = "+" if row.activation >= 0 else "-"
        own = (signatures.layer == row.layer) & (signatures.neuron == row.neuron) & (signatures.pole == pole)

        named = signatures.loc[own, "name"].dropna().tolist()
        assert neuron["name"] == (named[0] if named else None) and (not named or named[0] in line)
    assert " Austin" in first[0]["writes"] and all(
        (" lowers " in line) == (n["score"] < 0) for n, line in zip(first, lines, strict=True)
    )


@pytest.mark.parametrize("reference", ["mean", "zero"])
def test_what_a_neuron_writes_is_by_its_distance_from_the_reference(
    run_dir: Path, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    flags = [*SEED, "--influence_metric", "act_grad", "--write_scores", "3", "--reference", reference, "--json"]
    capsys.readouterr()
    assert main(["--run_dir", str(run_dir), "--quiet", *flags]) == 0
    (metric,) = json.loads(capsys.readouterr().out)["metrics"]
    every = read_json(run_dir, f"{metric['stem']}_write_scores.json")["neurons"]
    scores = {(w["layer"], w["neuron"]): w for w in every}
    assert any(n["activation"] * (n["activation"] - n["reference"]) < 0 for n in metric["first"]) == (
        reference == "mean"
    )
    for n in metric["first"]:
        ways = ["promotes", "suppresses"] if n["activation"] > n["reference"] else ["suppresses", "promotes"]
        raised, lowered = ([t["token"] for t in scores[n["layer"], n["neuron"]][way]] for way in ways)
        assert n["writes"] == raised and n["lowers"] == lowered
        assert (n["reference"] == 0) == (reference == "zero")
