"""`verify`, `show` and `list` of runs with records."""

from __future__ import annotations

import json

import pytest
from record_runs import make_record_run
from run_folders import write_run

from neuron_signatures.runs.__main__ import main
from neuron_signatures.runs.records.summary import summarise_records
from neuron_signatures.runs.verify import verify_run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    make_record_run(root / "only_records", n_documents=12)
    make_record_run(write_run(root / "with_prompts"), n_documents=12)
    write_run(root / "without")
    return root


def test_verify_checks_the_files_of_records(root):
    for name in ("only_records", "with_prompts"):
        found = verify_run(root / name)
        assert (found.faults, found.remarks, found.n_records, found.n_result_files) == ([], [], 3, 9)
        assert found.checksums


def test_show(root, capsys):
    main(["show", str(root / "only_records")])
    text = capsys.readouterr().out
    assert "none: this run holds only records" in text and "12 documents" in text and "24 neurons of 2 layers" in text
    main(["show", str(root / "with_prompts")])
    text = capsys.readouterr().out
    assert "prompts  3, 12 tokens" in text and "15 neurons of 3 layers, 10 of them with a sample" in text
    main(["show", str(root / "without")])
    assert "records" not in capsys.readouterr().out


def test_list(root, capsys):
    main(["list", str(root), "--json"])
    rows = {r["name"]: r for r in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["only_records"]["status"] == "complete" and "12 documents" in rows["only_records"]["records"]
    assert rows["without"]["records"] == ""
    main(["list", str(root)])
    assert "records (12 documents" in capsys.readouterr().out


def test_unfinished_and_damaged(tmp_path):
    path = make_record_run(tmp_path / "r", n_documents=6)
    assert "of them with a sample" in summarise_records(path).text()
    (path / "records" / "sample_meta.json").unlink()
    assert "no sample" in summarise_records(path).text()
    (path / "records" / "records_meta.json").unlink()
    assert "neurons unfinished" in summarise_records(path).text()
    assert verify_run(path).faults == []
    (path / "records" / "corpus_meta.json").write_text("{")
    assert summarise_records(path).text().startswith("damaged: not valid JSON")
    assert verify_run(path).faults
    (path / "records" / "corpus_meta.json").unlink()
    assert summarise_records(path).text() == "unfinished"
    assert summarise_records(tmp_path) is None
