"""What listings say of weights, analyses of the corpus and comparisons; figures and nested folders when verified."""

from __future__ import annotations

import circuits_made
import neuron_tables
import pytest
from analysis_runs import BOS, make_run, random_acts
from record_runs import make_record_run

from neuron_signatures.runs.__main__ import main
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.runs.listing import summarise
from neuron_signatures.runs.names import COMPARISONS, CORPUS_ANALYSIS
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.runs.stage_summaries import stage_summaries
from neuron_signatures.runs.verify import verify_run


@pytest.fixture
def run_dir(tmp_path):
    prompts = {"p0": [BOS, " a", " b"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    return tmp_path / "run"


def texts(run_dir):
    return {name: found.text() for name, found in stage_summaries(run_dir).items()}


def test_nothing_without_folders_and_the_modes_with_them(run_dir):
    assert texts(run_dir) == {}
    neuron_tables.everything(run_dir)
    neuron_tables.comparison(run_dir, "tuned")
    assert texts(run_dir) == {
        "weights": "statistics", "corpus_analysis": "similar, clusters, meanings, ngrams, 1 contrast",
        "comparisons": "checkpoints, tuned",
    }  # fmt: skip
    found = summarise(run_dir)
    assert found is not None and found.weights == "statistics" and found.comparisons == "checkpoints, tuned"


def test_unfinished_outdated_and_damaged(run_dir):
    (run_dir / "weights").mkdir()
    assert texts(run_dir) == {"weights": "unfinished"}
    make_record_run(run_dir, n_documents=12)
    neuron_tables.similar(run_dir, (f"{RECORDS}/{RECORDS_META}",))
    (run_dir / RECORDS / RECORDS_META).unlink()
    assert texts(run_dir)[CORPUS_ANALYSIS] == "similar; outdated: similar"
    neuron_tables.contrast(run_dir, "a")
    meta = run_dir / CORPUS_ANALYSIS / "contrasts" / "a" / "contrast_meta.json"
    meta.write_bytes(meta.read_bytes().replace(b"n_found", b"n_fooled"))
    assert texts(run_dir)[CORPUS_ANALYSIS].startswith("damaged: ")


def test_show_and_list_have_a_line_of_each(run_dir, capsys):
    neuron_tables.everything(run_dir)
    assert main(["show", str(run_dir)]) == main(["list", str(run_dir.parent)]) == 0
    out = capsys.readouterr().out
    for line in ("weights  statistics", "corpus   similar, clusters", "compared checkpoints",
                 "corpus_analysis (similar, clusters, meanings, ngrams, 1 contrast)"):  # fmt: skip
        assert line in out


def test_circuits_are_listed_and_verified(run_dir, capsys):
    circuits_made.write_circuit(run_dir, name="a")
    circuits_made.write_circuit(run_dir, name="b")
    assert texts(run_dir) == {"circuits": "a, b"}
    found = summarise(run_dir)
    assert found is not None and found.circuits == "a, b"
    groups = run_dir / "circuits" / "a" / "groups.json"
    groups.write_text("{}")
    assert not verify_run(run_dir).faults and not verify_run(run_dir).remarks
    groups.write_text('{"pinned": 1}')
    assert [f for f in verify_run(run_dir).faults if "groups.json" in f and "pinned" in f]
    assert main(["show", str(run_dir)]) == main(["list", str(run_dir.parent)]) == 0
    out = capsys.readouterr().out
    assert "circuits a, b" in out and "circuits (a, b)" in out


@pytest.mark.parametrize("file", [
    "weights/neighbours.parquet", f"{CORPUS_ANALYSIS}/contrasts/capitals/contrast.parquet",
    f"{COMPARISONS}/checkpoints/drift.parquet", f"{COMPARISONS}/checkpoints/drift.html",
])  # fmt: skip
def test_files_of_nested_folders_are_verified(run_dir, file, capsys):
    neuron_tables.everything(run_dir)
    assert not verify_run(run_dir).faults and not verify_run(run_dir).remarks
    path = run_dir / file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert [f for f in verify_run(run_dir).faults if file in f]
    assert main(["verify", str(run_dir)]) == ExitCode.BAD_RUN and file in capsys.readouterr().out


def test_figures_are_no_unknown_files_but_others_are(run_dir):
    neuron_tables.everything(run_dir)
    figures = run_dir / COMPARISONS / "checkpoints" / "figures"
    figures.mkdir()
    (figures / "cka.png").write_bytes(b"png")
    assert not verify_run(run_dir).remarks
    (figures / "notes.txt").write_bytes(b"mine")
    assert "notes.txt" in verify_run(run_dir).remarks[0]
