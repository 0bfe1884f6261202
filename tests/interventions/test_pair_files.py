"""Files of pairs: both forms, their errors, and the split of entities."""

from __future__ import annotations

import json

import pytest
from paths import ROOT

from neuron_signatures.interventions.swap.pair_files import read_pairs, split_entities
from neuron_signatures.runs.errors import UsageError


def read(tmp_path, content):
    (tmp_path / "pairs.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_pairs(tmp_path / "pairs.json", flag="--pairs_json")


def test_a_list_of_pairs(tmp_path):
    pairs = [{"destination": "A is", "source": "B is", "id": "one"}, {"destination": "C is", "source": "D is"}]
    found = read(tmp_path, {"pairs": pairs, "note": "x"})
    assert [(p.id, p.destination, p.source, p.entities, p.answers) for p in found.pairs] == [
        ("one", "A is", "B is", ("", ""), (None, None)),
        ("pair 1", "C is", "D is", ("", ""), (None, None)),
    ]
    assert found.entities == () and found.answers is None


def test_a_template_gives_all_ordered_pairs_of_its_entities(tmp_path):
    found = read(tmp_path, {"template": "{} is in", "entities": ["X", "Y", "Z"], "answers": [" x", " y", " z"]})
    assert [p.id for p in found.pairs] == ["X to Y", "X to Z", "Y to X", "Y to Z", "Z to X", "Z to Y"]
    first = found.pairs[0]
    assert (first.destination, first.source) == ("X is in", "Y is in")
    assert (first.entities, first.answers) == (("X", "Y"), (" x", " y"))
    assert [p.id for p in found.of_entities(["Z", "X"])] == ["Z to X", "X to Z"]


def test_several_templates_are_not_mixed(tmp_path):
    found = read(tmp_path, {"templates": ["{} is in", "where is {}"], "entities": ["X", "Y"]})
    assert [(p.id, p.destination, p.source) for p in found.pairs] == [
        ("X to Y, template 0", "X is in", "Y is in"), ("Y to X, template 0", "Y is in", "X is in"),
        ("X to Y, template 1", "where is X", "where is Y"), ("Y to X, template 1", "where is Y", "where is X"),
    ]  # fmt: skip
    assert found.pairs[0].answers == (None, None)


@pytest.mark.parametrize("name", ["pairs_capitals.json", "pairs_states.json"])
def test_the_files_of_the_documentation(name):
    found = read_pairs(ROOT / "docs" / name, flag="--pairs_json")
    n = len(found.entities)
    assert n >= 12 and len(found.pairs) == n * (n - 1) and all(a and a.startswith(" ") for a in found.answers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "pairs.json"),
        ("[]", "pairs.json"),
        ({}, "needs either pairs, or a template"),
        ({"pairs": []}, "needs either pairs, or a template"),
        ({"pairs": [{"destination": "A", "source": "B"}], "template": "{}", "entities": ["X", "Y"]}, "needs either"),
        ({"pairs": [{"destination": "A"}]}, "source"),
        ({"pairs": [{"destination": "", "source": "B"}]}, "destination"),
        ({"pairs": [{"destination": "A", "source": "B", "from": 1}]}, "from"),
        ({"template": "no place", "entities": ["X", "Y"]}, "{} once"),
        ({"template": "{} and {}", "entities": ["X", "Y"]}, "{} once"),
        ({"template": "{} is", "entities": ["X", "X"]}, "different and not empty"),
        ({"template": "{} is", "entities": ["X", ""]}, "different and not empty"),
        ({"template": "{} is", "entities": ["X", "Y"], "answers": [" x"]}, "1 answers for 2 entities"),
        ({"template": "{} is", "entities": ["X"]}, "has 0 pairs"),
        ({"template": "{} is", "entities": [str(i) for i in range(102)]}, "has 10302 pairs"),
        ({"template": 3, "entities": ["X", "Y"]}, "template"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(UsageError) as error:
        read(tmp_path, content)
    assert message in str(error.value) and "--pairs_json" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_pairs(tmp_path / "none.json", flag="--held_out")


def test_entities_are_split_into_two_groups_in_their_order():
    names = [f"e{i:02}" for i in range(20)]
    inside, outside = split_entities(names, 0.3, seed=0)
    assert len(outside) == 6 and sorted(inside + outside) == names
    assert inside == sorted(inside) and outside == sorted(outside)
    assert split_entities(names, 0.3, seed=0) == (inside, outside) != split_entities(names, 0.3, seed=1)


@pytest.mark.parametrize(("n", "share"), [(4, 0.2), (4, 0.8), (3, 0.5)])
def test_too_few_entities_cannot_be_split(n, share):
    with pytest.raises(UsageError, match="fewer than two on one side"):
        split_entities([str(i) for i in range(n)], share, seed=0)
