"""What is explained becomes a run with records: runs, folders of NeuronRecord files, puzzles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from paths import ROOT
from record_runs import make_record_run

from neuron_signatures.explain.puzzles import read_puzzles
from neuron_signatures.explain.sources.opening import open_source
from neuron_signatures.records.exchange.command import export_folder
from neuron_signatures.runs.errors import RunLockedError, UsageError
from neuron_signatures.runs.lock import lock_file
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.verify import verify_run
from neuron_signatures.scoring.texts import strongest_texts, uniform_texts

PUZZLES = ROOT / "tests" / "data" / "puzzles.json"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_record_run(tmp_path_factory.mktemp("sources") / "r")


@pytest.fixture(scope="module")
def folder(run_dir, tmp_path_factory):
    """NeuronRecord files."""
    found = tmp_path_factory.mktemp("files")
    export_folder(run_dir, found)
    return found


def test_a_run_is_its_own_source(run_dir):
    source = open_source(run_dir=run_dir)
    assert (source.kind, source.run_dir, source.lines) == ("run", run_dir, ())
    assert (source.explain, source.select, source.report) == (("explain",), ("select",), ("report",))
    assert source.held_out


def test_a_folder_becomes_a_run_with_texts_to_choose_and_score_on(folder, tmp_path):
    out = tmp_path / "new" / "run"
    source = open_source(dataset_path=folder, out_dir=out, model_name="m")
    assert source.run_dir == out and source.held_out and verify_run(out).faults == []
    assert any("in select" in line for line in source.lines) and str(out) in source.lines[0]
    assert [p.name for p in out.parent.iterdir()] == ["run"]
    with Records.open(out) as records:
        n_by_part = records.corpus.meta.documents_by_part
        total = sum(n_by_part.values())
        assert 0.35 < n_by_part["explain"] / total < 0.65 and n_by_part["select"] and n_by_part["report"]
        at = NeuronPole(*records.sampled_neurons[0], "+")
        by_part = [{t.tokens for t in strongest_texts(records, at, parts=[p])} for p in n_by_part]
        assert all(by_part) and not by_part[0] & (by_part[1] | by_part[2])


def test_the_same_folder_is_imported_once(folder, tmp_path):
    open_source(dataset_path=folder, out_dir=tmp_path / "r")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*")}
    source = open_source(dataset_path=folder, out_dir=tmp_path / "r")
    assert "imported before" in source.lines[0]
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("*")}
    assert open_source(run_dir=tmp_path / "r").held_out

    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    next(changed.rglob("*.json")).unlink()
    with pytest.raises(UsageError, match="not imported from these files"):
        open_source(dataset_path=changed, out_dir=tmp_path / "r")


def test_a_stopped_import_leaves_no_run_and_the_next_one_begins_again(folder, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    last = sorted(bad.rglob("*.json"))[-1]
    good = last.read_text()
    last.write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        open_source(dataset_path=bad, out_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    killed = tmp_path / ".tmp-import-r" / "run"
    killed.mkdir(parents=True, exist_ok=True)
    (killed / "manifest.json").write_text("{}")
    last.write_text(good)
    assert verify_run(open_source(dataset_path=bad, out_dir=tmp_path / "r").run_dir).faults == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "r"]


def test_one_import_at_a_time(folder, tmp_path):
    other = tmp_path / ".tmp-import-r"
    other.mkdir()
    with lock_file(other, ".lock", "busy"), pytest.raises(RunLockedError, match="imports this run"):
        open_source(dataset_path=folder, out_dir=tmp_path / "r")


def test_puzzles_become_neurons_whose_sentences_are_all_shown(tmp_path):
    source = open_source(puzzles=PUZZLES, out_dir=tmp_path / "r")
    puzzles = read_puzzles(PUZZLES)
    assert list(source.puzzles) == puzzles and verify_run(tmp_path / "r").faults == []
    assert source.select == source.report == ("explain",) and not source.held_out
    assert any("not held out" in line for line in source.lines)
    with Records.open(tmp_path / "r") as records:
        assert records.sampled_neurons == [(0, i) for i in range(10)]
        assert records.corpus.meta.source["names"] == [p.name for p in puzzles]
        for i, puzzle in enumerate(puzzles):
            given = {tuple(t.token for t in text): [t.act for t in text] for text in puzzle.texts()}
            at = NeuronPole(0, i, "+")
            sample = uniform_texts(records, at, parts=source.select)
            assert {t.tokens: t.acts.tolist() for t in sample} == given and all(t.counts.all() for t in sample)
            strongest = strongest_texts(records, at)
            assert {t.tokens: t.acts.tolist() for t in strongest} == {k: v for k, v in given.items() if max(v) > 0}
            assert strongest_texts(records, NeuronPole(0, i, "-")) == []
    again = open_source(puzzles=PUZZLES, out_dir=tmp_path / "r")
    assert list(again.puzzles) == puzzles
    assert not open_source(run_dir=tmp_path / "r").held_out


def test_other_puzzles_need_another_folder(tmp_path):
    open_source(puzzles=PUZZLES, out_dir=tmp_path / "r")
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps(json.loads(PUZZLES.read_text())[:9]))
    with pytest.raises(UsageError, match="not imported from these files"):
        open_source(puzzles=fewer, out_dir=tmp_path / "r")


def test_flags_that_do_not_go_together(run_dir, folder, tmp_path):
    def refused(match: str, **flags: Path) -> None:
        with pytest.raises(UsageError, match=match):
            open_source(**flags)

    refused("nothing to explain")
    refused("--run_dir and --puzzles exclude each other", run_dir=run_dir, puzzles=PUZZLES)
    refused("--out_dir is for", run_dir=run_dir, out_dir=tmp_path)
    refused("--dataset_path needs a folder", dataset_path=folder)
    refused("no such folder", dataset_path=tmp_path / "none", out_dir=tmp_path / "r")
    refused("no records here", dataset_path=ROOT / "docs", out_dir=tmp_path / "r")
    refused("no such file", puzzles=tmp_path / "none", out_dir=tmp_path / "r")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    refused("not an empty folder", puzzles=PUZZLES, out_dir=tmp_path / "full")
    refused("not imported from these files", puzzles=PUZZLES, out_dir=run_dir)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]
