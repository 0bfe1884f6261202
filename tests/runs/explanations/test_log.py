"""The writer of a log: what a killed process, a full disk, links and copies leave."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from explanation_logs import an_id, explanation, lines_of, write_log
from run_folders import write_run

from neuron_signatures.runs.append_only import AppendOnlyFile
from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError
from neuron_signatures.runs.explanations.log import ExplanationLog
from neuron_signatures.runs.explanations.reader import Explanations

_APPEND_FOREVER = """
import sys
from pathlib import Path
from explanation_logs import explanation
from neuron_signatures.runs.explanations.log import ExplanationLog
log = ExplanationLog(Path(sys.argv[1]), "a")
for n in range(1_000_000):
    log.append(explanation(f"number {n}"))
    print(n, flush=True)
"""


def test_entries_are_appended_and_read(tmp_path):
    with ExplanationLog(tmp_path, "a") as log:
        log.append(explanation("one"))
        log.append(explanation("two é \U0001f600", neuron=3))
    assert [s.text for s in Explanations.open(tmp_path).all()] == ["one", "two é \U0001f600"]
    assert log.size == log.path.stat().st_size


def test_every_line_has_all_keys(tmp_path):
    with ExplanationLog(tmp_path, "a") as log:
        log.append(explanation("one"))
    (line,) = lines_of(log.path)
    assert {"id", "layer", "neuron", "pole", "text", "explainer", "status", "author", "cost"} <= line.keys()


def test_a_killed_process_loses_no_appended_line(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", _APPEND_FOREVER, str(tmp_path)], stdout=subprocess.PIPE, env=env) as p:
        assert p.stdout is not None
        for line in p.stdout:
            if (told := int(line)) >= 20:
                break
        p.send_signal(signal.SIGKILL)
        told = max([told, *map(int, p.stdout.read().split())])
    texts = [s.text for s in Explanations.open(tmp_path).all()]
    assert texts[: told + 1] == [f"number {n}" for n in range(told + 1)]


@pytest.mark.parametrize("tail", ['{"id": "0000', '{"id": "00\n', "\0\0\0\n", '{"id"\n{"x'])
def test_a_torn_last_line_is_cut_with_a_message(tmp_path, tail, caplog):
    first = explanation("one")
    path = write_log(tmp_path, first, tail=tail)
    with caplog.at_level(logging.WARNING), ExplanationLog(tmp_path, "a") as log:
        log.append(explanation("two", neuron=3))
    assert [line["text"] for line in lines_of(path)] == ["one", "two"]
    assert "torn last line" in caplog.text


def test_a_whole_log_is_not_cut(tmp_path, caplog):
    path = write_log(tmp_path, explanation("one"))
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING), ExplanationLog(tmp_path, "a"):
        pass
    assert path.read_bytes() == before and not caplog.text


def test_a_damaged_line_in_the_middle_is_left_to_the_reader(tmp_path):
    path = write_log(tmp_path, tail=f"damaged\n{explanation('two').model_dump_json()}\n")
    before = path.read_bytes()
    with ExplanationLog(tmp_path, "a"):
        pass
    assert path.read_bytes() == before


def test_a_full_disk_is_one_line_and_earlier_entries_stay(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with ExplanationLog(tmp_path, "a") as log:
            log.append(explanation("one"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (log.size + 100, limits[1]))
            with pytest.raises(EnvironmentProblem, match=r"File too large.*Free some space"):
                log.append(explanation("two"))
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            log.append(explanation("three"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [line["text"] for line in lines_of(log.path)] == ["one", "three"]


def test_new_ids_are_in_no_set_of_the_run(tmp_path, monkeypatch):
    a, b, fresh = an_id(), an_id(), "f" * 16
    write_log(tmp_path, explanation(id=a))
    write_log(tmp_path, explanation(id=b, set="b"), set_name="b", tail="damaged")
    drawn = iter([a, b, fresh, fresh, "e" * 16])
    monkeypatch.setattr("secrets.token_hex", lambda n: next(drawn))
    with ExplanationLog(tmp_path, "a") as log:
        assert [log.new_id(), log.new_id()] == [fresh, "e" * 16]


def test_an_id_at_the_border_of_two_blocks_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("neuron_signatures.runs.explanations.log._BLOCK", 7)
    entry = explanation()
    write_log(tmp_path, entry)
    drawn = iter([entry.id, "f" * 16])
    monkeypatch.setattr("secrets.token_hex", lambda n: next(drawn))
    with ExplanationLog(tmp_path, "a") as log:
        assert log.new_id() == "f" * 16


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a_meta", "a_settings", "x" * 101, "a b", "a\n"])
def test_a_name_that_is_no_set_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="no name of a set"):
        ExplanationLog(tmp_path, name)
    assert not (tmp_path / "explanations").exists()


def test_nothing_is_written_through_a_link(tmp_path):
    outside = tmp_path / "outside.jsonl"
    outside.write_text("")
    (tmp_path / "run" / "explanations").mkdir(parents=True)
    (tmp_path / "run" / "explanations" / "a.jsonl").symlink_to(outside)
    with pytest.raises(BadRunError, match="is a link"):
        ExplanationLog(tmp_path / "run", "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "explanations").symlink_to(tmp_path)
    with pytest.raises(BadRunError, match="is a link"):
        ExplanationLog(tmp_path / "other", "a")
    assert outside.read_text() == ""
    assert not (tmp_path / "a.jsonl").exists()


def test_a_copy_by_hard_links_is_not_changed(tmp_path):
    path = write_log(tmp_path, explanation("one"))
    copy = tmp_path / "copy.jsonl"
    os.link(path, copy)
    before = copy.read_bytes()
    with ExplanationLog(tmp_path, "a") as log:
        log.append(explanation("two", neuron=3))
    assert copy.read_bytes() == before
    assert len(lines_of(path)) == 2


def test_an_entry_of_a_model_makes_a_finished_set_unfinished_one_of_a_person_does_not(tmp_path):
    write_log(tmp_path, explanation("one"))
    files = [tmp_path / "explanations" / name for name in ("a_meta.json", "a.parquet")]
    for f in files:
        f.write_text("x")
    with ExplanationLog(tmp_path, "a") as log:
        log.append(explanation("by hand", author="human", author_name="Ada", explainer="human"))
        assert all(f.exists() for f in files)
        log.append(explanation("two", sample=1))
    assert not any(f.exists() for f in files)


def test_lines_are_on_disk_when_the_file_is_closed(tmp_path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with AppendOnlyFile(write_run(tmp_path / "run"), "x.jsonl", below="llm", is_whole=lambda line: True) as file:
        for n in range(100):
            file.append(json.dumps(n).encode())
        assert file.size not in synced
    assert synced[-1] == file.size
