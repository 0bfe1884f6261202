"""Which texts are used: duplicates, halves, classes, and files of every format."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.skills.collect.texts.choose import choose_texts, read_texts
from neuron_signatures.skills.collect.texts.demo import demo_texts
from neuron_signatures.skills.collect.texts.files import read_labelled
from neuron_signatures.skills.collect.texts.labelled import LabelledText

ROWS = [
    {"text": 'a "quoted", text\nwith lines', "class": "one", "skill": "x"},
    {"text": "b é", "class": "one", "skill": ""},
    {"text": "c", "class": "two", "skill": "y"}, {"text": "d", "class": "two", "skill": "y"},
]  # fmt: skip


def write(path: Path, rows: list[dict]) -> Path:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pd.DataFrame(rows).to_parquet(path)
        return path
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as f:
        if name.endswith(".csv"):
            out = csv.DictWriter(f, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
        else:
            f.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.csv", "t.csv.gz", "t.parquet"])
def test_all_formats_hold_the_same_texts(name: str, tmp_path: Path) -> None:
    found = list(read_labelled(write(tmp_path / name, ROWS)))
    assert found == [LabelledText(r["text"], r["class"], r["skill"]) for r in ROWS]


def test_the_skill_is_optional(tmp_path: Path) -> None:
    rows = [{"text": r["text"], "class": r["class"]} for r in ROWS]
    for name in ("t.jsonl", "t.csv", "t.parquet"):
        assert {t.skill for t in read_labelled(write(tmp_path / name, rows))} == {""}


def choose(rows: list[tuple[str, str]], **more):
    given = {"n_per_class": None, "classes": None, "seed": 0, "where": "texts", **more}
    return choose_texts([LabelledText(text, cls, "") for text, cls in rows], **given)


def test_duplicates_are_left_out_and_counted() -> None:
    one, two = [("a", "one"), ("b", "one"), ("a", "one"), ("e", "one")], [("c", "two"), ("d", "two"), ("b", "two")]
    found = choose([*one, *two, ("a", "one")])
    assert [t.text for t in found.texts] == ["a", "e", "c", "d"]  # b has two classes
    assert (found.n_duplicates, found.n_ambiguous) == (2, 2)


def test_halves_and_choices_do_not_depend_on_the_order() -> None:
    rows = [(f"text {i}", "one" if i % 3 else "two") for i in range(300)]
    shuffled = random.Random(0).sample(rows, len(rows))
    half = {t.text: t.half for t in choose(rows).texts}
    assert half == {t.text: t.half for t in choose(shuffled).texts}
    assert 100 < Counter(half.values())["find"] < 200
    fewer = choose(rows, n_per_class=20).texts
    assert {t.text for t in fewer} == {t.text for t in choose(shuffled, n_per_class=20).texts}
    assert Counter(t.cls for t in fewer) == {"one": 20, "two": 20}
    assert {t.text for t in fewer} != {t.text for t in choose(rows, n_per_class=20, seed=1).texts}
    assert [t.text for t in fewer] == [text for text, _ in rows if text in {t.text for t in fewer}]


def test_classes_can_be_chosen() -> None:
    rows = [(f"{c}{i}", c) for c in ("one", "two", "three") for i in range(3)]
    assert {t.cls for t in choose(rows, classes=("one", "three")).texts} == {"one", "three"}
    with pytest.raises(UsageError, match="no class 'four'; there are one, three, two"):
        choose(rows, classes=("four",))


def test_the_demo_world_is_balanced() -> None:
    found = demo_texts(40, 0)
    assert Counter(t.cls for t in found) == dict.fromkeys(("knowledge", "mathematics", "programming", "empathy"), 40)
    assert len({t.text for t in found}) == 160
    assert set(Counter((t.cls, t.skill) for t in found).values()) <= {5, 10}
    assert found == demo_texts(40, 0) and found != demo_texts(40, 1)


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("t.jsonl", b"", "there are no texts"),
        ("t.csv", b"", "no column 'text'; it has no columns"),
        ("t.csv", b"words,label\na,b\n", "no column 'text'; it has words, label"),
        ("t.jsonl", b'{"text": "a"}\n', "no column 'class'; it has text"),
        ("t.jsonl", b'["a"]\n', "list, not an object"),
        ("t.jsonl", b"{oops\n", "not valid JSON"),
        ("t.jsonl", b'{"text": "a", "class": 3}\n', "class is int, not text"),
        ("t.jsonl", b'{"text": null, "class": "x"}\n', "text is missing"),
        ("t.jsonl", b'{"text": "a", "class": " "}\n', "class is empty"),
        ("t.jsonl", b'{"text": "a\\u0000b", "class": "x"}\n', "NUL character"),
        ("t.jsonl", b'{"text": "a\\ud800b", "class": "x"}\n', "unpaired surrogate"),
        ("t.jsonl", b'{"text": "a", "class": "\\ud800"}\n', "class has an unpaired surrogate"),
        ("t.jsonl", b'{"text": "a", "class": "' + b"x" * 300 + b'"}\n', "300 characters, more than 200"),
        ("t.csv", b"text,class\na\x00b,x\n", "NUL characters"),
        ("t.csv", b'text,class\n"a,x\n', "not valid CSV"),
        ("t.jsonl", b'{"text": "\xff", "class": "x"}\n', "not UTF-8"),
        ("t.jsonl", b'{"text": "a", "class": "x"}\n', "class 'x' has 1 text; a class needs at least 2"),
        ("t.parquet", b"PAR1", "not a whole Parquet file"),
        ("t.jsonl.gz", b"no gzip", "not a whole gzip file"),
        ("t.txt", b"hello", "ends in none of"),
    ],
)
def test_faulty_files_give_one_line(name: str, raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(UsageError) as found:
        read_texts(str(path), n_per_class=None, classes=None, seed=0)
    line = found.value.line()
    assert message in line and "\n" not in line and name in line and len(line) < 600
