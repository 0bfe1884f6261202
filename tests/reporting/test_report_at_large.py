"""Neurons at large and drift in the report: what it says, and that hostile text stays text."""

from __future__ import annotations

import shutil

import neuron_tables
import pytest
from paths import DEMO_RUN
from report_pages import make_report

from neuron_signatures.runs.names import COMPARISONS
from neuron_signatures.runs.run import Run

DRIFT = "How does it differ from other checkpoints?"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The small demo run with results of hand, about its own neurons."""
    run_dir = shutil.copytree(DEMO_RUN, tmp_path_factory.mktemp("report") / "demo")
    with Run.open(run_dir) as run:
        neurons = [(layer, n) for layer in run.layers for n in range(run.manifest.d_mlp)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neuron_tables, "NEURONS", neurons)
        patch.setattr(neuron_tables, "_CLASSES", ("prediction",) * run.manifest.d_mlp)
        neuron_tables.everything(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def page(demo):
    return make_report(demo)


def test_cards_have_weight_class_neighbours_and_meanings(page):
    assert page.text.count("at large") >= 10 and "prediction: kurtosis" in page.text
    assert "output weights like" in page.text and "effective number 1.75 (random neurons 1.25)" in page.text


def test_drift_has_a_figure_a_table_and_its_null(page):
    assert DRIFT in page.text and "2 runs beside step 200, the reference" in page.text
    assert "Grey: permuted tokens" in page.text and "0.010 ± 0.020" in page.text
    assert "The largest step is from" in page.text and "75% of the bootstrap draws" in page.text
    assert any(a.get("aria-label") == "debiased CKA by checkpoint" for name, a in page.tags if name == "svg")


def test_hostile_text_stays_text(page):
    assert not page.unbalanced and not page.open
    assert not any(name in ("img", "script") for name, _ in page.tags) and "\x1b" not in page.text


def test_a_damaged_comparison_is_one_line(demo, tmp_path):
    run_dir = shutil.copytree(demo, tmp_path / "demo")
    (run_dir / COMPARISONS / "checkpoints" / "models.parquet").write_bytes(b"PAR1 not a table PAR1")
    found = make_report(run_dir)
    assert DRIFT in found.text and "models.parquet" in found.text


def test_without_comparisons_there_is_no_section(tmp_path):
    found = make_report(shutil.copytree(DEMO_RUN, tmp_path / "demo"))
    assert DRIFT not in found.text and "at large" not in found.text
