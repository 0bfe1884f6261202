"""What people write in the explorer: edits, votes, locks and notes, and what prevents them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from explanation_runs import OTHER, PERSON, write_explanations
from explorer import html_of, open_page, plain_run, shown
from streamlit.testing.v1 import AppTest

from neuron_signatures.dashboard.data.cached_explanations import SharedExplanations
from neuron_signatures.dashboard.data.cached_reads import key_of
from neuron_signatures.dashboard.explanations import actions
from neuron_signatures.runs.explanations import people
from neuron_signatures.runs.explanations.names import EXPLANATIONS
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.explanations.shown import Shown
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.views.changes import explanation_stamps
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.reading import RunExplanations
from neuron_signatures.views.explanations.table import Wanted

POLE = NeuronPole(0, 1, "+")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A runs root with a run of two layers and three sets of explanations."""
    plain_run(tmp_path / "run")
    write_explanations(tmp_path / "run")
    return tmp_path


def neuron_page(root: Path, monkeypatch, at: NeuronPole = POLE, *, by: str = PERSON) -> AppTest:
    page = open_page(root, monkeypatch, view="neuron", layer=str(at.layer), neuron=str(at.neuron))
    if by:
        page.text_input(key=actions.AUTHOR).set_value(by).run()
    assert not page.exception
    return page


def current(root: Path, at: NeuronPole = POLE, set_name: str = "highlighted") -> Shown:
    (found,) = Explanations.open(root / "run").current(at, set_name)
    return found


def press(page: AppTest, key: str) -> AppTest:
    page.button(key=key).click().run()
    assert not page.exception
    return page


def n_bytes(root: Path) -> int:
    return sum(p.stat().st_size for p in (root / "run" / EXPLANATIONS).glob("*.jsonl"))


def card(page: AppTest) -> str:
    """The explanation to read of the first pole."""
    return next(h for h in html_of(page) if '<div class="ns-exp' in h)


def test_an_edit_is_appended_and_becomes_the_text_to_read(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, by="reviewer 3")
    old = current(root)
    page.text_area(key=f"exp_text_{old.id}").set_value("  names of capitals\nof states ")
    press(page, f"exp_save_{old.id}")
    new = current(root)
    assert (new.text, new.entry.parent, new.entry.author_name) == ("names of capitals\nof states", old.id, "reviewer 3")
    assert "names of capitals<br>of states" in card(page) and "edited by reviewer 3" in card(page)
    assert card(page).count("<b>edit</b>") == 3 and "changed on disk" not in shown(page)


@pytest.mark.parametrize("text", ["", " \n ", None])
def test_nothing_is_written_for_an_empty_or_unchanged_text(root: Path, monkeypatch, text):
    page = neuron_page(root, monkeypatch)
    before, now = n_bytes(root), current(root)
    if text is not None:
        page.text_area(key=f"exp_text_{now.id}").set_value(text)
    press(page, f"exp_save_{now.id}")
    assert n_bytes(root) == before and current(root).id == now.id
    said = shown(page) + "".join(t.value for t in page.toast)
    assert ("is empty" if text is not None else "unchanged") in said


def test_a_vote_counts_once_and_is_withdrawn_by_a_second_click(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, by="reviewer 3")
    id_ = current(root).id
    press(page, f"exp_vote_1_{id_}")
    assert "votes +3" in card(page) and page.button(key=f"exp_vote_1_{id_}").label == "Agree 3"
    press(page, f"exp_vote_-1_{id_}")
    assert "votes +2 -1" in card(page)
    press(page, f"exp_vote_-1_{id_}")
    assert "votes +2" in card(page) and "-1" not in card(page) and current(root).down == 0


def test_a_note_is_shown_and_its_input_is_emptied(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch)
    id_ = current(root).id
    page.text_area(key=f"exp_note_{id_}").set_value("seen on <b>Texas</b>")
    press(page, f"exp_save_note_{id_}")
    assert "note: seen on &lt;b&gt;Texas&lt;/b&gt; (reviewer 1" in card(page)
    assert page.text_area(key=f"exp_note_{id_}").value == ""
    before = n_bytes(root)
    press(page, f"exp_save_note_{id_}")
    assert n_bytes(root) == before and "the text of the note is empty" in shown(page)


def test_only_who_locked_an_explanation_can_edit_or_unlock_it(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch)
    id_ = current(root).id
    press(page, f"exp_lock_{id_}")
    assert "locked by reviewer 1" in card(page) and current(root).locked_by == PERSON
    other = neuron_page(root, monkeypatch, by=OTHER)
    assert "Locked by reviewer 1: only reviewer 1 can edit or unlock it." in shown(other)
    assert other.button(key=f"exp_unlock_{id_}").disabled
    other.text_area(key=f"exp_text_{id_}").set_value("taken over")  # as if the browser allowed it
    press(other, f"exp_save_{id_}")
    assert "is locked by reviewer 1" in shown(other) and current(root).id == id_
    page = neuron_page(root, monkeypatch)
    press(page, f"exp_unlock_{id_}")
    assert current(root).locked_by is None and "locked by" not in card(page)


def test_another_explanation_of_a_locked_pole_cannot_be_locked(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch)
    id_ = current(root).id
    press(page, f"exp_lock_{id_}")
    locks = [b for b in page.button if b.label == "Lock"]
    assert locks and all(b.disabled for b in locks)


def test_a_person_explains_a_pole_that_has_no_explanation(root: Path, monkeypatch):
    at = NeuronPole(1, 2, "-")
    page = neuron_page(root, monkeypatch, at)
    before = n_bytes(root)
    press(page, f"exp_save_new_{at.label}")
    assert n_bytes(root) == before and "is empty" in shown(page)
    page.text_area(key=f"exp_new_{at.label}").set_value("brackets that close")
    press(page, f"exp_save_new_{at.label}")
    assert current(root, at, "human").text == "brackets that close"
    assert "written by reviewer 1" in card(page) and "brackets that close" in card(page)


def test_a_person_writes_the_first_explanation_of_a_run(tmp_path: Path, monkeypatch):
    plain_run(tmp_path / "run")
    at = NeuronPole(0, 3, "+")
    page = neuron_page(tmp_path, monkeypatch, at)
    page.text_area(key=f"exp_new_{at.label}").set_value("commas")
    press(page, f"exp_save_new_{at.label}")
    assert current(tmp_path, at, "human").text == "commas" and "commas" in card(page)


def test_the_name_is_asked_once_and_kept_for_other_neurons(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, by="")
    id_ = current(root).id
    assert page.button(key=f"exp_vote_1_{id_}").disabled and page.button(key=f"exp_lock_{id_}").disabled
    page.text_input(key=actions.AUTHOR).set_value("  reviewer 3 ").run()
    page.button_group(key="view").set_value("explanations").run()
    page.button_group(key="view").set_value("neuron").run()
    page.text_input(key="jump").set_value("L0N2").run()
    id_ = current(root, NeuronPole(0, 2, "-")).id
    press(page, f"exp_vote_1_{id_}")
    assert current(root, NeuronPole(0, 2, "-")).votes[0].author_name == "reviewer 3"


def test_a_name_that_is_not_printable_is_refused(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, by="a\u202eb")
    assert "printable" in shown(page) and page.button(key=f"exp_lock_{current(root).id}").disabled


def test_another_process_that_holds_the_run_is_named(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch)
    id_, before = current(root).id, n_bytes(root)
    with run_lock(root / "run"):
        press(page, f"exp_vote_1_{id_}")
    text = shown(page)
    assert "This was not saved." in text
    assert "another process is writing to this run" in text and f"pid {os.getpid()}" in text
    assert n_bytes(root) == before
    page.run()
    assert "another process" not in shown(page)


def test_a_read_only_run_has_one_line_and_no_controls(root: Path, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    page = neuron_page(root, monkeypatch, by="")
    assert "This run folder is read-only" in shown(page) and "state capitals in the answer" in card(page)
    assert not [w for w in (*page.button, *page.text_area) if str(w.key).startswith("exp_")]
    assert actions.AUTHOR not in [w.key for w in page.text_input]


def test_a_write_changes_the_rows_of_its_pole_in_the_list(root: Path):
    run_dir = root / "run"
    explanations = SharedExplanations(run_dir)
    assert len(explanations.listed(key_of(run_dir, explanation_stamps(run_dir))).table.every) == 15
    id_ = current(root).id
    explanations.write(lambda reader: people.edit(run_dir, id_, "another text", PERSON, reader=reader))
    explanations.write(lambda reader: people.edit(run_dir, NeuronPole(1, 2, "-"), "x", PERSON, reader=reader))
    key = key_of(run_dir, explanation_stamps(run_dir))
    assert explanations._list is not None and explanations._list.key == key  # nothing was read again
    fresh = RunExplanations.read(run_dir)
    assert explanations.listed(key).rows(Wanted()) == fresh.table.rows()
    assert explanations.of(key, NeuronAt(0, 1)) == fresh.of(NeuronAt(0, 1))
    assert explanations.texts(key, [POLE, NeuronPole(1, 4, "+")]) == ["another text  (by reviewer 1)", ""]


def test_a_text_to_edit_keeps_what_languages_need():
    assert actions.editable("a\x00\x1b[31mb\u202ec\nd\te\u0301\u0915\u094d\u200d\U0001f600") == (
        "a[31mbc\nd\te\u0301\u0915\u094d\u200d\U0001f600"
    )
