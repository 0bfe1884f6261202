"""The view Skills on hand-made results: what it says, what it asks for, and hostile names."""

from __future__ import annotations

import pytest
from analysis_runs import BOS, make_run, random_acts
from explorer import page_of, shown
from skill_tables import CLASSES, all_modes, collected, compared, explained, steered

from neuron_signatures.runs.skills.names import SKILLS


@pytest.fixture
def root(tmp_path):
    prompts = {"p0": [BOS, " a", " b"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    return tmp_path


def test_without_texts_the_command_that_collects_is_shown(root):
    page = page_of(root, "skills").run()
    assert not page.exception and "--mode collect --texts demo --saes demo" in shown(page)


def test_each_missing_mode_is_asked_for(root):
    collected(root / "run")
    assert "--mode compare" in shown(page_of(root, "skills").run())
    compared(root / "run")
    text = shown(page_of(root, "skills").run())
    assert "--mode explain" in text and "--mode steer" in text and "--mode compare" not in text


def test_everything_is_shown_with_its_null_and_control(root):
    all_modes(root / "run")
    page = page_of(root, "skills").run()
    assert not page.exception
    text = shown(page)
    assert "halves of a class 0.950, different classes 0.250" in text
    assert "with permuted labels 0.000 ± 0.020, p 0.001 (1,000 draws)" in text
    assert "length of a text alone has an AUROC of 0.625" in text
    assert "2 autoencoders, FVU up to 1.10" in "".join(e.label for e in page.expander)
    tables = [frame.value for frame in page.dataframe]
    assert any("win rate" in t for t in tables) and any("held out" in t for t in tables)
    assert any("explanation" in t and t["explanation"].str.contains("recipes").any() for t in tables)


def test_a_damaged_table_is_one_line(root):
    all_modes(root / "run")
    (root / "run" / SKILLS / "separation.parquet").write_bytes(b"PAR1 not a table PAR1")
    page = page_of(root, "skills").run()
    assert not page.exception and "separation.parquet" in shown(page)


def test_choices_of_unit_and_class(root):
    for make in (collected, compared, explained, steered):
        make(root / "run")
    page = page_of(root, "skills").run()
    page.selectbox("ui_skills_source").set_value("neurons").run()
    assert not page.exception
    units = next(f.value for f in page.dataframe if "held out" in f.value)
    assert units["unit"].tolist()[0] == "L0N0-"
    page.selectbox("ui_skills_class").set_value(CLASSES[1]).run()
    assert not page.exception
