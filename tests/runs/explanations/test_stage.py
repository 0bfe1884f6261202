"""Sets as a stage makes them: begun with settings, continued, finished, verified and listed."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest
from explanation_logs import about, an_id, choice, edit_of, explanation, failed, write_log
from run_folders import write_run

from neuron_signatures.runs.__main__ import main
from neuron_signatures.runs.errors import BadRunError, ExitCode, UsageError
from neuron_signatures.runs.explanations import people
from neuron_signatures.runs.explanations.done import Key, done_keys
from neuron_signatures.runs.explanations.meta import read_set_meta
from neuron_signatures.runs.explanations.names import SETS
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.stage import begin_set, finish_set
from neuron_signatures.runs.llm.journal import Received
from neuron_signatures.runs.logs.names import LogKind
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run

SETTINGS = {"explainer": "lookup", "n_samples": 1}


@pytest.fixture
def run(tmp_path):
    with Run.open(write_run(tmp_path / "run")) as run:
        yield run


def finished(run: Run, *entries, set_name: str = "a", **more):
    with begin_set(run, set_name, SETTINGS) as log:
        for entry in entries:
            log.append(entry)
    return finish_set(run, set_name, skipped={"too little evidence": ["L0N1+", "L0N1-"]}, **more)


def faults(run: Run) -> list[str]:
    return verify_run(run.path).faults


def remarks(run: Run) -> list[str]:
    return verify_run(run.path).remarks


def test_a_set_that_is_removed_during_the_check_is_a_remark(run, monkeypatch):
    finished(run, explanation("one"))
    monkeypatch.setattr(LogKind, "names", lambda self, run_dir: ["a", "gone"] if self is SETS else [])
    assert faults(run) == [] and remarks(run) == ["explanations/gone.jsonl was removed meanwhile"]


def test_a_finished_set_has_a_record_a_table_and_its_settings(run):
    entries = explanation("one"), failed(neuron=3), explanation("other", pole="-")
    meta = finished(run, *entries, cost=0.5)
    log = run.path / "explanations" / "a.jsonl"
    assert (meta.n_explanations, meta.n_poles, meta.counts) == (3, 3, {"ok": 2, "refused": 1})
    assert meta.skipped == {"too little evidence": ["L0N1+", "L0N1-"]}
    assert (meta.log_bytes, meta.log_sha256) == (log.stat().st_size, hashlib.sha256(log.read_bytes()).hexdigest())
    assert sorted(f.name for f in meta.files) == ["a.parquet", "a_settings.json"]
    record = json.loads((run.path / "explanations" / "a_meta.json").read_text())
    assert record["stage"] == "poc5_explain_neurons" and record["cost"] == 0.5 and record["settings"] == SETTINGS
    assert Explanations.open(run.path).sets[0].finished
    assert faults(run) == [] and remarks(run) == []


def test_the_table_has_a_row_per_explanation_with_its_state(run):
    a, b = explanation("one", sample=0, cost=0.25), explanation("two", sample=1)
    c = edit_of(b, "Ada", "edited")
    votes = [about(c, "Bo", "vote", value=1), about(c, "Ada", "lock", value=1)]
    finished(run, a, b, choice(b, {a.id: 0.1, b.id: None}), c, *votes, failed(neuron=3))
    table = pd.read_parquet(run.path / "explanations" / "a.parquet")
    assert list(table["text"]) == ["one", "two", "edited", ""]
    assert list(table["current"]) == [False, False, True, False]
    assert list(table["chosen"]) == [False, True, False, False]
    assert list(table["locked_by"].fillna("")) == ["", "", "Ada", ""]
    assert list(table["up"]) == [0, 0, 1, 0]
    assert table["select_value"].tolist()[0] == 0.1 and table["select_value"].isna().tolist() == [
        False,
        True,
        True,
        True,
    ]
    assert table["cost"].tolist()[0] == 0.25 and pd.isna(table["cost"][1])


def test_settings_are_stored_before_the_log_and_must_be_the_same_on_resume(run):
    with begin_set(run, "a", SETTINGS) as log:
        log.append(explanation("one"))
    with begin_set(run, "a", dict(reversed(SETTINGS.items()))) as log:
        assert log.size > 0
    with pytest.raises(UsageError, match="set a was begun with other settings: n_samples was 1, is 3"):
        begin_set(run, "a", {**SETTINGS, "n_samples": 3})


@pytest.mark.parametrize(("name", "why"), [("human", "what people write"), ("../a", "no name of a set")])
def test_some_names_are_not_for_stages(run, name, why):
    with pytest.raises(UsageError, match=why):
        begin_set(run, name, SETTINGS)


def test_a_log_without_settings_is_not_continued(run):
    write_log(run.path, explanation("one"))
    for name in ("a", "A"):
        with pytest.raises(UsageError, match="there is a set a already"):
            begin_set(run, name, SETTINGS)


def test_what_is_done_is_known_by_its_key(run):
    a, b = explanation("one"), failed(sample=1)
    c = explanation("revised", revision=1, parent=a.id)
    write_log(run.path, a, b, c, choice(c), about(c, "Ada", "vote", value=1), edit_of(c, "Ada", "edited"))
    done = done_keys(run.path, "a")
    assert set(done) == {Key(1, 2, "+", None, 0, 0), Key(1, 2, "+", None, 1, 0), Key(1, 2, "+", None, 0, 1)}
    assert done[1, 2, "+", None, 0, 0] == a
    assert (done.status((1, 2, "+", None, 1, 0)), done.id((1, 2, "+", None, 0, 1))) == ("refused", c.id)
    assert done.chosen == {((1, 2, "+"), None): c.id}
    assert (set(done.locked), set(done.by_people)) == (set(), {(1, 2, "+")})
    assert (1, 2, "+", 0, 0, 0) not in done


def test_a_success_replaces_a_failure_and_locked_poles_are_known(run):
    again = explanation("now", neuron=3)
    write_log(run.path, failed(neuron=3), again, about(again, "Ada", "lock", value=1))
    done = done_keys(run.path, "a")
    assert done[1, 3, "+", None, 0, 0] == again and len(done) == 1
    assert set(done.locked) == {(1, 3, "+")}


def test_nothing_is_done_in_a_set_that_was_not_begun(run):
    assert len(done_keys(run.path, "a")) == 0


def test_a_finished_set_becomes_unfinished_when_a_stage_appends(run):
    finished(run, failed())
    with begin_set(run, "a", SETTINGS) as log:
        assert Explanations.open(run.path).sets[0].finished
        log.append(explanation("retried"))
    assert not Explanations.open(run.path).sets[0].finished
    with pytest.raises(UsageError, match="not finished"):
        read_set_meta(run.path, "a")
    assert faults(run) == [] and any("unfinished set" in r for r in remarks(run))
    assert finish_set(run, "a", skipped={}).counts == {"ok": 1}


def test_people_can_append_to_a_finished_set(run):
    a = explanation("one")
    finished(run, a)
    people.edit(run.path, a.id, "better", "Ada")
    people.vote(run.path, a.id, 1, "Bo")
    people.edit(run.path, NeuronPole(0, 0, "-"), "by hand", "Ada")
    assert faults(run) == [] and remarks(run) == []


def append(run: Run, text: str) -> None:
    with (run.path / "explanations" / "a.jsonl").open("a") as f:
        f.write(text)


def swap(run: Run, old: str, new: str, name: str = "a.jsonl") -> None:
    path = run.path / "explanations" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda run: append(run, explanation("late").model_dump_json() + "\n"), "appended by a model after"),
        (lambda run: swap(run, "the first", "the FIRST"), "bytes differ from its record a_meta.json"),
        (lambda run: swap(run, "the first", "the"), "truncated: "),
        (lambda run: swap(run, '"pole":"+"', '"pole":"="'), "a.jsonl: line 1: field pole"),
        (lambda run: swap(run, '"evidence":[]', '"evidence":[-1]'), "a.jsonl: line 1: field evidence.0"),
        (lambda run: swap(run, '"n_poles": 2', '"n_poles": 3', "a_meta.json"), "its own checksum"),
        (lambda run: swap(run, "n_samples", "n_sample_", "a_settings.json"), "a_settings.json: its sha256 differs"),
        (lambda run: (run.path / "explanations" / "a.parquet").unlink(), "a.parquet: is missing"),
        (lambda run: (run.path / "explanations" / "a.jsonl").unlink(), "a.jsonl: is missing"),
    ],
)  # fmt: skip
def test_verify_names_what_is_damaged(run, damage, why, capsys):
    finished(run, explanation("the first"), explanation("the second", neuron=3))
    damage(run)
    assert any(why in fault for fault in faults(run)), faults(run)
    assert main(["verify", str(run.path)]) == ExitCode.BAD_RUN
    assert why.split(":")[0] in capsys.readouterr().out


def test_verify_checks_what_lines_refer_to(run):
    a, b = explanation("one"), explanation("two", neuron=3)
    twice = explanation("same id", id=a.id, sample=1)
    elsewhere = about(b, "Ada", "vote", value=1).model_copy(update={"neuron": 2})
    ghost = edit_of(explanation(), "Ada", "of nothing")
    huge = explanation("no such neuron", neuron=99)
    of_other_set = explanation("of another set", set="b")
    write_log(run.path, a, b, twice, elsewhere, ghost, huge, of_other_set)
    found = " | ".join(faults(run))
    for why in (
        "in use in set a already", "about another neuron or pole", "no explanation before it", "no neuron L1N99",
        "is of set b",
    ):  # fmt: skip
        assert why in found


def test_verify_finds_an_id_that_two_sets_have(run):
    a = explanation("one")
    write_log(run.path, a)
    write_log(run.path, a.model_copy(update={"set": "b"}), set_name="b")
    assert any(f"b.jsonl: {a.id}: the id is in use in set a already" in f for f in faults(run))


def test_verify_remarks_on_unfinished_and_torn_logs(run):
    write_log(run.path, explanation("one"), tail='{"id"')
    assert faults(run) == []
    assert [("unfinished set" in r, "torn last line" in r) for r in remarks(run)] == [(True, False), (False, True)]


def journalled(run: Run, text: str, name: str = "journal.jsonl") -> None:
    (run.path / "llm").mkdir(exist_ok=True)
    (run.path / "llm" / name).write_text(text)


RECEIVED = Received(key="0" * 64, answered=True, stage="s", model="m", at_utc="2026", seconds=0.1).model_dump_json()


def test_verify_knows_the_logs_of_requests(run):
    journalled(run, f'{RECEIVED}\n{{"torn')
    journalled(run, "{}", "ledger.json")
    journalled(run, f"{RECEIVED}\n", "journal-00001-of-00004.jsonl")
    journalled(run, "", "other.txt")
    assert faults(run) == []
    assert [r for r in remarks(run) if "no record lists" in r] == ["llm/: 1 file that no record lists: other.txt"]


def test_verify_names_damaged_logs_of_requests(run):
    journalled(run, f"{RECEIVED}\ndamaged\n{RECEIVED}\n", "journal-00001-of-00004.jsonl")
    journalled(run, '{"stages": 1}', "ledger.json")
    found = faults(run)
    assert len(found) == 2
    assert "ledger.json: is damaged" in found[0]
    assert "journal-00001-of-00004.jsonl: line 2 is damaged" in found[1]


def test_a_damaged_record_is_no_finished_set(run):
    finished(run, explanation("one"))
    swap(run, '"n_poles": 1', '"n_poles": "one"', "a_meta.json")
    with pytest.raises(BadRunError, match="field n_poles"):
        read_set_meta(run.path, "a")


def test_listings_count_explanations(run, capsys):
    finished(run, explanation("one"), failed(neuron=3))
    write_log(run.path, explanation("x", id=an_id(), set="b"), set_name="b")
    people.edit(run.path, NeuronPole(0, 0, "+"), "by hand", "Ada")
    assert main(["list", str(run.path.parent)]) == 0
    text = "1 explanation in 1 set, 1 more failed, 1 set unfinished, some by people"
    assert f"explanations ({text})" in capsys.readouterr().out
    assert main(["show", str(run.path)]) == 0
    assert f"explain  {text}" in capsys.readouterr().out
    (run.path / "explanations" / "a_meta.json").write_text("{")
    assert main(["list", str(run.path.parent)]) == 0
    assert "explanations (damaged: not valid JSON" in capsys.readouterr().out
