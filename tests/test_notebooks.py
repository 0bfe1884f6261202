"""The notebooks run without a network, and still give the outputs that are stored in them."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from notebook_outputs import NOTEBOOKS, executed, outputs, split_numbers
from paths import ROOT

NAMES = {"explain_and_score.ipynb", "look_up_table.ipynb", "puzzles.ipynb", "steer_skills.ipynb"}
QUICK = {"puzzles.ipynb"}


def test_the_notebooks_are_found():
    assert {path.name for path in NOTEBOOKS} == NAMES


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[] if p.name in QUICK else pytest.mark.slow) for p in NOTEBOOKS]
)
def test_a_notebook_gives_its_stored_outputs(path):
    """The same texts; numbers may differ in the last digit that is shown."""
    stored, found = (outputs(notebook) for notebook in (nbformat.read(path, as_version=4), executed(path)))
    assert len(stored) == len(found)
    for before, now in zip(stored, found, strict=True):
        assert len(before) == len(now)
        for (text, numbers), (new_text, new_numbers) in zip(
            map(split_numbers, before), map(split_numbers, now), strict=True
        ):
            assert new_text == text
            assert new_numbers == pytest.approx(numbers, abs=0.11, rel=0.01)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_holds_nothing_of_the_machine_that_ran_it(path):
    raw = path.read_text(encoding="utf-8")
    assert len(raw) < 100_000
    assert not re.search(r"/(?:home|root|tmp|work|Users)/|[A-Z]:\\\\", raw)
    assert str(ROOT) not in raw
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kinds = [output.output_type for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert kinds and "error" not in kinds
    assert not any(o.get("name") == "stderr" for c in notebook.cells for o in c.get("outputs", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_and_files_of_a_notebook_exist(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    for link in re.findall(r"\]\(([^)#\s]+)\)", text):
        assert (path.parent / link).exists(), link
    for file in re.findall(r"(?:docs|scripts|tests|neuron_signatures)/[\w./-]+\w", text):
        assert (ROOT / file).exists(), file


def test_numbers_are_told_apart_from_texts():
    assert split_numbers("L2N286+  0.99  -.5 (12)") == ("L2N286+ # # (#)", [0.99, -0.5, 12.0])
