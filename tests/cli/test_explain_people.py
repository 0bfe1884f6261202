"""`explain edit`, `vote`, `lock`, `unlock`, `note` and `list` from the command line."""

from __future__ import annotations

import getpass
import json

import pytest
from explanation_logs import about, edit_of, explanation, failed, write_log
from run_folders import write_run

from neuron_signatures.cli.command import command
from neuron_signatures.cli.explain_people import PEOPLE_COMMANDS, people_main
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.lock import run_lock


@command
def explain(argv=None) -> int:
    return people_main(argv[0], argv[1:])


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def call(capsys, run_dir, name: str, *flags: str) -> tuple[int, str, str]:
    code = explain([name, "--run_dir", str(run_dir), *flags])
    out, err = capsys.readouterr()
    return code, out, err


def test_an_edit_by_id(run_dir, capsys):
    a = explanation("one")
    write_log(run_dir, a)
    code, out, _ = call(capsys, run_dir, "edit", "--id", a.id, "--text", "better", "--author", "Ada")
    (shown,) = Explanations.open(run_dir).search(current=True)
    assert code == 0 and shown.text == "better"
    assert out == f"{shown.id} of L1N2+ in set a, by Ada, in place of {a.id}: better\n"


def test_an_edit_of_a_neuron_without_explanations(run_dir, capsys):
    code, out, _ = call(capsys, run_dir, "edit", "--neuron", "L1N2-", "--text", "by hand", "--author", "Ada", "--json")
    assert code == 0
    entry = json.loads(out)
    assert (entry["set"], entry["pole"], entry["author_name"], entry["text"]) == ("human", "-", "Ada", "by hand")


def test_vote_lock_note_and_unlock(run_dir, capsys):
    a = explanation("one")
    write_log(run_dir, a)
    of = f"{a.id} of L1N2+ in set a\n"
    for flags, said in (
        (("vote", "--neuron", "L1N2+", "--up"), "Ada voted for "),
        (("vote", "--id", a.id, "--down"), "Ada voted against "),
        (("lock", "--neuron", "L1N2+", "--set", "a"), "Ada locked "),
        (("note", "--neuron", "L1N2+", "--text", "looks right"), "Ada added a note to "),
    ):
        assert call(capsys, run_dir, *flags, "--author", "Ada")[:2] == (0, said + of)
    (shown,) = Explanations.open(run_dir).of(1, 2)
    assert (shown.up, shown.down, shown.locked_by, shown.notes[0].text) == (0, 1, "Ada", "looks right")
    assert call(capsys, run_dir, "unlock", "--id", a.id, "--author", "Ada")[:2] == (0, "Ada unlocked " + of)
    withdrawn = call(capsys, run_dir, "vote", "--id", a.id, "--withdraw", "--author", "Ada")
    assert withdrawn[:2] == (0, "Ada withdrew the vote about " + of)
    (shown,) = Explanations.open(run_dir).of(1, 2)
    assert (shown.locked, shown.votes) == (False, ())


def test_the_author_is_the_user_of_the_system_by_default(run_dir, capsys, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody")
    call(capsys, run_dir, "edit", "--neuron", "L1N2+", "--text", "x")
    assert Explanations.open(run_dir).of(1, 2)[0].entry.author_name == "somebody"

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    code, _, err = call(capsys, run_dir, "edit", "--neuron", "L1N2+", "--text", "x")
    assert code == ExitCode.USAGE and "Give --author NAME" in err


def test_mistakes_are_one_line_and_change_nothing(run_dir, capsys):
    a = explanation("one")
    path = write_log(run_dir, a, about(a, "Bo", "lock", value=1))
    before = path.read_bytes()
    for code, why, flags in (
        (2, "locked by Bo, so only Bo can edit it", ("edit", "--id", a.id, "--text", "x")),
        (2, "no explanation has the id", ("vote", "--id", "0" * 16, "--up")),
        (2, "is no pole of a neuron, such as L3N508+", ("lock", "--neuron", "L1N2")),
        (2, "one of the arguments --id --neuron is required", ("lock",)),
        (2, "one of the arguments --up --down --withdraw is required", ("vote", "--id", a.id)),
        (2, "not allowed with argument", ("vote", "--id", a.id, "--up", "--down")),
        (2, "the run has no neuron L9N9", ("edit", "--neuron", "L9N9+", "--text", "x")),
        (2, "the text of the note is empty", ("note", "--id", a.id, "--text", " ")),
    ):
        found = call(capsys, run_dir, *flags, "--author", "Ada")
        assert (found[0], found[1]) == (code, ""), found
        assert why in found[2] and found[2].count("\n") == 1
    assert path.read_bytes() == before


def test_another_writer_is_named(run_dir, capsys):
    a = explanation("one")
    write_log(run_dir, a)
    with run_lock(run_dir):
        code, _, err = call(capsys, run_dir, "vote", "--id", a.id, "--up", "--author", "Ada")
    assert code == ExitCode.LOCKED and "pid" in err and err.count("\n") == 1


def test_the_list_shows_current_explanations_escaped(run_dir, capsys):
    a = explanation("red \x1b[31mtext\nsecond line")
    b = edit_of(explanation("two", neuron=3), "Ada", "two, edited")
    write_log(run_dir, a, b, about(b, "Ada", "vote", value=1), about(b, "Ada", "lock", value=1), failed(neuron=4))
    code, out, _ = call(capsys, run_dir, "list")
    first, second = out.splitlines()
    assert code == 0 and "\x1b" not in out
    assert first.startswith(f"L1N2+        {a.id} a ") and first.endswith("red \\x1b[31mtext\\x0asecond line")
    assert second.endswith("two, edited  [by Ada, locked, +1 -0]")


def test_the_list_into_a_pipe_has_the_whole_text_and_the_whole_name_of_the_set(run_dir, capsys):
    a = explanation("word " * 300, set="highlighted__gpt-test")
    write_log(run_dir, a, set_name="highlighted__gpt-test")
    assert call(capsys, run_dir, "list")[1] == f"L1N2+        {a.id} highlighted__gpt-test {('word ' * 300).rstrip()}\n"


def test_the_list_filters_and_has_a_limit(run_dir, capsys):
    write_log(run_dir, *(explanation(f"number {n}", neuron=n) for n in range(5)), failed(neuron=0, pole="-"))
    write_log(run_dir, explanation("number x", set="b", explainer="both"), set_name="b")

    def texts(*flags: str) -> list[str]:
        out = call(capsys, run_dir, "list", "--json", *flags)[1]
        return [json.loads(line)["text"] for line in out.splitlines()]

    assert texts("--search", "number 3") == ["number 3"]
    assert texts("--search", "L1N4") == ["number 4"]
    assert texts("--status", "refused") == [""]
    assert texts("--set", "b") == texts("--explainer", "both") == ["number x"]
    assert len(texts("--all")) == 7 and len(texts()) == 6
    out = call(capsys, run_dir, "list", "--limit", "2")[1]
    assert len(out.splitlines()) == 3 and out.endswith("and 4 more (--limit)\n")
    assert call(capsys, run_dir, "list", "--search", "absent")[1] == "no explanation fits\n"
    code, _, err = call(capsys, run_dir, "list", "--set", "c")
    assert code == ExitCode.USAGE and "no set 'c'" in err


def test_a_run_without_explanations_and_a_damaged_log(run_dir, capsys):
    assert call(capsys, run_dir, "list")[:2] == (0, "no explanations\n")
    write_log(run_dir, tail=f"damaged\n{explanation('x').model_dump_json()}\n")
    code, _, err = call(capsys, run_dir, "list")
    assert code == ExitCode.BAD_RUN and "a.jsonl: line 1:" in err


@pytest.mark.parametrize("name", PEOPLE_COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as e:
        people_main(name, ["--help"])
    assert e.value.code == 0 and "--run_dir" in capsys.readouterr().out
