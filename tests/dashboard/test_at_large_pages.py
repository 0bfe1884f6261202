"""The views Weights, Clusters and Drift, the corpus part of Query and the panel of a neuron, on hand-made results."""

from __future__ import annotations

import neuron_tables
import pandas as pd
import pytest
from analysis_runs import BOS, make_run, random_acts
from explorer import open_page, page_of, read_as_markdown, shown
from neuron_tables import EVIL, HDBSCAN, KMEANS
from record_runs import make_record_run

from neuron_signatures.dashboard.clusters.figures import effects
from neuron_signatures.dashboard.drift import figures as drift_figures
from neuron_signatures.dashboard.drift.frames import ORDERS, most_drifted
from neuron_signatures.dashboard.query.corpus_frames import matching
from neuron_signatures.dashboard.weights import figures
from neuron_signatures.runs.names import COMPARISONS, CORPUS_ANALYSIS
from neuron_signatures.runs.records.names import RECORDS, RECORDS_META
from neuron_signatures.views.comparisons.cloud import read_cloud
from neuron_signatures.views.comparisons.course import read_checkpoints, read_cka
from neuron_signatures.views.coords import NeuronAt

VIEWS = ("weights", "clusters", "drift", "query", "neuron")


@pytest.fixture
def root(tmp_path):
    prompts = {"p0": [BOS, " a", " b"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    return tmp_path


def opened(root, view, **state):
    page = page_of(root, view, **state)
    page.query_params["on"] = "corpus" if view == "query" else "prompts"
    return page.run()


def tables(page):
    return [frame.value for frame in page.dataframe]


def choose_question(page, start):
    radio = page.radio("ui_corpus_query_kind")
    return radio.set_value(next(o for o in radio.options if o.startswith(start))).run()


@pytest.mark.parametrize(("view", "command"), [
    ("weights", "poc8_weights --run_dir"), ("clusters", "poc4_extract_records --run_dir"),
    ("drift", "poc9_compare_runs --runs"), ("query", "poc4_extract_records --run_dir"),
])  # fmt: skip
def test_without_results_the_command_is_shown(root, view, command):
    page = opened(root, view)
    assert not page.exception and not page.error and command in shown(page)
    assert "--dry_run" in shown(page) or view != "weights"


def test_with_records_the_command_names_the_analysis(root):
    make_record_run(root / "run", n_documents=12)
    assert "poc4_extract_records clusters --run_dir" in shown(opened(root, "clusters"))
    page = opened(root, "query")
    assert "poc4_extract_records ngrams --run_dir" in shown(page)
    assert "poc4_extract_records contrast --run_dir" in shown(choose_question(page, "Contrasts"))


def test_the_panel_of_a_neuron_is_not_there_without_results(root):
    assert "#### At large" not in shown(opened(root, "neuron"))


@pytest.mark.parametrize("view", VIEWS)
def test_everything_is_shown_and_hostile_text_is_not_read_as_markdown(root, view):
    neuron_tables.everything(root / "run")
    page = opened(root, view)
    assert not page.exception and not page.error and tables(page)
    assert "EVIL" not in read_as_markdown(page) and "evil.invalid" not in read_as_markdown(page)
    assert "<img" not in shown(page)


def test_classes_stand_beside_random_directions(root):
    neuron_tables.weights(root / "run")
    text = shown(opened(root, "weights"))
    assert "2 (20.00%); of random directions 5.00%" in text
    assert "99 % of 1,000 neurons have a nearest neighbour of at most 0.250" in text


def test_filters_and_order_of_the_table_of_weights(root):
    neuron_tables.weights(root / "run", gate=True)
    page = opened(root, "weights")
    page.multiselect("ui_weights_classes").set_value(["entropy"]).run()
    page.selectbox("ui_weights_layer").set_value(1).run()
    assert [t["neuron"].tolist() for t in tables(page) if "class" in t] == [["L1N3"]]
    page.selectbox("ui_weights_layer").set_value(-1).run()
    page.multiselect("ui_weights_classes").set_value([]).run()
    page.toggle("ui_weights_ascending").set_value(True).run()
    first = next(t for t in tables(page) if "class" in t)
    assert first["neuron"].iloc[0] == "L0N0" and "cos gate, out" in first and "frequency r" not in first
    page.button_group("ui_weights_kind").set_value("gate").run()
    assert not page.exception


@pytest.mark.parametrize("pair", figures.PAIRS, ids=lambda p: p.title)
def test_figures_of_weights_survive_none_one_and_constant_rows(pair):
    row = {"layer": 0, "neuron": 1, "class": "none", "logit_skewness": 0.5, "logit_kurtosis": 4.0, "norm_out": 1.0,
           "logit_variance": 0.01, "null_share": 0.02, "cos_in_out": 0.1}  # fmt: skip
    one, same = pd.DataFrame([row]), pd.DataFrame([{**row, "neuron": i} for i in range(3)])
    empty = same.assign(**{pair.y: float("nan")})
    for rows, n in ((one, 1), (same, 3), (same.head(0), 0), (empty, 0)):
        shown_rows = figures.drawn(rows, pair, NeuronAt(0, 1))
        assert len(shown_rows) == n
        figures.scatter(shown_rows, pair, NeuronAt(0, 1))


def test_of_many_neurons_those_of_a_class_and_the_selected_one_are_drawn(monkeypatch):
    monkeypatch.setattr(figures, "MOST_POINTS", 10)
    rows = pd.DataFrame([
        {"layer": 0, "neuron": i, "class": "entropy" if i < 3 else "none", "logit_skewness": 0.1, "logit_kurtosis": 4.0}
        for i in range(50)
    ])  # fmt: skip
    shown_rows = figures.drawn(rows, figures.PAIRS[0], NeuronAt(0, 49))
    assert {0, 1, 2, 49} <= set(shown_rows["neuron"]) and len(shown_rows) == 11


def test_ticks_of_a_logarithmic_axis_are_whole_numbers_in_full():
    assert figures.log_ticks([2.5, 40]) == [1, 2, 5, 10, 20, 50, 100, 200, 500]
    assert figures.log_ticks([1e-6, 10]) == [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10]
    assert figures.log_ticks([]) == []


def test_the_cluster_of_the_selected_neuron_is_shown_and_the_link_restores_one(root, monkeypatch):
    neuron_tables.clusters(root / "run")
    page = open_page(root, monkeypatch, run="run", view="clusters", layer="1", neuron="2")
    assert "Cluster 1:" in shown(page) and "cluster" not in page.query_params
    page = open_page(root, monkeypatch, run="run", view="clusters", clustering=HDBSCAN, cluster="0")
    assert f"of {HDBSCAN}" in shown(page) and "Cluster 0:" in shown(page)
    assert page.query_params["clustering"] == HDBSCAN and page.query_params["cluster"] == "0"
    assert "effect of ablating the clusters was not measured" in shown(page)
    page = open_page(root, monkeypatch, run="run", view="clusters", clustering="gone", cluster="9")
    assert "There is no such clustering" in shown(page) and not page.exception
    page = open_page(root, monkeypatch, run="run", view="clusters", clustering=KMEANS, cluster="99")
    assert "There is no such cluster" in shown(page) and not page.exception
    page = open_page(root, monkeypatch, run="run", view="clusters", clustering=KMEANS, cluster="x")
    assert "'x' is not a number" in shown(page) and not page.exception


def test_effects_of_clusters_have_their_null_and_survive_none():
    rows = pd.DataFrame({"cluster": [0, 1], "name": [EVIL, None], "effect": [0.1, 0.3], "effect_low": [0.0, None],
                         "effect_high": [0.2, None], "null_mean": [0.05, None], "null_sd": [0.01, None]})  # fmt: skip
    figure = effects(rows)
    assert [d[0] for d in figure.data[1].customdata] == [1, 0] and "<img" not in str(figure.data[1].y)
    assert not len(effects(rows.head(0)).data[1].x)


def test_a_comparison_is_chosen_by_its_link(root, monkeypatch):
    neuron_tables.comparison(root / "run", "first")
    neuron_tables.comparison(root / "run", "second", n=2, weights=False)
    page = open_page(root, monkeypatch, run="run", view="drift", comparison="second")
    assert not page.exception and page.selectbox("ui_drift_comparison").value == "second"
    assert page.query_params["comparison"] == "second"
    page.selectbox("ui_drift_comparison").set_value("first").run()
    assert page.query_params["comparison"] == "first"
    page.selectbox("ui_drift_checkpoint").set_value(1).run()
    assert not page.exception
    page = open_page(root, monkeypatch, run="run", view="drift", comparison="../../x")
    assert "There is no such comparison" in shown(page) and not page.exception


@pytest.mark.parametrize("n", [1, 2])
def test_a_comparison_of_few_runs(root, n):
    neuron_tables.comparison(root / "run", n=n)
    page = opened(root, "drift")
    assert not page.exception and not page.error
    assert ("nothing to compare the reference with" in shown(page)) == (n == 1)


def test_orders_of_drift_leave_out_what_is_undefined():
    rows = pd.DataFrame({"layer": [0, 0, 1], "neuron": [0, 1, 0], "pearson": [0.9, None, 0.1],
                         "mean_z": [-5.0, 1.0, 2.0], "std_z": 1.0, "rate_z": None, "jaccard": 1.0, "cos_out": 1.0,
                         "cos_in": 1.0})  # fmt: skip
    by = {o.column: o for o in ORDERS}
    assert most_drifted(rows, by["pearson"])["pearson"].tolist() == [0.1, 0.9]
    assert most_drifted(rows, by["mean_z"])["mean_z"].tolist() == [-5.0, 2.0, 1.0]
    assert most_drifted(rows, by["mean_z"], layer=1)["mean_z"].tolist() == [2.0]
    assert not len(most_drifted(rows, by["rate_z"]))


def test_the_animation_has_a_frame_and_a_step_per_checkpoint(root):
    neuron_tables.comparison(root / "run", n=4)
    checkpoints = read_checkpoints(root / "run", "checkpoints")
    figure = drift_figures.cloud(read_cloud(root / "run", "checkpoints", checkpoints), NeuronAt(0, 1))
    names = [frame.name for frame in figure.frames]
    assert len(names) == len(set(names)) == 3
    steps = figure.layout.sliders[0].steps
    assert [step.args[0][0] for step in steps] == names and "<img" not in steps[0].label
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == ["Play", "Pause"]
    assert len(figure.frames[0].data) == len(figure.data) == 2 and len(figure.frames[0].data[1].x) == 1
    lines = drift_figures.cka_lines(read_cka(root / "run", "checkpoints", checkpoints), checkpoints)
    assert {line.name for line in lines.data} >= {"all layers", "layer 0", "permuted tokens, ± 2 sd"}


def test_ngrams_are_found_by_a_part_of_their_text_the_equal_ones_first():
    known = pd.DataFrame({"ngram": range(4), "text": [" the", " of the", "The", None], "count": [5, 9, 1, 2]})
    assert matching(known, "the")["ngram"].tolist() == [0, 1]
    assert matching(known, "·of·the")["ngram"].tolist() == [1]
    assert matching(known, "OF THE")["ngram"].tolist() == [1]
    assert matching(known, "")["ngram"].tolist() == [1, 0, 3, 2]
    assert not len(matching(known, "[("))


def test_ngrams_of_earlier_clusters_are_not_shown(root):
    neuron_tables.clusters(root / "run")
    neuron_tables.ngrams(root / "run", ("corpus_analysis/clusters_meta.json",))
    assert any("held out" in t for t in tables(opened(root, "clusters")))
    neuron_tables.clusters(root / "run", ("corpus_analysis/ngrams_meta.json",))
    page = opened(root, "clusters")
    assert not any("held out" in t for t in tables(page))
    assert "The n-grams were made before these clusters." in shown(page)


def test_questions_about_the_corpus(root):
    neuron_tables.everything(root / "run")
    page = opened(root, "query")
    page.text_input("ui_corpus_query_text").set_value("of the").run()
    assert [t["n-gram"].tolist() for t in tables(page) if "length" in t] == [["·of the"]]
    assert any("mean" in t and t["neuron"].tolist() == ["L1N3-", "L0N3+"] for t in tables(page))
    page.text_input("ui_corpus_query_text").set_value("nothing like it").run()
    assert "No n-gram that is frequent enough" in shown(page)
    assert "nothing like it" not in read_as_markdown(page)
    choose_question(page, "N-grams of the selected")
    assert sum("n-gram" in t for t in tables(page)) == 2
    choose_question(page, "N-grams of a cluster")
    page.selectbox("ui_corpus_query_cluster").set_value(1).run()
    assert not page.exception and any("held out" in t for t in tables(page))
    choose_question(page, "Contrasts")
    assert not page.exception and "token: of" in shown(page) and "10 have q" in shown(page)
    assert "8 of 10 neurons; 7 of them on the same side on held-out text; permuted labels find 0.5 on average" \
        in shown(page)  # fmt: skip


def test_a_run_without_prompts_has_the_questions_about_the_corpus(tmp_path):
    make_record_run(tmp_path / "run", n_documents=12, d_mlp=5)
    neuron_tables.everything(tmp_path / "run")
    page = page_of(tmp_path, "query").run()
    assert not page.exception and any("n-gram" in t for t in tables(page))


@pytest.mark.parametrize(("view", "file"), [
    ("weights", "weights/statistics.parquet"), ("clusters", f"{CORPUS_ANALYSIS}/clusters.parquet"),
    ("drift", f"{COMPARISONS}/checkpoints/models.parquet"), ("query", f"{CORPUS_ANALYSIS}/ngrams.parquet"),
    ("neuron", f"{CORPUS_ANALYSIS}/similar.parquet"), ("weights", "weights/statistics_meta.json"),
    ("drift", f"{COMPARISONS}/checkpoints/comparison_meta.json"),
])  # fmt: skip
def test_a_damaged_file_is_one_line_and_the_page_stays(root, view, file):
    neuron_tables.everything(root / "run")
    (root / "run" / file).write_bytes(b"PAR1 not a table PAR1")
    page = opened(root, view)
    assert not page.exception and file in shown(page)


def test_results_of_other_records_are_named_as_such(root):
    make_record_run(root / "run", n_documents=12, d_mlp=5)
    sources = (f"{RECORDS}/{RECORDS_META}",)
    neuron_tables.clusters(root / "run", sources)
    assert "Made before" not in shown(opened(root, "clusters"))
    (root / "run" / RECORDS / RECORDS_META).unlink()
    for view in ("clusters", "neuron"):
        page = opened(root, view)
        assert not page.exception and "Made before" in shown(page), view


def test_a_selected_neuron_without_results_is_said(root):
    neuron_tables.analysis(root / "run", "similar", {"similar": []}, ())
    page = opened(root, "neuron")
    assert not page.exception and "The results do not include this neuron" in shown(page)
    neuron_tables.write(root / "run", neuron_tables.WEIGHTS_FOLDER, "statistics",
                        {stem: [] for stem in neuron_tables.WEIGHTS_FOLDER.tables}, {})  # fmt: skip
    page = opened(root, "weights")
    assert not page.exception and "No neuron was measured" in shown(page)
