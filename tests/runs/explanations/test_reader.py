"""Which explanation is current, and what a reader makes of damaged, torn and growing logs."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from explanation_logs import about, an_id, by, choice, edit_of, explanation, failed, write_log

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.explanations.lines import SEARCHED
from neuron_signatures.runs.explanations.names import SETS
from neuron_signatures.runs.explanations.reader import Explanations, Note, Vote
from neuron_signatures.runs.records.names import NeuronPole

_DAMAGE = (b"\n", b"{", b"}", b'"', b"null", b"1e999", b"NaN", b"-1", b"[[", b"99999999999999999999", b'"kind":"lock",')


def current(run_dir) -> list[str]:
    return [s.text for s in Explanations.open(run_dir).of(1, 2, "+") if s.current]


def test_a_single_explanation_is_current(tmp_path):
    write_log(tmp_path, explanation("one"))
    (shown,) = Explanations.open(tmp_path).of(1, 2)
    assert (shown.text, shown.current, shown.chosen, shown.edited, shown.locked) == ("one", True, False, False, False)
    assert shown.at == NeuronPole(1, 2, "+")


def test_a_choice_names_the_current_of_several_samples(tmp_path):
    a, b = explanation("one", sample=0), explanation("two", sample=1)
    write_log(tmp_path, a, b, choice(b, {a.id: 0.1, b.id: 0.4}))
    first, second = Explanations.open(tmp_path).of(1, 2)
    assert (first.text, first.current, first.chosen) == ("two", True, True)
    assert first.choice is not None and first.choice.values == {a.id: 0.1, b.id: 0.4}
    assert (second.text, second.current, second.chosen) == ("one", False, False)


def test_the_newest_choice_counts(tmp_path):
    a, b = explanation("one", sample=0), explanation("two", sample=1)
    write_log(tmp_path, a, b, choice(b), choice(a))
    assert current(tmp_path) == ["one"]


def test_without_a_choice_the_last_revision_of_the_first_sample_is_current(tmp_path):
    b, a = explanation("two", sample=1), explanation("one", sample=0)
    write_log(tmp_path, b, a)
    assert current(tmp_path) == ["one"]
    write_log(tmp_path, b, a, explanation("one, revised", sample=0, revision=1, parent=a.id))
    assert current(tmp_path) == ["one, revised"]


def test_a_failed_request_is_never_current(tmp_path):
    write_log(tmp_path, failed(sample=0), explanation("two", sample=1))
    assert current(tmp_path) == ["two"]
    write_log(tmp_path, failed())
    assert current(tmp_path) == []


def test_a_failed_revision_leaves_its_parent_current(tmp_path):
    a = explanation("one")
    write_log(tmp_path, a, failed(revision=1, parent=a.id))
    assert current(tmp_path) == ["one"]


def test_a_repeated_request_replaces_a_failed_one(tmp_path):
    write_log(tmp_path, failed(), failed("timed_out"), explanation("now it worked"))
    explanations = Explanations.open(tmp_path)
    assert [s.replaced for s in explanations.of(1, 2)] == [False, True, True]
    assert explanations.sets[0].counts == {"ok": 1}
    assert current(tmp_path) == ["now it worked"]


def test_the_newest_edit_replaces_what_it_edits_and_the_chain_stays(tmp_path):
    a = explanation("one")
    b = edit_of(a, "Ada", "better")
    c = edit_of(b, "Bo", "best")
    write_log(tmp_path, a, b, c)
    shown = Explanations.open(tmp_path).of(1, 2)
    assert [(s.text, s.current, s.edited) for s in shown] == [
        ("best", True, True), ("one", False, False), ("better", False, True)]  # fmt: skip
    assert [e.text for e in shown[0].chain] == ["one", "better"]
    assert shown[1].children == (b.id,)


def test_the_newest_of_two_edits_of_the_same_text_counts(tmp_path):
    a = explanation("one")
    b, c = edit_of(a, "Ada", "by Ada"), edit_of(a, "Bo", "by Bo")
    write_log(tmp_path, a, b, c)
    assert current(tmp_path) == ["by Bo"]
    write_log(tmp_path, a, c, b)
    assert current(tmp_path) == ["by Ada"]


def test_an_edit_of_a_sample_that_was_not_chosen_does_not_replace_the_chosen(tmp_path):
    a, b = explanation("one", sample=0), explanation("two", sample=1)
    write_log(tmp_path, a, b, choice(b), edit_of(a, "Ada", "one, edited"))
    assert current(tmp_path) == ["two"]


def test_a_persons_text_for_a_failed_request_is_current(tmp_path):
    a = failed()
    write_log(tmp_path, a, edit_of(a, "Ada", "by hand"))
    assert current(tmp_path) == ["by hand"]
    write_log(tmp_path, a, edit_of(a, "Ada", "by hand"), explanation("late answer"))
    assert current(tmp_path) == ["by hand"]


def test_a_locked_explanation_is_current_whatever_follows(tmp_path):
    a, b = explanation("one", sample=0), explanation("two", sample=1)
    locked = about(a, "Ada", "lock", value=1)
    write_log(tmp_path, a, b, choice(b), locked)
    assert current(tmp_path) == ["one"]
    write_log(tmp_path, a, b, locked, choice(b))
    assert current(tmp_path) == ["one"]
    write_log(tmp_path, a, b, locked, edit_of(a, "Bo", "by Bo"))
    assert current(tmp_path) == ["one"]
    write_log(tmp_path, a, b, locked, explanation("one, revised", revision=1, parent=a.id))
    assert current(tmp_path) == ["one"]


def test_who_locked_an_explanation_can_still_edit_it_and_the_edit_is_locked(tmp_path):
    a = explanation("one")
    b = edit_of(a, "Ada", "one, edited")
    write_log(tmp_path, a, about(a, "Ada", "lock", value=1), b, edit_of(b, "Bo", "by Bo"))
    shown = Explanations.open(tmp_path).of(1, 2)
    assert [(s.text, s.locked_by) for s in shown if s.current] == [("one, edited", "Ada")]


def test_after_unlocking_newer_edits_count_again(tmp_path):
    a = explanation("one")
    log = [a, about(a, "Ada", "lock", value=1), edit_of(a, "Bo", "by Bo"), about(a, "Ada", "lock", value=0)]
    write_log(tmp_path, *log)
    assert current(tmp_path) == ["by Bo"]
    assert not any(s.locked for s in Explanations.open(tmp_path).of(1, 2))


def test_another_persons_unlocking_or_second_lock_changes_nothing(tmp_path):
    a, b = explanation("one", sample=0), explanation("two", sample=1)
    log = [a, b, about(a, "Ada", "lock", value=1)]
    write_log(tmp_path, *log, about(a, "Bo", "lock", value=0), about(b, "Bo", "lock", value=1))
    shown = Explanations.open(tmp_path).of(1, 2)
    assert [(s.text, s.current, s.locked_by) for s in shown] == [("one", True, "Ada"), ("two", False, None)]


def test_the_newest_vote_of_each_author_counts(tmp_path):
    a = explanation("one")
    votes = [("Ada", 1), ("Bo", 1), ("Ada", -1), ("Cy", 1), ("Cy", 0)]
    write_log(tmp_path, a, *(about(a, who, "vote", value=v) for who, v in votes))
    (shown,) = Explanations.open(tmp_path).of(1, 2)
    assert set(shown.votes) == {Vote("Ada", -1), Vote("Bo", 1)}
    assert (shown.up, shown.down) == (1, 1)


def test_notes_are_kept_in_order(tmp_path):
    a = explanation("one")
    write_log(tmp_path, a, about(a, "Ada", "note", text="first"), about(a, "Bo", "note", text="second"))
    (shown,) = Explanations.open(tmp_path).of(1, 2)
    at = "2026-01-02T03:04:05+00:00"
    assert shown.notes == (Note("Ada", "first", at), Note("Bo", "second", at))


def test_each_mode_has_a_current_explanation(tmp_path):
    a, b, c = explanation("cars", mode=0), explanation("boats", mode=1), explanation("ships", mode=1, sample=1)
    write_log(tmp_path, a, b, c, choice(c), edit_of(a, "Ada", "cars and vans"))
    assert sorted(current(tmp_path)) == ["cars and vans", "ships"]


def test_poles_and_sets_are_resolved_apart(tmp_path):
    write_log(tmp_path, explanation("one"), explanation("other pole", pole="-"))
    write_log(tmp_path, explanation("second set", set="b"), set_name="b")
    explanations = Explanations.open(tmp_path)
    assert [(s.set, s.text) for s in explanations.of(1, 2)] == [("a", "one"), ("b", "second set"), ("a", "other pole")]
    assert all(s.current for s in explanations.of(1, 2))
    assert [s.text for s in explanations.of(1, 2, "-")] == ["other pole"]
    assert [s.text for s in explanations.current(NeuronPole(1, 2, "+"), "b")] == ["second set"]


def test_lines_about_an_unknown_explanation_change_nothing(tmp_path):
    a = explanation("one")
    ghost = explanation("not in the log")
    write_log(tmp_path, a, about(ghost, "Ada", "lock", value=1), choice(ghost), edit_of(ghost, "Ada", "of nothing"))
    shown = Explanations.open(tmp_path).of(1, 2)
    assert [(s.text, s.current, s.chain) for s in shown] == [("one", True, ()), ("of nothing", False, ())]


def test_what_a_person_wrote_last_without_a_model_is_current(tmp_path):
    first, second = by("Ada", text="first", set="human"), by("Bo", text="second", set="human")
    write_log(tmp_path, first, second, set_name="human")
    (info,) = Explanations.open(tmp_path).sets
    assert (info.name, info.n_by_people, info.explainers, info.finished) == ("human", 2, (), False)
    assert current(tmp_path) == ["second"]


def test_a_set_counts_statuses_poles_and_models(tmp_path):
    asked = {"model": "gpt", "client": "openai", "explainer": "both"}
    write_log(tmp_path, explanation("one", **asked), failed(pole="-", **asked), failed("timed_out", neuron=3, **asked))
    (info,) = Explanations.open(tmp_path).sets
    assert info.counts == {"ok": 1, "refused": 1, "timed_out": 1}
    assert (info.n_poles, info.explainer, info.model) == (3, "both", "gpt")


def test_a_run_without_explanations_has_none(tmp_path):
    explanations = Explanations.open(tmp_path)
    assert explanations.sets == () and explanations.of(1, 2) == [] and list(explanations.all()) == []
    assert not Explanations.exist(tmp_path)


def test_only_the_sets_that_are_named_are_read(tmp_path):
    write_log(tmp_path, explanation("one"))
    write_log(tmp_path, set_name="b", tail="damaged\nx\n")
    assert [s.name for s in Explanations.open(tmp_path, sets=["a"]).sets] == ["a"]
    with pytest.raises(UsageError, match=r"no set 'c' \(there are a, b\)"):
        Explanations.open(tmp_path, sets=["c"])


@pytest.mark.parametrize("tail", ['{"id": "0000', "{}", '{"id": "00\n', "\0\0\0\0\n"])
def test_a_torn_last_line_is_ignored(tmp_path, tail):
    write_log(tmp_path, explanation("one"), tail=tail)
    assert [s.text for s in Explanations.open(tmp_path).of(1, 2)] == ["one"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"id": "00', "Invalid JSON"),
        ("[1, 2]", "top level"),
        ("{}", "field id"),
        (explanation().model_dump_json().replace('"pole":"+"', '"pole":"*"'), "field pole"),
        (explanation().model_dump_json().replace('"neuron":2', '"neuron":-2'), "field neuron"),
        ("[" * 100_000, "Invalid JSON"),
        (" " * (SETS.max_line + 1), "longer than"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, why):
    path = write_log(tmp_path, explanation("one"), tail=f"{line}\n{explanation('two').model_dump_json()}\n")
    with pytest.raises(BadRunError, match=why) as e:
        Explanations.open(tmp_path)
    assert e.value.where == str(path)
    assert e.value.what.startswith("line 2: ")


def test_a_key_that_only_the_whole_entry_needs_is_checked_when_it_is_shown(tmp_path):
    bad = explanation("two", neuron=3).model_dump_json().replace('"temperature":null', '"temperature":"hot"')
    write_log(tmp_path, explanation("one"), tail=f"{bad}\n")
    explanations = Explanations.open(tmp_path)
    assert [s.text for s in explanations.of(1, 2)] == ["one"]
    with pytest.raises(BadRunError, match="line 2: field temperature"):
        explanations.of(1, 3)


def test_unknown_keys_are_ignored(tmp_path):
    line = explanation("one").model_dump_json()[:-1] + ', "added_later": [1]}'
    write_log(tmp_path, tail=f"{line}\n")
    assert current(tmp_path) == ["one"]


def test_a_reader_sees_what_is_appended_while_it_is_open(tmp_path):
    a = explanation("one")
    path = write_log(tmp_path, a)
    explanations = Explanations.open(tmp_path)
    assert not explanations.refresh()
    edited = edit_of(a, "Ada", "edited").model_dump_json()
    with path.open("a") as f:
        f.write(edited[:50])
    assert not explanations.refresh()
    with path.open("a") as f:
        f.write(edited[50:] + "\n")
    assert explanations.refresh()
    assert [s.text for s in explanations.of(1, 2) if s.current] == ["edited"]
    assert [r.text for r in explanations.search(current=True)] == ["edited"]


def test_a_reader_sees_new_finished_and_removed_sets(tmp_path):
    write_log(tmp_path, explanation("one"))
    explanations = Explanations.open(tmp_path)
    path = write_log(tmp_path, explanation("two", set="b"), set_name="b")
    assert explanations.refresh() and explanations.set_names == ("a", "b")
    (tmp_path / "explanations" / "b_meta.json").write_text("{}")
    assert explanations.refresh() and [s.finished for s in explanations.sets] == [False, True]
    path.unlink()
    assert explanations.refresh() and explanations.set_names == ("a",)


def test_a_log_that_was_replaced_is_read_again(tmp_path):
    path = write_log(tmp_path, explanation("one"), explanation("two", neuron=3))
    explanations = Explanations.open(tmp_path)
    other = path.with_suffix(".new")
    other.write_text(explanation("another").model_dump_json() + "\n")
    os.replace(other, path)  # noqa: PTH105
    assert explanations.refresh()
    assert [s.text for s in explanations.all()] == ["another"]


def test_the_search_finds_all_words_in_any_case(tmp_path):
    write_log(tmp_path, explanation("Names of CITIES in Texas"), explanation("cities of Ohio", neuron=3))
    explanations = Explanations.open(tmp_path)
    assert [r.at.neuron for r in explanations.search("cities")] == [2, 3]
    assert [r.at.neuron for r in explanations.search("texas cities")] == [2]
    assert explanations.search("paris") == []


def test_the_search_takes_names_of_layers_neurons_and_poles(tmp_path):
    write_log(
        tmp_path, explanation("a"), explanation("b", pole="-"), explanation("c", neuron=22), explanation("d", layer=2)
    )
    explanations = Explanations.open(tmp_path)
    for text, found in (("L1N2", "ab"), ("l1n2-", "b"), ("L1", "abc"), ("L1N22 c", "c"), ("L9", "")):
        assert "".join(r.text for r in explanations.search(text)) == found


def test_the_search_filters(tmp_path):
    a, b = explanation("one"), explanation("two", neuron=3, explainer="both", pole="-")
    lock, edited = about(a, "Ada", "lock", value=1), edit_of(b, "Ada", "two, edited")
    write_log(tmp_path, a, b, failed(neuron=4), lock, edited)
    write_log(tmp_path, explanation("other", set="b"), set_name="b")
    explanations = Explanations.open(tmp_path)

    def texts(**flags) -> list[str]:
        return [r.text for r in explanations.search(**flags)]

    assert texts(status="refused") == [""]
    assert texts(explainer="both") == ["two"]
    assert texts(set="b") == ["other"]
    assert texts(pole="-") == ["two", "two, edited"]
    assert texts(author="human") == ["two, edited"]
    assert texts(locked=True) == ["one"]
    assert texts(current=True) == ["one", "other", "two, edited"]


def test_rows_hold_the_beginning_of_a_long_text_and_the_explanation_all_of_it(tmp_path):
    write_log(tmp_path, explanation("x" * (SEARCHED + 1)))
    explanations = Explanations.open(tmp_path)
    assert len(explanations.rows()[0].text) == SEARCHED
    assert len(explanations.of(1, 2)[0].text) == SEARCHED + 1


def test_an_explanation_is_found_by_its_id(tmp_path):
    a = explanation("one")
    write_log(tmp_path, explanation("before", neuron=1), a)
    explanations = Explanations.open(tmp_path)
    found = explanations.get(a.id)
    assert found is not None and found.text == "one"
    assert explanations.get(an_id()) is None


def test_a_caller_can_attach_scores(tmp_path):
    write_log(tmp_path, explanation("one"))
    (shown,) = Explanations.open(tmp_path).of(1, 2)
    assert dataclasses.replace(shown, scores={"rule": 0.5}).scores == {"rule": 0.5}


def test_a_link_out_of_the_run_and_a_pipe_are_refused(tmp_path):
    outside = write_log(tmp_path / "other", explanation("one"))
    (tmp_path / "run" / "explanations").mkdir(parents=True)
    link = tmp_path / "run" / "explanations" / "a.jsonl"
    link.symlink_to(outside)
    with pytest.raises(BadRunError, match="leads out"):
        Explanations.open(tmp_path / "run")
    link.unlink()
    os.mkfifo(link)
    with pytest.raises(BadRunError, match="not a regular file"):
        Explanations.open(tmp_path / "run")


def test_files_that_are_no_logs_are_no_sets(tmp_path):
    path = write_log(tmp_path, explanation("one"))
    for name in (".tmp-a.jsonl", "a_meta.jsonl", "no name.jsonl", "a.json"):
        (path.parent / name).write_text("x")
    assert Explanations.open(tmp_path).set_names == ("a",)


def test_rows_that_were_made_are_those_of_a_new_reader_after_every_refresh(tmp_path):
    first = [explanation(f"text {n}", neuron=n % 5, pole="+-"[n % 2], sample=n) for n in range(10)]
    path = write_log(tmp_path, *first)
    write_log(tmp_path, explanation("other", set="b"), set_name="b")
    explanations = Explanations.open(tmp_path)
    explanations.rows()
    for line in (edit_of(first[3], "Ada", "edited"), choice(first[8]), explanation("new pole", layer=0, neuron=4)):
        with path.open("a") as f:
            f.write(line.model_dump_json() + "\n")
        assert explanations.refresh()
        assert explanations.rows() == Explanations.open(tmp_path).rows()
        assert explanations.sets == Explanations.open(tmp_path).sets


@pytest.mark.parametrize("limit", ["MAX_LINES", "MAX_CHARACTERS"])
def test_more_than_can_be_read_is_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(f"neuron_signatures.runs.explanations.index.{limit}", 2)
    write_log(tmp_path, explanation("x"), explanation("x", neuron=3))
    write_log(tmp_path, explanation("x", set="b"), set_name="b")
    assert len(list(Explanations.open(tmp_path, sets=["a"]).all())) == 2
    with pytest.raises(BadRunError, match="has more than"):
        Explanations.open(tmp_path)
    write_log(tmp_path, *(explanation("x", neuron=n) for n in range(3)))
    with pytest.raises(BadRunError, match="has more than"):
        Explanations.open(tmp_path, sets=["a"])


@hypothesis.given(st.data())
def test_a_damaged_log_is_read_or_refused_by_name(data):
    a = explanation("one")
    lines = [a, edit_of(a, "Ada", "two"), about(a, "Bo", "vote", value=1), choice(a, {a.id: 0.5})]
    with tempfile.TemporaryDirectory() as folder:
        path = write_log(Path(folder), *lines)
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6) | st.sampled_from(_DAMAGE))
        path.write_bytes(raw)
        try:
            explanations = Explanations.open(folder)
            for shown in explanations.all():
                assert shown.entry.set and shown.current in (True, False)
            explanations.search("one")
        except BadRunError as e:
            assert "a.jsonl" in str(e) and str(e).isprintable()
