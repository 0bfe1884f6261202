"""Edits, votes, locks and notes of people: the rules, the lock of the run, and what is appended."""

from __future__ import annotations

import logging

import pytest
from explanation_logs import explanation, failed, lines_of, write_log
from run_folders import D_MLP, N_LAYERS, write_run

from neuron_signatures.runs.errors import RunLockedError, UsageError
from neuron_signatures.runs.explanations import people
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import Vote
from neuron_signatures.runs.lock import holder, run_lock
from neuron_signatures.runs.records.names import NeuronPole

AT = NeuronPole(1, 2, "+")


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def shown(run_dir, at: NeuronPole = AT):
    return Explanations.open(run_dir).of(*at)


def test_an_edit_is_appended_and_becomes_current(run_dir):
    a = explanation("one")
    path = write_log(run_dir, a)
    before = path.read_bytes()
    entry = people.edit(run_dir, a.id, "  better  ", " Ada ")
    assert path.read_bytes().startswith(before)
    first, second = shown(run_dir)
    assert (first.text, first.current, first.entry.author_name, first.entry.explainer) == (
        "better",
        True,
        "Ada",
        "human",
    )
    assert (first.entry, second.text, second.current) == (entry, "one", False)
    assert holder(run_dir) is None


def test_a_pole_stands_for_its_current_explanation(run_dir):
    a = explanation("one", mode=None)
    write_log(run_dir, a)
    b = people.edit(run_dir, AT, "two", "Ada")
    c = people.edit(run_dir, AT, "three", "Bo")
    assert (b.parent, c.parent) == (a.id, b.id)
    assert [s.text for s in shown(run_dir) if s.current] == ["three"]


def test_a_pole_with_several_explanations_needs_an_id_or_a_set(run_dir):
    write_log(run_dir, explanation("one"))
    write_log(run_dir, explanation("two", set="b"), set_name="b")
    with pytest.raises(UsageError, match=r"L1N2\+ has 2 explanations: [0-9a-f]{16} \(a\), [0-9a-f]{16} \(b\)"):
        people.vote(run_dir, AT, 1, "Ada")
    assert people.vote(run_dir, AT, 1, "Ada", set_name="b").set == "b"


def test_a_person_can_write_about_a_neuron_without_explanations(run_dir):
    first = people.edit(run_dir, AT, "by hand", "Ada")
    assert (first.set, first.parent) == ("human", None)
    assert people.edit(run_dir, AT, "better", "Bo").parent == first.id
    assert [s.text for s in shown(run_dir) if s.current] == ["better"]


def test_a_failed_request_of_a_set_can_be_edited(run_dir):
    a = failed()
    write_log(run_dir, a)
    entry = people.edit(run_dir, AT, "by hand", "Ada", set_name="a")
    assert (entry.set, entry.parent, entry.status) == ("a", a.id, "ok")
    assert [s.text for s in shown(run_dir) if s.current] == ["by hand"]


@pytest.mark.parametrize("at", [NeuronPole(N_LAYERS, 0, "+"), NeuronPole(0, D_MLP, "-")])
def test_a_neuron_that_the_run_has_not_is_refused(run_dir, at):
    with pytest.raises(UsageError, match=rf"no neuron L{at.layer}N{at.neuron}.*layers 0..2 and neurons 0..4"):
        people.edit(run_dir, at, "text", "Ada")
    assert not (run_dir / "explanations").exists()


def test_only_the_set_human_comes_into_being(run_dir):
    with pytest.raises(UsageError, match="no set 'mine'"):
        people.edit(run_dir, AT, "text", "Ada", set_name="mine")
    assert people.edit(run_dir, AT, "text", "Ada", set_name="human").set == "human"


def test_an_edit_keeps_the_mode(run_dir):
    a = explanation("cars", mode=1, mode_share=0.25)
    write_log(run_dir, a)
    entry = people.edit(run_dir, a.id, "trucks", "Ada")
    assert (entry.mode, entry.mode_share) == (1, 0.25)


def test_votes_count_per_author_and_can_be_withdrawn(run_dir):
    a = explanation("one")
    write_log(run_dir, a)
    for who, value in (("Ada", 1), ("Bo", -1), ("Ada", -1)):
        people.vote(run_dir, a.id, value, who)
    assert set(shown(run_dir)[0].votes) == {Vote("Ada", -1), Vote("Bo", -1)}
    people.vote(run_dir, a.id, 0, "Bo")
    assert shown(run_dir)[0].votes == (Vote("Ada", -1),)


def test_a_note_is_appended(run_dir):
    a = explanation("one")
    write_log(run_dir, a)
    people.note(run_dir, AT, "see also L0N1", "Ada")
    (note,) = shown(run_dir)[0].notes
    assert (note.author_name, note.text) == ("Ada", "see also L0N1")


def test_a_locked_explanation_can_be_edited_and_unlocked_only_by_who_locked_it(run_dir):
    a = explanation("one")
    path = write_log(run_dir, a)
    people.lock(run_dir, a.id, "Ada")
    n_lines = len(lines_of(path))
    with pytest.raises(UsageError, match="is locked by Ada, so only Ada can edit it"):
        people.edit(run_dir, a.id, "better", "Bo")
    with pytest.raises(UsageError, match="locked by Ada"):
        people.edit(run_dir, AT, "better", "Bo")
    with pytest.raises(UsageError, match="only Ada can unlock it"):
        people.unlock(run_dir, a.id, "Bo")
    assert len(lines_of(path)) == n_lines
    b = people.edit(run_dir, a.id, "better", "Ada")
    assert [s.text for s in shown(run_dir) if s.current] == ["better"]
    with pytest.raises(UsageError, match="locked by Ada"):
        people.edit(run_dir, b.id, "best", "Bo")
    people.unlock(run_dir, b.id, "Ada")
    people.edit(run_dir, b.id, "best", "Bo")
    assert [s.text for s in shown(run_dir) if s.current] == ["best"]


def test_another_explanation_of_a_locked_pole_can_be_edited_but_not_locked(run_dir):
    a, b = explanation("one", sample=0), explanation("two", sample=1)
    write_log(run_dir, a, b)
    people.lock(run_dir, b.id, "Ada")
    people.edit(run_dir, a.id, "one, edited", "Bo")
    assert [s.text for s in shown(run_dir) if s.current] == ["two"]
    with pytest.raises(UsageError, match=f"{b.id} is locked by Ada"):
        people.lock(run_dir, a.id, "Bo")


def test_what_is_not_locked_cannot_be_unlocked_and_a_failed_request_not_locked(run_dir):
    a, b = explanation("one"), failed(neuron=3)
    write_log(run_dir, a, b)
    with pytest.raises(UsageError, match="is not locked"):
        people.unlock(run_dir, a.id, "Ada")
    with pytest.raises(UsageError, match="its request ended as refused"):
        people.lock(run_dir, b.id, "Ada")


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "Ada\nBo", "\x1b[31mAda", "A\u202eda"])
def test_a_name_that_cannot_be_shown_is_refused(run_dir, name):
    a = explanation("one")
    write_log(run_dir, a)
    with pytest.raises(UsageError, match="author's name"):
        people.vote(run_dir, a.id, 1, name)


@pytest.mark.parametrize(("text", "why"), [("", "is empty"), (" \n", "is empty"), ("x" * 20_001, "20001 characters")])
def test_a_text_is_not_empty_and_bounded(run_dir, text, why):
    a = explanation("one")
    write_log(run_dir, a)
    for add in (people.edit, people.note):
        with pytest.raises(UsageError, match=why):
            add(run_dir, a.id, text, "Ada")


def test_half_a_surrogate_pair_becomes_an_escape(run_dir):
    assert people.edit(run_dir, AT, "x\ud800", "Ada").text == "x\\ud800"


def test_an_unknown_target_is_refused(run_dir):
    a = explanation("one")
    write_log(run_dir, a)
    with pytest.raises(UsageError, match="no explanation has the id"):
        people.vote(run_dir, "0" * 16, 1, "Ada")
    with pytest.raises(UsageError, match=r"L0N0\+ has no explanation"):
        people.vote(run_dir, NeuronPole(0, 0, "+"), 1, "Ada")
    with pytest.raises(UsageError, match="is of set a, not b"):
        people.vote(run_dir, a.id, 1, "Ada", set_name="b")


def test_another_writer_is_named_and_nothing_is_added(run_dir):
    a = explanation("one")
    path = write_log(run_dir, a)
    before = path.read_bytes()
    with run_lock(run_dir), pytest.raises(RunLockedError, match=r"pid \d+.*Nothing was added"):
        people.vote(run_dir, a.id, 1, "Ada")
    assert path.read_bytes() == before


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no finished run"):
        people.edit(tmp_path, AT, "text", "Ada")
    assert list(tmp_path.iterdir()) == []


def test_an_open_reader_is_refreshed_before_and_after(run_dir):
    a = explanation("one")
    path = write_log(run_dir, a)
    reader = Explanations.open(run_dir)
    with path.open("a") as f:
        f.write(explanation("appended meanwhile", neuron=3).model_dump_json() + "\n")
    people.vote(run_dir, NeuronPole(1, 3, "+"), 1, "Ada", reader=reader)
    assert [s.up for s in reader.of(1, 3)] == [1]


def test_a_torn_last_line_is_cut_before_a_person_writes(run_dir, caplog):
    a = explanation("one")
    path = write_log(run_dir, a, tail='{"id": "00')
    with caplog.at_level(logging.WARNING):
        people.vote(run_dir, a.id, 1, "Ada")
    assert [line["kind"] for line in lines_of(path)] == ["explanation", "vote"]
