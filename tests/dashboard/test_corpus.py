"""The Neuron view on the records of a corpus, and runs that hold records and no prompts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explorer import hostile_run, html_of, open_page, page_of, plain_run, read_as_markdown, shown
from record_runs import DEAD, make_record_run

from neuron_signatures.dashboard.corpus.figures import MEASURES, corpus_histogram
from neuron_signatures.dashboard.corpus.passage_html import passages_html
from neuron_signatures.dashboard.corpus.tables import lookup_frame, moment_facts, passage_frame
from neuron_signatures.dashboard.neuron.colouring import Colouring, corpus_colouring
from neuron_signatures.dashboard.neuron.heatmap import HeatmapOptions
from neuron_signatures.dashboard.ranking.table import rank_frame
from neuron_signatures.dashboard.shell.state import Selection, View, address, resolve
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Window
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.neurons.descriptions import read_descriptions
from neuron_signatures.views.records.distribution import Distribution
from neuron_signatures.views.records.evidence import evidence, sample_evidence
from neuron_signatures.views.records.neuron_order import ORDERS, CorpusNeurons
from neuron_signatures.views.records.passages import passages, running
from neuron_signatures.views.scale import Limit

EVIL = re.compile(r"<(script|img|iframe|style>\*)|EVIL'\"|onerror=\"", re.IGNORECASE)


@pytest.fixture(scope="module")
def records_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a run `run` that holds records and no prompts."""
    root = tmp_path_factory.mktemp("promptless")
    make_record_run(root / "run")
    return root


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A root with a run `run` of prompts and records."""
    plain_run(tmp_path / "run")
    make_record_run(tmp_path / "run", n_documents=30, n_sample=20)
    return tmp_path


def passage_blocks(page) -> list[str]:
    return [body for body in html_of(page) if 'class="ns-pass"' in body]


def on_corpus(root: Path, monkeypatch, *, layer: int = 0, neuron: int = 0):
    return open_page(root, monkeypatch, run="run", view="neuron", layer=str(layer), neuron=str(neuron), on="corpus")


@pytest.mark.parametrize("view", list(View))
def test_every_view_opens_a_run_without_prompts(records_root, monkeypatch, view):
    page = open_page(records_root, monkeypatch, view=view.value)
    assert not page.exception and not page.error
    text = shown(page)
    assert "This run holds no prompts." in text
    if view is View.OVERVIEW:
        assert "Records of a corpus" in text and "synthetic" in text
    elif view is View.NEURON:
        assert "Strongest at +" in text and len(passage_blocks(page)) >= 3
    elif view is View.RANKING:
        assert "24 of 24 that match, of 24 neurons" in text
    elif view in (View.EXPLANATIONS, View.SCORES):
        assert "poc5_explain_neurons --run_dir" in text
    elif view is View.SKILLS:
        assert "--mode collect" in text
    elif view in (View.WEIGHTS, View.DRIFT):
        assert f"poc{'8_weights' if view is View.WEIGHTS else '9_compare_runs'} --run" in text
    elif view in (View.CLUSTERS, View.QUERY):
        assert "poc4_extract_records clusters" in text or "poc4_extract_records ngrams" in text
    elif view is View.SEARCH:
        assert "search_neurons index --run_dir" in text
    elif view is View.LIVE:
        assert "No server answers" in text and "neuron_signatures.serve --model_name" in text
    else:
        assert "This view needs activations on prompts" in text and "poc1_dump_activations" in text


def test_a_neuron_of_a_run_without_prompts_is_chosen_and_kept(records_root, monkeypatch):
    page = open_page(records_root, monkeypatch, view="neuron", layer="1", neuron="3")
    assert "L1N3" in shown(page) and page.query_params["neuron"] == "3" and "prompt" not in page.query_params
    page.number_input(key="neuron").set_value(4).run()
    assert "L1N4" in shown(page) and not page.exception


def test_the_first_neuron_of_a_run_without_prompts_is_one_whose_activations_are_kept(tmp_path, monkeypatch):
    make_record_run(tmp_path / "run", chosen=[(1, 7)], n_documents=20)
    assert "L1N7" in shown(open_page(tmp_path, monkeypatch, view="neuron"))


def test_a_run_without_prompts_and_with_damaged_records_says_so(tmp_path, monkeypatch):
    make_record_run(tmp_path / "run", n_documents=20)
    (tmp_path / "run" / "records" / "moments.safetensors").write_bytes(b"broken")
    for view in ("overview", "neuron"):
        page = open_page(tmp_path, monkeypatch, view=view)
        assert not page.exception and "moments.safetensors" in shown(page)


def test_a_run_without_records_says_what_to_run(tmp_path, monkeypatch):
    plain_run(tmp_path / "run")
    page = on_corpus(tmp_path, monkeypatch)
    assert not page.exception and "neuron_signatures.poc4_extract_records --run_dir" in shown(page)
    assert not passage_blocks(page)
    assert "No records of a corpus yet" in shown(open_page(tmp_path, monkeypatch, view="overview"))


def test_prompts_or_corpus_are_a_choice_that_stands_in_the_address(both, monkeypatch):
    page = open_page(both, monkeypatch, view="neuron", layer="0", neuron="0")
    assert page.segmented_control(key="texts").value == "Prompts of the run" and not passage_blocks(page)
    page.segmented_control(key="texts").set_value("Corpus").run()
    assert passage_blocks(page) and page.query_params["on"] == "corpus" and not page.exception
    page.number_input(key="neuron").set_value(1).run()
    assert passage_blocks(page)  # the choice is kept from neuron to neuron


def test_the_address_of_the_corpus_round_trips(both):
    with Run.open(both / "run") as run:
        chosen = Selection("run", view=View.NEURON, corpus=True)
        link = address(chosen, run)
        assert link["on"] == "corpus" and resolve(link, run, Selection("run"), []).selection == chosen
        assert resolve({"on": "moon"}, run, Selection("run"), []).problems
        assert "on" not in address(replace(chosen, corpus=False), run)


def test_parts_filter_the_windows(both, monkeypatch):
    page = on_corpus(both, monkeypatch)
    page.segmented_control(key="ui_corpus_parts").set_value(["select"]).run()
    assert not page.exception
    labels = set(re.findall(r'class="q">(\w+)<', "".join(passage_blocks(page))))
    assert labels == {"select"}
    page.segmented_control(key="ui_corpus_parts").set_value([]).run()
    assert "Select at least one part" in shown(page) and not page.exception


def test_texts_are_short_or_full_and_more_can_be_shown(both, monkeypatch):
    page = on_corpus(both, monkeypatch, neuron=1)
    first = passage_blocks(page)[0]
    assert first.count("<details>") == 10 and "<details open>" not in first
    page.segmented_control(key="ui_corpus_text").set_value("full").run()
    assert passage_blocks(page)[0].count("<details open>") == 10
    page.button(key="corpus_others").click().run()
    assert not page.exception


def test_a_dead_neuron_is_said_to_be_dead(both, monkeypatch):
    page = on_corpus(both, monkeypatch, neuron=DEAD)
    assert "is dead on this corpus" in shown(page) and not page.exception


def test_a_neuron_that_pass_2_did_not_keep_has_coloured_peaks_and_the_command(records_root, monkeypatch):
    page = on_corpus(records_root, monkeypatch, neuron=2)
    assert "Pass 2 did not keep this neuron" in shown(page) and "--neurons L0N0,L0N1,L0N2," in shown(page)
    assert passage_blocks(page)[0].count("background:rgba(251,146,60") == 10  # of ten windows


def test_a_run_with_lists_only_has_no_examples_of_the_sample(tmp_path, monkeypatch):
    make_record_run(tmp_path / "run", with_sample=False, n_documents=20)
    page = on_corpus(tmp_path, monkeypatch)
    assert not page.exception and "Random windows" not in shown(page)


def test_a_layer_that_is_not_recorded_is_named(tmp_path, monkeypatch):
    plain_run(tmp_path / "run", n_layers=3)
    make_record_run(tmp_path / "other", layers=[0, 1], d_mlp=5, n_documents=20)
    (tmp_path / "other" / "records").rename(tmp_path / "run" / "records")
    page = on_corpus(tmp_path, monkeypatch, layer=2)
    assert "they are of layers 0..1" in shown(page) and not page.exception


def test_hostile_tokens_and_names_are_text(tmp_path, monkeypatch):
    hostile_run(tmp_path / "run")
    make_record_run(tmp_path / "run", n_documents=40)
    for neuron in (0, 1, 4):
        page = on_corpus(tmp_path, monkeypatch, neuron=neuron)
        assert not page.exception
        assert not EVIL.search("".join(passage_blocks(page))) and "EVIL" not in read_as_markdown(page)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown(page))


def test_the_colours_of_prompts_can_have_the_scale_of_the_corpus(both, monkeypatch):
    page = open_page(both, monkeypatch, view="neuron", layer="0", neuron="0")
    page.segmented_control(key="ui_normalise").set_value("records").run()
    assert "largest |activation| of the corpus" in "".join(html_of(page)) and not page.exception


def test_without_records_the_scale_of_the_corpus_is_not_offered(tmp_path):
    plain_run(tmp_path / "run")
    page = page_of(tmp_path, "neuron", ui_normalise="records").run()
    assert not page.exception and page.segmented_control(key="ui_normalise").value == "run"


def test_changed_records_are_reported(both, monkeypatch):
    page = on_corpus(both, monkeypatch)
    make_record_run(both / "run", n_documents=25, seed=3)
    page.run()
    assert "changed on disk" in shown(page) and "records/" in shown(page) and not page.exception


def test_lists_have_the_tokens_that_neurons_are_most_often_strongest_on(demo, monkeypatch):
    make_record_run(demo / "demo", n_documents=20)
    described = read_descriptions(demo / "demo")
    for ref in list_refs(demo / "demo"):
        ranked = read_list(demo / "demo", ref, described)
        frame = rank_frame(ranked, np.arange(12))
        assert frame["most often on"].astype(bool).any() and frame["share"].max() <= 1
        assert ranked.matching("often:Austin").any() and not ranked.matching("often:nowhere").any()
    page = open_page(demo, monkeypatch, view="ranking")
    assert not page.exception and "most often on" in page.dataframe[0].value.columns


def test_lists_of_a_run_without_records_have_no_such_column(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking")
    assert not {"most often on", "share"} & set(page.dataframe[0].value.columns)


def test_the_neurons_of_a_corpus_are_ordered_and_found_by_token(records_root, monkeypatch):
    with Records.open(records_root / "run") as records:
        neurons = CorpusNeurons(records.neurons())
    for by in ORDERS:
        values = [getattr(neurons.row(i), by) for i in neurons.order(by).tolist()]
        known = [abs(v) for v in values if v is not None]
        n_alive = sum(neurons.row(i).state == "alive" for i in range(24))
        assert known[:n_alive] == sorted(known[:n_alive], reverse=True) and len(values) == 24
    found = [neurons.row(i) for i in neurons.order("kurtosis", 'often:" Austin" L0').tolist()]
    assert found and all(" Austin" in (*n.often_pos.tokens, *n.often_neg.tokens) and n.at.layer == 0 for n in found)
    assert not len(neurons.order("largest", ">100")) and not len(neurons.order("largest", "class:say_x"))
    page = open_page(records_root, monkeypatch, view="ranking")
    page.text_input(key="ui_corpus_find").set_value("/(/").run()
    assert "regular expression" in shown(page) and not page.exception


def test_running_text_keeps_spaces_outside_the_colour():
    assert running(" Austin") == (" ", "Austin") and running("a ") == ("", "a ")
    assert running("   ") == ("", "   ") and running("\n") == ("", "⏎") and running("\x1b") == ("", "\\x1b")


def test_peaks_are_marked_and_uncounted_tokens_have_no_colour():
    acts = np.array([9, 1, 3], np.float32)
    one = Window(0, 0, "d", "explain", (5, 6, 7), ("a", "b", "c"), 1, 2, 3.0, acts)
    colouring = Colouring("activation", None, Limit(9.0, 100.0, 0), corpus=True)
    block = passages_html(passages([one]), colouring, HeatmapOptions(decimals=1))
    cells = re.findall(r'<span class="(t[^"]*)" title="([^"]*)"([^>]*)>', block)[:3]
    assert [c[0] for c in cells] == ["t x", "t", "t k"] and "(excluded)" in cells[0][1]
    assert not cells[0][2] and "52,211,153" in cells[2][2] and "<small>+3.0</small>" in block
    assert "act +3, position 2, id 7" in cells[2][1]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("neuron", [0, 2, DEAD, 6])
def test_the_histogram_has_a_bar_for_each_filled_interval(records_root, measure, neuron):
    with Records.open(records_root / "run") as records:
        found = evidence(records, NeuronAt(0, neuron)).distribution
    figure = corpus_histogram(found, measure)
    assert len(figure.data[0].x) == sum(b.n > 0 for b in found.bins)
    assert corpus_histogram(Distribution((), 0), measure).data[0].x.size == 0


def test_tables_of_a_neuron(records_root):
    with Records.open(records_root / "run") as records:
        found, kept = evidence(records, NeuronAt(0, 1)), sample_evidence(records, NeuronAt(0, 1))
    assert lookup_frame(kept.lookup, "+")["mean"].is_monotonic_decreasing
    assert lookup_frame(kept.lookup, "-")["mean"].is_monotonic_increasing
    windows = passage_frame(found)
    assert isinstance(windows, pd.DataFrame) and set(windows["pole"]) == {"+", "-"}
    assert len(windows) == sum(p.n_windows for p in found.poles)
    assert dict(moment_facts(found))["tokens"] == f"{found.moments.count:,}"


def test_a_neuron_that_is_always_on_is_relative_to_its_mean_over_the_corpus(records_root):
    with Records.open(records_root / "run") as records:
        found = evidence(records, NeuronAt(0, 6))
    colouring = corpus_colouring(found, "relative")
    largest = max(abs(v - found.moments.mean) for v in (found.smallest, found.largest)) / found.moments.std
    assert colouring.limit.value == pytest.approx(largest) and "over the corpus" in colouring.quantity()
    assert colouring.full_scale() == "largest magnitude of the corpus"
