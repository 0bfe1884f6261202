"""The corpus of installed packages, on a made-up site-packages and on the real one."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from neuron_signatures.records.corpus.sources import local
from neuron_signatures.records.corpus.sources.local import LocalSource
from neuron_signatures.records.corpus.sources.local_text import (
    Repeats,
    excerpt,
    is_readable,
    joined_docstrings,
    without_legal_header,
)

CODE = '''# Copyright 2020 The Authors
# Licensed under the Apache License

"""The module {n} of a package says what it is for, in a sentence that is {n} long."""

import nothing_that_is_installed
raise SystemExit("this must never run")


class Door:
    """A door number {n} with hinges and a lock that nobody has opened in a very long time."""

    def open(self):
        """Opens the door {n} and returns whether it was locked before someone came with the key."""
        return "the body {n} of the function is in the code and in no docstring"
'''


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two distributions in place of all others."""
    for name in ("first", "second"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        description = f"The {name} package opens doors.\n" + "\n".join(f"{name}{i} is a word." for i in range(30))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\n{description}\n")
        files = {f"{name}/m{i}.py": CODE.format(n=chr(97 + i) * 9) + f"\n{name}_end_{i} = 1\n" for i in range(12)}
        files |= {f"{name}/tests/test_a.py": CODE.format(n="x"), f"{name}/LICENSE.txt": "The licence. " * 50}
        for relative, text in files.items():
            (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / relative).write_text(text)
        (info / "RECORD").write_text("".join(f"{relative},,\n" for relative in files))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(local, "_standard_library", lambda: iter(()))
    return tmp_path


def test_documents_of_packages(packages: Path) -> None:
    items = [i for i in LocalSource().items() if not i.skipped]
    names = [i.name for i in items]
    assert {"first: description", "second: description"} <= set(names)
    assert not any("test" in n or "LICENSE" in n for n in names)
    files = [n.removesuffix(" (docstrings)") for n in names]
    assert len(set(files)) == len(files)  # docstrings or code, never both
    for item in items:
        if item.name.endswith("(docstrings)"):
            assert "Door.open\nOpens the door" in item.text and "in no docstring" not in item.text
        elif item.name.endswith(".py"):
            assert item.text.startswith('"""The module') and "Copyright" not in item.text


def test_the_same_packages_give_the_same_corpus(packages: Path) -> None:
    assert list(LocalSource().items()) == list(LocalSource().items())
    described = LocalSource().describe()
    assert described["packages"].keys() == {"python", "first", "second"}
    metadata = packages / "first-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    assert LocalSource().describe()["packages_sha256"] != described["packages_sha256"]


def test_packages_are_mixed() -> None:
    """The first documents of the real corpus are of many packages and of prose and code."""
    names = [i.name for i in itertools.islice((i for i in LocalSource().items() if not i.skipped), 150)]
    assert len({n.partition(":")[0] for n in names}) > 15
    docstrings = sum(n.endswith("(docstrings)") for n in names)
    assert 30 < docstrings < 140
    assert not any(n.startswith("neuron-signatures") for n in names)


def test_docstrings_come_with_their_names() -> None:
    code = '"""Module."""\nclass A:\n    """Class."""\n    async def f(self):\n        """Method."""\ndef g(): pass\n'
    assert joined_docstrings(code) == "Module.\n\nA\nClass.\n\nA.f\nMethod."
    assert joined_docstrings("def broken(") == joined_docstrings("x = 1") == joined_docstrings("a\0b") == ""


def test_legal_headers_are_removed() -> None:
    assert without_legal_header("#!/bin/x\n# Copyright 2020\n#\n\nimport os\n") == "import os\n"
    assert without_legal_header("# What this does\nimport os\n") == "# What this does\nimport os\n"


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("A sentence that a person would read. " * 4 + "\n" + "And another one. " * 6, True),
        ("Too short.", False),
        ("line of text\n" * 20 + "x" * 1001, False),
        ("0x1f, 0x2e, 0x3d, 0x4c,\n" * 30, False),
        ("# This file is generated, do not edit\n" + "text is here\n" * 50, False),
        ("words " * 100, False),
    ],
)
def test_what_a_person_would_read(text: str, readable: bool) -> None:
    assert is_readable(text) == readable


def test_texts_that_repeat_earlier_ones() -> None:
    earlier = Repeats()
    licence = [f"clause {chr(97 + i % 26) * 3} of the licence with words {chr(97 + i // 3) * 4}" for i in range(60)]
    assert not earlier.repeats("\n".join(licence))
    assert earlier.repeats("\n".join(["Copyright 2021", *licence]).upper())
    assert not earlier.repeats("\n".join(f"something else {chr(97 + i % 26) * 5} entirely here" for i in range(60)))
    assert not Repeats().repeats("") and not earlier.repeats("short\nlines")


def test_an_excerpt_is_a_piece_that_ends_with_a_paragraph() -> None:
    text = "".join(f"paragraph {i:05d} of a few words\n\n" for i in range(2000))
    found = [excerpt(text, bytes([n])) for n in range(8)]
    assert len(set(found)) == 8 and all(f in text and f.endswith("words\n\n") for f in found)
    assert all(1_000 < len(f) <= 2_000 for f in found)
    short = "s" * 300
    assert excerpt(short, b"x") == short and excerpt("", b"x") == ""
