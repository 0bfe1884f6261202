"""The Contrast view: sides, answers, suggestions, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from explorer import open_page, plain_run, shown

from neuron_signatures.analysis.contrast.analyze import ContrastConfig, analyze_contrast
from neuron_signatures.dashboard.contrast.suggestions import Suggestion, suggestions
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.run import Run

A = "concepts=capital@token: is"


def test_the_neuron_that_says_a_capital_is_first_and_opens(demo: Path, monkeypatch):
    page = open_page(demo, monkeypatch, view="contrast")
    assert "Is there a neuron that says a capital?" in shown(page)
    page.text_input(key="ui_contrast_a").set_value(A).run()
    frame = page.dataframe[0].value
    result = analyze_contrast(Run.open(demo / "demo"), ContrastConfig(A, rank_by="difference")).frame
    top = result.loc[result["score"].abs().idxmax()]
    assert frame["neuron"][0] == f"L{top['layer']}N{top['neuron']}{top['pole']}" and not page.exception
    assert "L1N440-" in frame["neuron"].tolist()[:3] and {"q", "AUROC", "fires on"} <= set(frame)
    assert "with shuffled labels" in shown(page) and "--rank_by difference" in shown(page)


def test_the_suggestions_are_stored_contrasts_and_even_fields(demo: Path, monkeypatch):
    run = Run.open(demo / "demo")
    assert all(s.b == "" and s.a.endswith("@last") for s in suggestions(run)) and suggestions(run)
    assert main(["--run_dir", str(run.path), "--quiet", "--mode", "contrast", "--a", A, "--rank_by", "auroc"]) == 0
    assert suggestions(run)[0] == Suggestion(A, "", "auroc")
    page = open_page(demo, monkeypatch, view="contrast")
    page.button(key="contrast_try0").click().run()
    assert page.text_input(key="ui_contrast_a").value == A and "AUROC" in page.dataframe[0].value
    for s in suggestions(run):
        analyze_contrast(run, ContrastConfig(s.a, s.b or None))  # each can be compared


@pytest.mark.parametrize(
    ("a", "says"), [("nobody", "no prompt has the id or pattern"), ("*@nowhere", "names no positions")]
)
def test_a_wrong_side_is_one_line_and_the_page_stays(demo: Path, monkeypatch, a, says):
    page = open_page(demo, monkeypatch, view="contrast")
    page.text_input(key="ui_contrast_a").set_value(a).run()
    assert says in shown(page) and not page.exception and not page.dataframe


def test_a_run_without_fields_and_hostile_fields(tmp_path: Path, monkeypatch):
    plain_run(tmp_path / "plain")
    page = open_page(tmp_path, monkeypatch, view="contrast", run="plain")
    assert "no fields" in shown(page) and not page.exception
    plain_run(tmp_path / "evil", lengths=(3,) * 8)
    file = tmp_path / "evil" / "manifest.json"
    manifest = json.loads(file.read_text())
    for i, p in enumerate(manifest["prompts"]):
        p["metadata"] = {"kind": ":red[EVIL]" if i % 2 else "a*b", "k": "**EVIL**", "n": "<b>" if i % 2 else "x"}
    file.write_text(json.dumps(manifest))
    page = open_page(tmp_path, monkeypatch, view="contrast", run="evil")
    assert not page.exception
    labels = [b.label for b in page.button if b.key and b.key.startswith("contrast_try")]
    assert labels and all("<b>" not in label for label in labels)
