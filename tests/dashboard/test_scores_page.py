"""Scores in the explorer: on the neuron's page, over neurons, and what is empty, unfinished or damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explanation_runs import lookup
from explorer import html_of, open_page, plain_run, read_as_markdown, shown
from hostile_scores import hostile_scores
from record_runs import make_record_run
from score_runs import HEADLINE, about, line, make_scored_run, stored_windows, write_score_log, write_set
from streamlit.testing.v1 import AppTest

from neuron_signatures.dashboard.scores import figures
from neuron_signatures.dashboard.scores.aligned_html import mistake_html, windows_html
from neuron_signatures.dashboard.scores.frames import SetLine, score_frame, set_frame
from neuron_signatures.dashboard.scores.neuron_panel import with_texts
from neuron_signatures.dashboard.scores.sets_panel import chosen_of
from neuron_signatures.dashboard.scores.table_html import score_table
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.scores.line import StoredMistake
from neuron_signatures.runs.scores.names import SCORES
from neuron_signatures.views.scores import over_neurons
from neuron_signatures.views.scores.mistakes import shown_mistakes
from neuron_signatures.views.scores.over_neurons import PolePair
from neuron_signatures.views.scores.reading import RunScores
from neuron_signatures.views.scores.windows import aligned_windows


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A runs root with the hand-made scored run; read only."""
    folder = tmp_path_factory.mktemp("scores")
    make_scored_run(folder / "run")
    return folder


def scores_page(root: Path, monkeypatch, **address: str) -> AppTest:
    page = open_page(root, monkeypatch, view="scores", run="run", **address)
    assert not page.exception
    return page


def neuron_page(root: Path, monkeypatch, layer: int, neuron: int) -> AppTest:
    page = open_page(root, monkeypatch, view="neuron", run="run", layer=str(layer), neuron=str(neuron))
    assert not page.exception
    return page


def sets_table(page: AppTest) -> pd.DataFrame:
    return page.dataframe[0].value.set_index("scored set")


@pytest.mark.parametrize("view", ["neuron", "scores"])
def test_a_run_without_scores_names_the_next_command(tmp_path: Path, monkeypatch, view: str):
    plain_run(tmp_path / "run")
    page = open_page(tmp_path, monkeypatch, view=view)
    assert not page.exception and not page.error and "poc6" not in shown(page)
    make_record_run(tmp_path / "run", n_documents=30, n_sample=20)
    write_set(tmp_path / "run", lookup())
    page = open_page(tmp_path, monkeypatch, view=view)
    assert "poc6_score_explanations --run_dir" in shown(page) and not page.exception


def test_every_scored_set_has_a_row_with_its_summary(root: Path, monkeypatch):
    found = sets_table(scores_page(root, monkeypatch))
    row = found.loc["highlighted__embedding"]
    assert row["mean"] == pytest.approx(0.5) and row["poles"] == 3 and row["low"] <= 0.5 <= row["high"]
    assert row["undefined"] == "1 the prediction is the same everywhere" and "refused" in row["failed"]
    assert row["lift"] == pytest.approx(row["mean"] - row["null"])
    assert found.loc["contrastive__rule", "state"] == "not finished"
    chosen = found.loc["contrastive__rule-select"]
    assert "for choosing, not a score" in chosen["state"] and pd.isna(chosen["mean"])
    assert found.loc["highlighted__detection-some-model", "coverage"] == pytest.approx(2.5 / 3)


def test_the_page_opens_on_a_simulator_and_shows_all_parts(root: Path, monkeypatch):
    page = scores_page(root, monkeypatch)
    text = shown(page)
    assert page.selectbox(key="scores_set").value == "highlighted__embedding"
    assert page.selectbox(key="scores_score").value == HEADLINE
    for part in ("Scores and their null", "By layer", "Against another set", "Where explanations fail"):
        assert part in text
    assert "highlighted - intervals" in text and "over 2 poles of 2 neurons" in text
    assert "predicted too little" in text and "state capitals, most of all Austin" in text
    assert len(page.get("plotly_chart")) == 3


def test_a_link_names_the_set_and_the_score(root: Path, monkeypatch):
    page = scores_page(root, monkeypatch, scored="intervals__embedding", score="auprc/uniform")
    assert page.selectbox(key="scores_score").value == "auprc/uniform"
    assert page.query_params["scored"] == "intervals__embedding"
    page.selectbox(key="scores_set").set_value("lookup__rule").run()
    assert page.query_params["scored"] == "lookup__rule" and "score" not in page.query_params
    page.selectbox(key="scores_score").set_value("auprc/uniform").run()
    assert page.query_params["score"] == "auprc/uniform" and not page.exception


def test_an_unknown_set_in_a_link_gives_a_message_and_the_default(root: Path, monkeypatch):
    page = scores_page(root, monkeypatch, scored="../x<b>", score="y")
    assert any("does not exist or cannot be read" in w.value for w in page.warning)
    assert page.selectbox(key="scores_set").value == "highlighted__embedding"


def test_values_for_choosing_have_a_label_and_no_summary(root: Path, monkeypatch):
    page = scores_page(root, monkeypatch, scored="contrastive__rule-select")
    text = shown(page)
    assert "measured on the part select: for choosing, not a score" in text
    assert "By layer" not in text and not page.get("plotly_chart")
    assert "not finished: a command is adding to it" in shown(
        scores_page(root, monkeypatch, scored="contrastive__rule")
    )


def test_the_order_of_the_list_and_the_shape_of_the_distribution(root: Path, monkeypatch):
    page = scores_page(root, monkeypatch, scored="intervals__embedding")
    assert page.dataframe[-1].value["value"].is_monotonic_increasing
    page.button_group(key="ui_scores_order").set_value("largest first").run()
    page.button_group(key="ui_scores_shape").set_value("cumulative").run()
    assert page.dataframe[-1].value["value"].is_monotonic_decreasing and not page.exception


def test_a_button_of_a_failure_opens_its_neuron(root: Path, monkeypatch):
    page = scores_page(root, monkeypatch, scored="intervals__embedding")
    lowest = page.dataframe[-1].value["neuron"][0]
    next(b for b in page.button if b.label == lowest).click().run()
    assert not page.exception and page.query_params["view"] == "neuron"
    assert f"L{page.query_params['layer']}N{page.query_params['neuron']}+" == lowest


def test_the_neurons_page_has_scores_beside_the_explanations(root: Path, monkeypatch):
    page = neuron_page(root, monkeypatch, 0, 0)
    text = shown(page)
    assert "correlation/uniform .90 [.85, .95], no null, n 400 (12 active) (rule)" in text  # on the card
    tables = [h for h in html_of(page) if 'class="ns-sco"' in h]
    own = next(t for t in tables if "balanced_accuracy/detection" in t and HEADLINE in t)
    assert (
        "[.55, .65]" in own
        and "(6)" in own
        and "null of all layers" in own
        and "controls: shuffled .40" in own
        and "ceiling .98" in own
    )
    assert "embedding could not score it: refused" in text and "I cannot help with that" in text
    windows = next(h for h in html_of(page) if 'class="c w"' in h)
    assert "simulated" in windows and "not simulated: refused" in windows and "<b>x</b>" not in windows
    page.selectbox(key="score_windows_L0N0").select_index(1).run()
    assert not page.exception


def test_a_score_without_a_value_says_why_on_the_neurons_page(root: Path, monkeypatch):
    text = shown(neuron_page(root, monkeypatch, 0, 3))
    assert "undefined: the prediction is the same everywhere" in text
    assert "could not score it: timed out" in shown(neuron_page(root, monkeypatch, 0, 1))


def test_the_overview_counts_the_scores(root: Path, monkeypatch):
    text = shown(open_page(root, monkeypatch, view="overview", run="run"))
    assert "explanations scored" in text and "1 for choosing" in text and "1 unfinished" in text


def test_a_neuron_without_scores_says_so(root: Path, monkeypatch):
    assert "No explanation of this neuron has been scored." in shown(neuron_page(root, monkeypatch, 1, 9))


def test_damaged_logs_are_named_and_the_others_shown(tmp_path: Path, monkeypatch):
    folder = make_scored_run(tmp_path / "run") / SCORES
    (folder / "lookup__rule.parquet").write_bytes(b"no table")
    (folder / "intervals__embedding_meta.json").write_text("{")
    log = folder / "highlighted__embedding.jsonl"
    log.write_bytes(b"x" + log.read_bytes()[1:])  # its table is whole
    page = scores_page(tmp_path, monkeypatch)
    text = shown(page)
    assert "cannot be read" in text and "lookup__rule.parquet" in text and "intervals__embedding_meta.json" in text
    assert "highlighted__detection-some-model" in sets_table(page).index
    page = neuron_page(tmp_path, monkeypatch, 0, 0)
    assert "balanced_accuracy/detection" in shown(page) and "highlighted__embedding.jsonl" in shown(page)


def test_appended_lines_are_shown_at_the_next_run(tmp_path: Path, monkeypatch):
    run_dir = make_record_run(tmp_path / "run")
    write_set(run_dir, lookup())
    of, at = about("lookup", "rule"), NeuronPole(0, 0, "+")
    write_score_log(run_dir, of, [line(at, "a" * 16, {HEADLINE: 0.1})], finished=False)
    page = scores_page(tmp_path, monkeypatch)
    assert sets_table(page)["mean"].tolist() == [0.1]
    write_score_log(run_dir, of, [line(NeuronPole(0, 1, "+"), "b" * 16, {HEADLINE: 0.3})])
    page.run()
    assert not page.exception and sets_table(page)["mean"].tolist() == [pytest.approx(0.2)]
    assert "changed on disk" not in shown(page) and sets_table(page)["state"].tolist() == ["finished"]


@pytest.mark.parametrize("view", ["scores", "neuron"])
def test_hostile_text_is_never_markup(tmp_path: Path, monkeypatch, view: str):
    hostile_scores(tmp_path / "run")
    page = open_page(tmp_path, monkeypatch, view=view, run="run", layer="0", neuron="0")
    assert not page.exception and not page.error
    assert "EVIL" not in read_as_markdown(page)
    for block in html_of(page):
        for bad in ("<img", "<script", "<iframe", "<b>EVIL", "\x1b", "\u202e"):
            assert bad not in block
    assert "EVIL" in shown(page)


def test_windows_and_mistakes_as_html_are_escaped(root: Path):
    at = NeuronPole(0, 0, "+")
    with Records.open(root / "run") as records:
        own = line(at, "a" * 16, {HEADLINE: 0.1}, windows=stored_windows(records, at), mistakes=[
            StoredMistake(window=stored_windows(records, at)[0].window, pos=2, predicted=0.9, actual=0.1)
        ])  # fmt: skip
        windows, mistakes = aligned_windows(records, own, at), shown_mistakes(records, own)
    html = windows_html(windows)
    assert "\x1b" not in html and "\\x1b" in html and html.count("<details>") == 4
    assert html.count('class="c') + html.count('class="f c') >= sum(len(w.tokens) for w in windows)
    assert "mistake: predicted 90%, was 10%" in html
    assert "predicted too much" in mistake_html(mistakes[0]) and "\x1b" not in mistake_html(mistakes[0])


def test_tables_without_values_keep_their_columns(root: Path):
    scores = RunScores(root / "run")
    rows = scores.score_rows(NeuronPole(0, 0, "+"))
    frame = score_frame(rows)
    assert frame["value"].notna().all() and "empty" not in frame and "shuffled" in frame
    assert score_table([]).count("<tr>") == 1
    assert list(set_frame([SetLine(scores.sets[1], None, HEADLINE)])["state"]) == ["for choosing, not a score"]
    assert {s.is_current for s in with_texts(rows, None)} == {True}
    assert chosen_of([], "x", "y") is None
    assert chosen_of(scores.sets, "x", "y").info.name == "highlighted__embedding"


def test_points_of_figures_open_their_neuron(root: Path):
    table = RunScores(root / "run").table("intervals__embedding")
    every = over_neurons.points(table, HEADLINE)
    figure = figures.layers(over_neurons.by_layer(table, HEADLINE), every)
    assert [tuple(d) for d in figure.data[0].customdata] == [(p.at.layer, p.at.neuron) for p in every]
    pair = PolePair(NeuronPole(1, 7, "-"), 0.5, 0.25)
    points = figures.two_sets([pair], "a", "b").data[0]
    assert list(points.x) == [0.25] and list(points.y) == [0.5] and list(points.customdata[0]) == [1, 7]


def test_more_points_than_a_figure_shows_are_a_fixed_part(monkeypatch):
    monkeypatch.setattr(figures, "MOST_POINTS", 10)
    found = [PolePair(NeuronPole(0, i, "+"), i / 50, 0.0) for i in range(50)]
    shown_points = [figures.two_sets(found, "a", "b").data[0].y for _ in range(2)]
    assert len(shown_points[0]) == 10 and (np.array(shown_points[0]) == np.array(shown_points[1])).all()


def test_distributions_have_shares_and_the_means():
    values, null = [0.4, 0.5, 0.6], [0.0, 0.1, 0.0, -0.1]
    bars = figures.histograms(values, null, 0.5)
    assert [sum(b.y) for b in bars.data] == [pytest.approx(1), pytest.approx(1)]
    assert [s.x0 for s in bars.layout.shapes] == [pytest.approx(0), pytest.approx(0.5), 0.5]
    steps = figures.cumulative(values, null)
    assert [d.y[-1] for d in steps.data] == [1, 1]
    assert not figures.histograms([], []).data and figures.chance_of("auroc/uniform") == 0.5
