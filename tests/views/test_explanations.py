"""The explanations of a neuron as values for both viewers: order, state, provenance, chains."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from explanation_runs import HOSTILE_TEXT, OTHER, PERSON, Log, write_explanations, write_log
from hostile import CONTROLS
from record_runs import make_record_run

from neuron_signatures.cli.explain_people import people_parser
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.explanations.commands import explain_command, nothing_text, people_commands
from neuron_signatures.views.explanations.provenance import badges, chain_of, provenance
from neuron_signatures.views.explanations.reading import RunExplanations, has_explanations
from neuron_signatures.views.explanations.shown import ExplanationView
from neuron_signatures.views.explanations.texts import one_line, paragraphs, short, text_or_why


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_explanations(tmp_path_factory.mktemp("explained"))


@pytest.fixture(scope="module")
def found(run: Path) -> RunExplanations:
    return RunExplanations.read(run)


def texts(found: RunExplanations, layer: int, neuron: int, pole: str) -> list[str]:
    return [v.entry.text for v in found.of(NeuronAt(layer, neuron)).pole(pole).shown]  # type: ignore[arg-type]


def read(tmp_path: Path, *logs: Log, finished: bool = True) -> RunExplanations:
    for log in logs:
        write_log(tmp_path, log, finished=finished)
    return RunExplanations.read(tmp_path)


def every(found: RunExplanations) -> list[ExplanationView]:
    return [v for at in found.table.neurons() for v in found.of(at).shown]


def facts_of(view: ExplanationView) -> dict[str, str]:
    return dict(provenance(view))


def test_both_poles_apart_and_the_current_ones_first(found):
    first, *others = texts(found, 0, 0, "+")
    assert first == "the token · Austin, or New York", "a locked explanation is read first"
    assert others == [
        "state capitals, most of all Austin", "the name of a state capital such as Austin",
        "capital cities of US states", "words in capitals",
    ]  # fmt: skip
    high, low = found.of(NeuronAt(0, 0)).poles
    assert [v.is_current for v in high.shown] == [True, True, False, False, False]
    assert [v.entry.text for v in low.shown] == ["any token after a comma", ""] and low.first is low.shown[0]
    assert found.of(NeuronAt(1, 11)).n == 0


def test_an_edit_is_read_instead_of_the_model_s_text_and_the_newest_edit_of_a_chain_instead_of_both(found):
    pole = found.of(NeuronAt(0, 1)).pole("+")
    assert pole.first is not None and pole.first.author == OTHER and pole.first.is_human
    assert [(s.how, s.who, s.is_human) for s in chain_of(pole.first)] == [
        ("first", "some-model-2026-01", False), ("edit", PERSON, True), ("edit", OTHER, True)
    ]  # fmt: skip
    assert [s.text for s in chain_of(pole.first)][-1] == pole.first.entry.text
    assert badges(pole.first) == ["current", f"edited by {OTHER}", "votes +2"]
    assert chain_of(pole.shown[-1]) == [] and not pole.shown[-1].is_current


def test_the_choice_and_the_score_are_those_of_the_newest_choice(found):
    views = {v.entry.text: v for v in found.of(NeuronAt(0, 0)).pole("+").shown}
    revised = views["state capitals, most of all Austin"]
    assert revised.is_chosen and revised.score == 0.71 and revised.n_samples == 3
    before = views["the name of a state capital such as Austin"]
    assert not before.is_chosen and before.score == 0.62
    assert views["words in capitals"].score is None, "undefined is not zero"
    assert [s.how for s in chain_of(revised)] == ["first", "revision 1"]


def test_provenance_says_everything_that_is_stored(found):
    views = {v.entry.text: v for v in found.of(NeuronAt(0, 0)).pole("+").shown}
    facts = facts_of(views["state capitals, most of all Austin"])
    assert facts["written by"] == (
        "some-model-2026-01 (asked for some-model), openai, temperature 1, seed 0, fingerprint fp_1"
    )
    assert facts["sample"] == "2 of 3, revision 1" and facts["score"] == (
        "0.710 by rule, on select; chosen among 4: 0.710 0.620 0.310 undefined"
    )
    assert facts["evidence"] == "3 windows of the corpus: 3 1 4"
    assert facts["cost"] == "812 prompt tokens, 17 answer tokens, 0.00031 USD, 0.8 s"
    assert facts["prompt"].startswith("version highlighted-1, sha256 ") and facts["set"] == "highlighted"
    assert facts["made"].startswith("2026-03-04") and len(facts["id"]) == 16
    rule = facts_of(views["the token · Austin, or New York"])
    assert rule["written by"] == "a rule, without a language model" and "cost" not in rule and "evidence" not in rule
    assert rule["rule"] == "·Austin  ·New + ·York; precision 0.98, recall 0.75 on explain (120 active positions)"
    assert rule["locked"] == f"by {PERSON}: it is not replaced"


def test_a_failed_request_is_never_shown_as_an_explanation(found):
    low = found.of(NeuronAt(0, 0)).pole("-")
    failed = low.shown[-1]
    assert not failed.is_ok and text_or_why(failed) == "(refused: I cannot help with that)"
    assert facts_of(failed)["status"] == "refused: I cannot help with that"
    only = found.of(NeuronAt(0, 3)).pole("+")
    assert only.first is None and text_or_why(only.shown[0]) == "(timed out: no answer within 60 s)"
    assert short(found.of(NeuronAt(0, 3)), "+") == ""


def test_votes_are_the_newest_of_each_author_and_notes_have_their_author(tmp_path):
    log = Log("a")
    one = log.explain("L0N0+", "one")
    log.vote("L0N0+", one, 1)
    log.vote("L0N0+", one, -1)
    log.vote("L0N0+", one, 1, by=OTHER)
    log.vote("L0N0+", one, 0, by=OTHER)
    log.note("L0N0+", one, "seen twice")
    (view,) = every(read(tmp_path, log))
    assert (view.n_up, view.n_down) == (0, 1)
    assert facts_of(view)["votes"] == f"-1 by {PERSON}"
    assert facts_of(view)["note"] == f"seen twice ({PERSON}, 2026-03-04)"


def test_an_unlocked_explanation_gives_way_to_the_newest_edit(tmp_path):
    log = Log("a")
    one = log.explain("L0N0+", "one")
    log.lock("L0N0+", one)
    two = log.edit("L0N0+", "two", parent=one, by=OTHER)
    assert texts(read(tmp_path, log), 0, 0, "+") == ["one", "two"]
    log.lock("L0N0+", one, 0)
    found = read(tmp_path, log)
    assert texts(found, 0, 0, "+") == ["two", "one"] and found.of(NeuronAt(0, 0)).pole("+").first.entry.id == two


def test_the_short_text_takes_a_locked_one_then_a_person_s_then_the_newest_finished_set(tmp_path):
    old, new, newest = Log("a_old", minute=1), Log("b_new", minute=5), Log("c_newest", minute=9)
    first = old.explain("L0N0+", "old")
    new.explain("L0N0+", "new")
    newest.explain("L0N0+", "newest")
    at = NeuronAt(0, 0)
    read(tmp_path, newest, finished=False)
    assert short(read(tmp_path, old, new).of(at), "+") == "new  (b_new)"
    write_log(tmp_path, newest)
    assert short(RunExplanations.read(tmp_path).of(at), "+") == "newest  (c_newest)"
    old.edit("L0N0+", "a person's", parent=first)
    assert short(read(tmp_path, old).of(at), "+") == f"a person's  (by {PERSON})"
    locked = new.entries[0].id
    new.lock("L0N0+", locked)
    assert short(read(tmp_path, new).of(at), "+") == "new  (b_new, locked)"


def test_a_set_that_is_not_finished_says_so(found):
    view = next(v for v in every(found) if v.entry.set == "contrastive")
    assert not view.is_finished and facts_of(view)["set"] == "contrastive (not finished)"
    assert [(s.name, sum(s.counts.values()), s.finished) for s in found.sets] == [
        ("contrastive", 1, False), ("highlighted", 11, True), ("lookup", 3, True)
    ]  # fmt: skip
    assert short(found.of(NeuronAt(0, 2)), "-") == "keywords of Python code  (highlighted)"


def test_hostile_texts_are_escaped_everywhere(found):
    view = found.of(NeuronAt(1, 0)).pole("+").first
    assert view is not None and view.entry.text == HOSTILE_TEXT, "stored raw"
    shown = [
        one_line(view.entry.text), *paragraphs(view.entry.text), text_or_why(view), *badges(view),
        *(text for fact in provenance(view) for text in fact), short(found.of(NeuronAt(1, 0)), "+"),
    ]  # fmt: skip
    assert all(text.isprintable() for text in shown)
    assert "\\x1b[31mred" in shown[0] and "[@click=app.quit]" in shown[0]
    assert len(shown[0]) < 6000 and shown[0].endswith(" …")


def test_texts_keep_their_lines_and_nothing_else():
    assert paragraphs("\n a\tb \r\n\n\n- c\n\n") == ["a    b", "", "- c"]
    assert paragraphs(" \n ") == [] and one_line(" a \n\n b ") == "a ⏎ b" and one_line("") == ""
    assert all(one_line(c).isprintable() for c in CONTROLS)


def test_what_to_run_where_there_are_no_explanations(tmp_path):
    assert not has_explanations(tmp_path) and RunExplanations.read(tmp_path).is_empty
    assert "poc4_extract_records" in nothing_text(tmp_path), "explanations need records"
    run = make_record_run(tmp_path / "run")
    assert explain_command(run) in nothing_text(run) and "poc5_explain_neurons" in nothing_text(run)


def test_commands_of_people_name_the_explanation(run, found):
    view = found.of(NeuronAt(0, 0)).pole("+").first
    assert view is not None
    commands = dict(people_commands(run, view))
    assert all(view.entry.id in c and str(run) in c for c in commands.values())
    assert list(commands) == ["edit", "vote", "unlock", "note"]
    for label, command in commands.items():
        python, _, module, verb, *flags = shlex.split(command)
        assert (python, module, verb) == ("python", "neuron_signatures.poc5_explain_neurons", label)
        assert people_parser(verb).parse_args(flags).id == view.entry.id


def test_a_damaged_set_is_a_problem_and_the_others_are_read(tmp_path):
    log = Log("a")
    log.explain("L0N0+", "one")
    write_log(tmp_path, log)
    write_log(tmp_path, Log("b")).write_text("{}\n")
    found = RunExplanations.read(tmp_path)
    assert len(every(found)) == 1 and len(found.problems) == 1 and "b.jsonl" in found.problems[0]
