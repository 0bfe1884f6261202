"""The file of groups that people edit: what it may hold, and that no one's work is lost."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from circuits_made import EVIL, MARKUP

from neuron_signatures.runs.circuits import groups as module
from neuron_signatures.runs.circuits.folder import GROUPS, SUGGESTED_GROUPS
from neuron_signatures.runs.circuits.groups import (
    Group,
    GroupsFile,
    groups_text,
    parse_groups,
    read_groups,
    write_groups,
)
from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError

A = Group(id="g1", label=f"says {EVIL}", nodes=("0_1_2", "0_2_2"))
B = Group(id="g2", label=MARKUP, nodes=("1_1_4",), source="suggested", named_by="write_scores")
SOME = GroupsFile(pinned=("1_1_4", "gone_1_1"), groups=(A, B))


@pytest.fixture
def run_dir(tmp_path) -> Path:
    (tmp_path / "circuits" / "dallas").mkdir(parents=True)
    return tmp_path


def folder(run_dir) -> Path:
    return run_dir / "circuits" / "dallas"


def test_without_a_file_there_are_no_groups(run_dir):
    found = read_groups(run_dir, "dallas")
    assert (found.origin, found.etag, found.groups, found.pinned) == ("none", "", (), ())


def test_groups_survive_a_round_trip_byte_for_byte(run_dir):
    written = write_groups(run_dir, "dallas", SOME, expected_etag="")
    raw = (folder(run_dir) / GROUPS).read_bytes()
    assert (written.origin, written.pinned, written.groups) == ("person", SOME.pinned, SOME.groups)
    again = write_groups(run_dir, "dallas", written, expected_etag=written.etag)
    assert (folder(run_dir) / GROUPS).read_bytes() == raw and again.etag == written.etag
    assert b'\n  "pinned": [\n    "1_1_4"' in raw
    assert [p.name for p in folder(run_dir).iterdir()] == [GROUPS]


def test_a_persons_groups_hide_the_suggestion_and_no_new_suggestion_changes_them(run_dir):
    (folder(run_dir) / SUGGESTED_GROUPS).write_text(groups_text(GroupsFile(groups=(B,))), encoding="utf-8")
    suggested = read_groups(run_dir, "dallas")
    assert suggested.origin == "suggested" and suggested.groups == (B,)
    write_groups(run_dir, "dallas", SOME, expected_etag=suggested.etag)
    (folder(run_dir) / SUGGESTED_GROUPS).write_text(groups_text(GroupsFile()), encoding="utf-8")
    assert read_groups(run_dir, "dallas").groups == SOME.groups


def test_ids_that_the_graph_lacks_are_kept_and_reported(run_dir):
    write_groups(run_dir, "dallas", SOME, expected_etag="")
    found = read_groups(run_dir, "dallas")
    assert found.unknown(["0_1_2", "1_1_4"]) == ("gone_1_1", "0_2_2")
    assert found.pinned == SOME.pinned and set(found.group_of()) == {"0_1_2", "0_2_2", "1_1_4"}


def test_a_file_that_changed_meanwhile_is_not_overwritten(run_dir):
    first = write_groups(run_dir, "dallas", SOME, expected_etag="")
    by_hand = groups_text(GroupsFile(groups=(A,)))
    (folder(run_dir) / GROUPS).write_text(by_hand, encoding="utf-8")
    with pytest.raises(UsageError, match=r"groups.json: has changed on disk since it was read. Nothing was written"):
        write_groups(run_dir, "dallas", GroupsFile(), expected_etag=first.etag)
    assert (folder(run_dir) / GROUPS).read_text(encoding="utf-8") == by_hand


def test_of_viewers_that_save_at_once_only_one_wins(run_dir):
    etag = write_groups(run_dir, "dallas", SOME, expected_etag="").etag
    outcomes = []

    def save(i: int) -> None:
        try:
            mine = GroupsFile(groups=(Group(id=f"g{i}", label="", nodes=("n",)),))
            outcomes.append(write_groups(run_dir, "dallas", mine, expected_etag=etag).groups[0].id)
        except UsageError:
            outcomes.append("")

    threads = [threading.Thread(target=save, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [o for o in outcomes if o]
    assert len(outcomes) == 6 and len(winners) == 1
    assert read_groups(run_dir, "dallas").groups[0].id == winners[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", r"field \(top level\)"),
        ('{"format_version": 2, "clusters": []}', "format_version is 2, this version reads 1"),
        ('{"pins": []}', "field pins: Extra inputs"),
        ('{"pinned": ["a", "a"]}', "field pinned: .*'a' is there twice"),
        ('{"groups": [{"id": "../x", "label": "", "nodes": ["a"]}]}', r"field groups\.0\.id"),
        ('{"groups": [{"id": "x", "label": "", "nodes": []}]}', r"field groups\.0\.nodes"),
        ('{"groups": [{"id": "x", "label": 3, "nodes": ["a"]}]}', r"field groups\.0\.label"),
        ('{"groups": [{"id": "x", "label": "\\ud800", "nodes": ["a"]}]}', r"field groups\.0\.label"),
        (json.dumps({"groups": [{"id": "x", "label": "y" * 201, "nodes": ["a"]}]}), r"field groups\.0\.label"),
        (
            json.dumps({"groups": [{"id": i, "label": "", "nodes": ["a"]} for i in "xy"]}),
            "field groups: .*node 'a' is there twice",
        ),
        (json.dumps({"groups": [{"id": "x", "label": "", "nodes": [n]} for n in "ab"]}), "two groups have the id 'x'"),
        ("[" * 100, "nested deeper"),
        ('{"pinned": [NaN]}', "NaN"),
    ],
)
def test_a_damaged_file_gives_one_line_and_stays_as_it_is(run_dir, content, message):
    path = folder(run_dir) / GROUPS
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadRunError, match=message) as caught:
        read_groups(run_dir, "dallas")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 3
    with pytest.raises(UsageError, match="has changed on disk"):
        write_groups(run_dir, "dallas", SOME, expected_etag="")
    assert path.read_text(encoding="utf-8") == content


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(run_dir, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    (folder(run_dir) / GROUPS).write_text(" " * 101 + "{}", encoding="utf-8")
    with pytest.raises(BadRunError, match="larger than 100 bytes"):
        read_groups(run_dir, "dallas")
    with pytest.raises(UsageError, match="larger than 100 bytes"):
        groups_text(SOME)


@pytest.mark.parametrize("name", ["../dallas", "a/b", "", "-x", "a\0b", "x" * 200])
def test_names_that_lead_elsewhere_are_refused(run_dir, name):
    with pytest.raises(UsageError, match="does not match"):
        read_groups(run_dir, name)
    with pytest.raises(UsageError, match="does not match"):
        write_groups(run_dir, name, SOME, expected_etag="")


def test_links_and_pipes_are_not_followed(run_dir, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.json"
    elsewhere.write_text("{}", encoding="utf-8")
    (folder(run_dir) / GROUPS).symlink_to(elsewhere)
    with pytest.raises(BadRunError, match="leads out of the run folder"):
        read_groups(run_dir, "dallas")
    (folder(run_dir) / GROUPS).unlink()
    os.mkfifo(folder(run_dir) / GROUPS)
    with pytest.raises(BadRunError, match="not a regular file"):
        read_groups(run_dir, "dallas")


def test_a_circuit_that_is_not_there_and_a_read_only_folder_are_named(run_dir, monkeypatch):
    with pytest.raises(UsageError, match="there is no such circuit"):
        write_groups(run_dir, "austin", SOME, expected_etag="")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(EnvironmentProblem, match="read-only"):
        write_groups(run_dir, "dallas", SOME, expected_etag="")
    assert not list(folder(run_dir).iterdir())


def test_invalid_groups_are_never_written(run_dir):
    bad = SOME.model_copy(update={"groups": (A, A)})
    with pytest.raises(UsageError, match="two groups have the id"):
        write_groups(run_dir, "dallas", bad, expected_etag="")
    with pytest.raises(BadRunError, match="format_version"):
        parse_groups(b'{"format_version": 0}', where="x")
    assert not list(folder(run_dir).iterdir())
