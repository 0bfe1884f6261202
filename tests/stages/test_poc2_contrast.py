"""`--mode contrast` end to end on the demo run: the neuron that says a capital, files, readers, mistakes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from paths import ROOT

from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.__main__ import main as runs
from neuron_signatures.runs.results import list_contrasts, read_json
from neuron_signatures.runs.tables import read_table
from neuron_signatures.runs.tokens import visible
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.neurons.writes import writes_of

CAPITAL = ["--mode", "contrast", "--a", "concepts=capital@token: is", "--rank_by", "difference"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("contrast") / "made"
    argv = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    prompts = str(ROOT / "docs" / "probe_prompts_list.json")
    assert dump([*argv, "--prompts_json", prompts, "--out_dir", str(run_dir)]) == 0
    return run_dir


@pytest.fixture
def run_dir(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def test_one_command_finds_the_neuron_that_says_a_capital(run_dir, capsys):
    assert main(["--run_dir", str(run_dir), *CAPITAL]) == 0
    out = capsys.readouterr().out
    first = out.splitlines()[6]
    assert first.startswith("L1N440-") and "0.014" in first
    assert "neurons with q <= 0.05; shuffled labels give" in out and "8 prompts, 9 positions" in out
    (stem,) = list_contrasts(run_dir)
    table = read_table(run_dir, stem).set_index(["layer", "neuron"])
    assert len(table) == 5 * 512 and table.loc[(1, 440), "q"] <= 0.05
    assert len(pd.read_csv(run_dir / "analysis" / f"{stem}.csv")) == 200
    details = read_json(run_dir, f"{stem}.json")
    assert details["neurons"][0]["neuron"] == 440
    assert {"prompt": "probe_5_Texas", "positions": [7, 9]} in details["a"]


def test_each_neuron_shows_what_it_writes(run_dir, capsys):
    """The stronger direction, with the sign of the pole; before write scores exist, one command that makes them."""
    argv = ["--run_dir", str(run_dir), "--quiet"]
    assert main([*argv, *CAPITAL]) == 0
    hint = f"what the neurons write, from the weights: python -m neuron_signatures.poc2_analyze_run --run_dir {run_dir}"
    out = capsys.readouterr().out
    assert out.count(f"note     {hint} --mode write_scores\n") == 1 and "what it writes" not in out
    assert main([*argv, "--mode", "write_scores", "--layers", "1"]) == 0
    capsys.readouterr()
    assert main([*argv, *CAPITAL]) == 0
    out = capsys.readouterr().out
    assert hint not in out
    verbs = set()
    for line in [line for line in out.splitlines() if line.startswith("L")]:
        layer, neuron, pole = re.match(r"L(\d+)N(\d+)([+-])", line).groups()
        if scores := writes_of(run_dir, NeuronAt(int(layer), int(neuron))):
            side = max(scores.promotes, scores.suppresses, key=lambda tokens: abs(tokens[0].score))
            verb = "writes" if (side[0].score > 0) == (pole == "+") else "lowers"
            assert line.endswith(f"{verb} " + " ".join(repr(visible(t.token)) for t in side[:3]))
            verbs.add(verb)
        else:
            assert "'" not in line
    assert verbs == {"writes", "lowers"}


def test_damaged_write_scores_are_named_and_the_contrast_is_shown(run_dir, capsys):
    argv = ["--run_dir", str(run_dir), "--quiet"]
    assert main([*argv, "--mode", "write_scores", "--layers", "1"]) == 0
    (run_dir / "analysis" / "write_scores_tokens.parquet").write_bytes(b"PAR1")
    capsys.readouterr()
    assert main([*argv, *CAPITAL]) == 0
    out = capsys.readouterr().out
    (note,) = [line for line in out.splitlines() if "write_scores_tokens" in line]
    assert note.endswith(f"--run_dir {run_dir} --mode write_scores") and "\nL1N440-" in out


def test_viewers_list_it_and_verify_accepts_it(run_dir, capsys):
    assert main(["--run_dir", str(run_dir), *CAPITAL, "--top_k", "5", "--quiet"]) == 0
    assert runs(["verify", str(run_dir)]) == 0
    assert "no record lists" not in capsys.readouterr().out
    (ref,) = list_refs(run_dir)
    assert ref.title == "contrast: concepts=capital@token: is vs other prompts@token: is" and not ref.problem
    ranked = read_list(run_dir, ref)
    row = ranked.row(0)
    assert (row.at.label, row.pole, ranked.score_name) == ("L1N440", "-", "mean A - mean B")
    assert row.note.startswith("AUROC 0.014, q ") and "A -4.5" in row.note
    assert ranked.matching("L1N440-").sum() == 1 and ranked.matching("0.014")[0] and ranked.find(row.at, "-") == 0
    assert ranked.order("note") is not None and len(ranked.order("token")) == len(ranked)


def test_json_is_the_record(run_dir, capsys):
    assert main(["--run_dir", str(run_dir), *CAPITAL, "--json", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["mode"], record["design"], record["a"]["n_prompts"]) == ("contrast", "unpaired", 8)
    assert record["settings"]["rank_by"] == "difference" and record["null"]["n_draws"] == 20
    assert record["result"] == list_contrasts(run_dir)[0]


def test_the_same_command_gives_the_same_result(run_dir):
    argv = ["--run_dir", str(run_dir), *CAPITAL, "--quiet"]
    assert main(argv) == 0
    (stem,) = list_contrasts(run_dir)
    first = read_table(run_dir, stem), read_json(run_dir, f"{stem}_meta.json")["null"]
    assert main(argv) == 0
    assert list_contrasts(run_dir) == [stem]
    assert first[0].equals(read_table(run_dir, stem)) and first[1] == read_json(run_dir, f"{stem}_meta.json")["null"]


@pytest.mark.parametrize(("argv", "message"), [
    (["--mode", "contrast"], "--mode contrast needs --a"),
    (["--mode", "peaks", "--a", "*@last"], "--a: has no effect with --mode peaks. Use it with --mode contrast"),
    ([*CAPITAL[:4], "--rank_by", "std_act"], "--rank_by: 'std_act' ranks no contrast. Use d, auroc, difference"),
    ([*CAPITAL, "--write_scores", "3"], "--write_scores: has no effect with --mode contrast"),
    (["--mode", "contrast", "--a", "nothing*"], "--a: no prompt has the id or pattern 'nothing*'"),
])  # fmt: skip
def test_mistakes(run_dir, capsys, argv, message):
    assert main(["--run_dir", str(run_dir), *argv]) == 2
    assert message in capsys.readouterr().err
    assert list_contrasts(run_dir) == []
