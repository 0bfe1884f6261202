"""Puzzle files: what they say, and what is wrong with them."""

from __future__ import annotations

import json

import pytest
from paths import ROOT

from neuron_signatures.explain.puzzles import TokenAct, read_puzzles
from neuron_signatures.runs.errors import UsageError

OURS = ROOT / "tests" / "data" / "puzzles.json"


def puzzle(**changes):
    return {
        "name": "p", "explanation": "the word cat", "false_explanations": ["the word dog"],
        "sentences": [["a", [" cat", 10]], ["a", " dog"]], **changes,
    }  # fmt: skip


def write(folder, content):
    path = folder / "puzzles.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_bare_token_has_activation_0(tmp_path):
    found = read_puzzles(write(tmp_path, [puzzle(), puzzle(name="q", sentences=[[["x", 0.5], ["y", 0]]])]))
    assert [p.name for p in found] == ["p", "q"] and found[0].false_explanations == ["the word dog"]
    assert found[0].texts() == [[TokenAct("a", 0), TokenAct(" cat", 10)], [TokenAct("a", 0), TokenAct(" dog", 0)]]
    assert found[1].texts() == [[TokenAct("x", 0.5), TokenAct("y", 0)]]


def test_keys_of_other_tools_are_ignored(tmp_path):
    assert len(read_puzzles(write(tmp_path, [puzzle(author="x")]))) == 1


BAD = [
    ([{k: v for k, v in puzzle().items() if k != "false_explanations"}], "field 0.false_explanations"),
    ([puzzle(), puzzle(name="")], "field 1.name"),
    ([puzzle(explanation=None)], "field 0.explanation"),
    ([puzzle(false_explanations="no list")], "field 0.false_explanations"),
    ([puzzle(false_explanations=["the word cat"])], "also one of false_explanations"),
    ([puzzle(sentences=[])], "field 0.sentences"),
    ([puzzle(sentences=[["a"], []])], "field 0.sentences.1"),
    ([puzzle(sentences=[["a", ["b", 1]], ["a", 3]])], r"field 0.sentences.1.1: .*neither a token nor \[token, act"),
    ([puzzle(sentences=[[["b", 1, 2]]])], "neither a token"),
    ([puzzle(sentences=[[["b", -1]]])], "field 0.sentences.0.0.1"),
    ([puzzle(sentences=[[["b", "9"]]])], "field 0.sentences.0.0.1"),
    ([puzzle(sentences=[["a", ["\ud800", 1]]])], "field 0.sentences.0.1.0: .*unicode"),
    ([puzzle(explanation="\udfff")], "field 0.explanation: .*unicode"),
    ([puzzle(sentences=[["a", ["b" * 2001, 1]]])], "field 0.sentences.0.1.0"),
    ([puzzle(sentences=[["a", "b"]])], "no token of its sentences"),
    ([puzzle(), puzzle()], "two puzzles have the name 'p'"),
    ([], "at least 1 item"),
    (puzzle(), "list"),
    ('[{"name": NaN}]', "not valid JSON"),
    ("[", "not valid JSON"),
    ("[" * 100, "nested"),
]


@pytest.mark.parametrize(("content", "reason"), BAD)
def test_a_bad_file_is_one_line_with_the_file_and_the_field(tmp_path, content, reason):
    path = write(tmp_path, content)
    with pytest.raises(UsageError, match=reason) as e:
        read_puzzles(path)
    assert e.value.where == str(path) and "\n" not in str(e.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_puzzles(tmp_path / "none.json")


def test_our_own_puzzles():
    """Ten different ones, with sentences in which the neuron is silent and near misses as false explanations."""
    found = read_puzzles(OURS)
    assert len(found) == 10 and len({p.explanation for p in found}) == 10
    for p in found:
        assert len(p.sentences) >= 6 and len(p.false_explanations) >= 2
        acts = [[t.act for t in text] for text in p.texts()]
        assert max(max(a) for a in acts) == 10
        assert sum(max(a) > 0 for a in acts) >= 4
        assert sum(act == 0 for a in acts for act in a) > sum(act > 0 for a in acts for act in a)
        tokens = ["".join(t.token for t in text) for text in p.texts()]
        assert len(set(tokens)) == len(tokens)
