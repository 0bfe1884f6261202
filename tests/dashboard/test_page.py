"""The pages, drawn by Streamlit's own test runner: every view, every empty state, files that change, hostile text."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from types import SimpleNamespace

import earlier_tool
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streamlit as st
from analysis_runs import BOS, make_run, make_v1_run, random_acts
from explorer import (
    HOSTILE,
    SCRIPT,
    VIEWS,
    demo_root,
    hostile_run,
    html_of,
    open_page,
    plain_run,
    read_as_markdown,
    shown,
)

from neuron_signatures import eda_streamlit
from neuron_signatures.dashboard.neuron import heatmap_panel
from neuron_signatures.dashboard.neuron import read_ahead as ahead
from neuron_signatures.dashboard.pages import overview
from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.runs.manifest import took_text
from neuron_signatures.runs.run import Run
from neuron_signatures.views.acts import layer_line
from neuron_signatures.views.coords import NeuronAt

ALL_VIEWS = ("overview", "neuron", "ranking", "signatures", "map", "query")
TEXT_PROMPTS = {"first": [BOS, " a", " b"], "second": [BOS, " b"]}
INFLUENCE = "influence_seed_prompt_dla_next_token_pos8_tok704"


def charts(page) -> int:
    return len(page.get("plotly_chart"))


def test_it_opens_on_the_newest_influence_result_and_says_so_in_the_address(demo, monkeypatch):
    page = open_page(demo, monkeypatch)
    assert not page.exception and not page.error
    address = {k: v[0] if isinstance(v, list) else v for k, v in page.query_params.items()}
    first = json.loads((demo / "demo" / "analysis" / f"{address['list']}.json").read_text())["neurons"][0]
    assert address["list"].startswith("influence_") and address["row"] == "1" and address["view"] == "overview"
    assert (int(address["layer"]), int(address["neuron"])) == (first["layer"], first["neuron"])
    again = open_page(demo, monkeypatch, **address)
    assert {k: v[0] if isinstance(v, list) else v for k, v in again.query_params.items()} == address


@pytest.mark.parametrize(
    ("view", "says"),
    [("overview", "Gemma2ForCausalLM"), ("neuron", "largest |act| of this prompt"), ("ranking", "200 of 2,560 rows"),
     ("signatures", "other prompts")],
)  # fmt: skip
def test_every_view_of_the_demo_run(demo, monkeypatch, view, says):
    page = open_page(demo, monkeypatch, view=view, layer="4", neuron="178", list=INFLUENCE, row="1")
    assert not page.exception and not page.error and charts(page) >= 1
    tables = " ".join(str(list(d.value.columns)) for d in page.dataframe)
    assert says in shown(page) + tables
    assert page.sidebar.selectbox(key="pick").value == 0


def test_the_sidebar_walks_through_the_list(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", list=INFLUENCE)
    rows = json.loads((demo / "demo" / "analysis" / f"{INFLUENCE}.json").read_text())["neurons"]
    stored = [(r["layer"], r["neuron"]) for r in rows]

    def now() -> tuple[int, int]:
        return page.sidebar.selectbox(key="layer").value, page.sidebar.number_input(key="neuron").value

    assert now() == stored[0]
    page.sidebar.button(key="step1").click().run()
    assert now() == stored[1] and f"L{stored[1][0]}N{stored[1][1]}" in shown(page)
    page.sidebar.button(key="step-10").click().run()
    assert now() == stored[0]
    page.sidebar.selectbox(key="pick").set_value(1).run()
    assert now() == stored[1]
    page.sidebar.number_input(key="ui_abs").set_value(1e6).run()
    assert "No row of a stored neuron passes" in shown(page) and now() == stored[1]
    page.sidebar.number_input(key="ui_abs").set_value(None).run()
    page.sidebar.text_input(key="jump").set_value("L3N14").run()
    assert now() == (3, 14) and page.sidebar.selectbox(key="list").value == ""
    page.sidebar.text_input(key="jump").set_value("L2N14").run()
    assert "layer 2 is not stored" in shown(page) and now() == (3, 14)
    page.sidebar.selectbox(key="prompt").set_value(2).run()
    assert "prompt 3 of 8" in shown(page) and not page.exception
    page.sidebar.selectbox(key="list").set_value(INFLUENCE).run()  # its scores are about the first prompt
    assert "prompt 1 of 8" in shown(page) and now() == stored[0]


def test_rows_of_layers_that_are_not_stored_are_passed_over_and_counted(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking", list=INFLUENCE)
    assert "Left out: 1,024 rows of neurons that this run does not store." in shown(page)
    options = page.sidebar.selectbox(key="pick").options
    assert len(options) == 200 and not [o for o in options if "L0N" in o or "L2N" in o]
    ranks = []
    for _ in range(6):
        page.sidebar.button(key="step1").click().run()
        ranks.append(page.query_params["row"])
    rows = [int(r[0] if isinstance(r, list) else r) for r in ranks]
    assert rows == sorted(set(rows)) and not page.exception


def test_the_view_is_kept_by_the_control_and_its_settings_survive(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    page.checkbox(key="ui_values").set_value(True).run()
    assert any("<small>" in body for body in html_of(page))
    page.segmented_control(key="view").set_value("ranking").run()
    assert page.query_params["view"] == ["ranking"] or page.query_params["view"] == "ranking"
    page.segmented_control(key="view").set_value("neuron").run()
    assert page.checkbox(key="ui_values").value is True and any("<small>" in body for body in html_of(page))


def test_the_ranking_shows_validation_and_charts(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking")
    for name in ("activation against score", "bars"):
        page.segmented_control(key="ui_rank_chart").set_value(name).run()
        assert not page.exception and charts(page) == 1
    page.segmented_control(key="ui_rank_part").set_value("Validation").run()
    assert not page.exception and charts(page) == 4 and "act_grad" in str(page.dataframe[0].value)
    for stem in ("neurons_aggregated", "signatures"):
        page.segmented_control(key="ui_rank_part").set_value("Neurons").run()
        page.sidebar.selectbox(key="list").set_value(stem).run()
        assert not page.exception and not page.error and charts(page) == 1


def test_a_validation_without_scored_sets_is_shown(demo, monkeypatch):
    path = next((demo / "demo" / "analysis").glob("validation_*tok704.json"))
    record = json.loads(path.read_text())
    for m in record["metrics"]:
        m |= {"cpr": None, "cmd": None, "smallest_k": None, "curve": [], "controls": []}
    warning = "sets are not scored: ablating all neurons lowers the function by 0.3 only"
    changes = {"winner_sets": None, "reference": "zero", "truth": "effects of ablating (zero)", "warnings": [warning]}
    path.write_text(json.dumps(record | changes))
    page = open_page(demo, monkeypatch, view="ranking")
    page.segmented_control(key="ui_rank_part").set_value("Validation").run()
    assert not page.exception and not page.error
    text = shown(page)
    assert warning in text and "undecided" in text and "effects of ablating (zero)" in text


def test_signatures_filters_and_members(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="signatures", layer="4", neuron="178")
    page.text_input(key="ui_sig_text").set_value("no such name").run()
    assert "No row passes" in shown(page) and not page.exception
    page.text_input(key="ui_sig_text").set_value("").run()
    page.multiselect(key="ui_sig_class").set_value([]).run()
    assert "3072 of 3072 rows" in shown(page)


def test_another_address_in_the_same_session_is_followed(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    page.sidebar.number_input(key="neuron").set_value(7).run()
    assert "L4N7" in shown(page)
    page.query_params["neuron"] = "178"  # somebody goes back in the browser
    page.run()
    assert "L4N178" in shown(page) and page.sidebar.number_input(key="neuron").value == 178


def test_names_that_are_not_valid_text_are_not_in_the_address(tmp_path, monkeypatch):
    prompts = {"a": [BOS, " x"], "b": [BOS, " y"]}
    make_v1_run(tmp_path / "odd", prompts, random_acts(prompts, n_layers=1, d_mlp=3))
    manifest = tmp_path / "odd" / "manifest.json"
    odd = manifest.read_text().replace('"probe_id": "a"', '"probe_id": "\\ud800"').replace('" x"', '" \\udfff"')
    manifest.write_text(odd)
    (tmp_path / "\udcff").mkdir()
    (tmp_path / "\udcff" / "manifest.json").write_text(odd)
    for view in ("map", "query", *VIEWS):
        page = open_page(tmp_path, monkeypatch, view=view)
        assert not page.exception and not page.error, view
    assert page.query_params["prompt"] in ("0", ["0"]) and "\\udcff" in shown(page)


def test_the_neuron_view_has_its_tables(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    columns = [list(d.value.columns) for d in page.dataframe]
    assert ["position", "id", "token", "activation", "mark"] in columns
    assert any("promotes" in c for c in columns) and len(page.get("plotly_chart")) == 2


def test_the_next_neuron_of_the_list_is_read_ahead(demo, monkeypatch):
    begun: list[NeuronAt] = []
    monkeypatch.setattr(ahead, "read_ahead", lambda run, at, stop: begun.append(at))
    rows = json.loads((demo / "demo" / "analysis" / f"{INFLUENCE}.json").read_text())["neurons"]
    page = open_page(demo, monkeypatch, view="neuron", list=INFLUENCE, row="1")
    first = page.session_state["stop_reading_ahead"]
    page.sidebar.button(key="step1").click().run()
    assert begun == [(r["layer"], r["neuron"]) for r in rows[1:3]] and first.is_set()
    page.segmented_control(key="view").set_value("ranking").run()
    page.sidebar.selectbox(key="list").set_value("").run()
    assert len(begun) == 2


def test_reading_ahead_stops_when_asked_and_leaves_faults_to_others(tmp_path, monkeypatch):
    plain_run(tmp_path / "run", lengths=(4, 3, 2))
    run, read = Run.open(tmp_path / "run"), []
    stop = threading.Event()

    def acts(self, prompt, **of):
        read.append((prompt.probe_id, of))
        if len(read) == 2:
            stop.set()

    with monkeypatch.context() as patched:
        patched.setattr(Run, "acts", acts)
        ahead.read_ahead(run, NeuronAt(1, 4), stop)
    assert read == [(name, {"layer": 1, "neuron": 4}) for name in ("p0", "p1")]
    (tmp_path / "run" / "activations.safetensors").unlink()
    ahead.read_ahead(run, NeuronAt(1, 4), threading.Event())


# Before stage 2, and with unusual data


@pytest.mark.parametrize(
    ("view", "command"),
    [("overview", "--mode influence"), ("neuron", "--mode signatures"), ("ranking", "poc2_analyze_run --run_dir"),
     ("signatures", "--mode signatures")],
)  # fmt: skip
def test_before_stage_2_each_view_names_the_command(tmp_path, monkeypatch, view, command):
    plain_run(tmp_path / "bare")
    page = open_page(tmp_path, monkeypatch, view=view)
    assert not page.exception and not page.error and command in shown(page)
    if view == "ranking":
        page.segmented_control(key="ui_rank_part").set_value("Validation").run()
        assert "--validate" in shown(page) and not page.exception


@pytest.mark.parametrize("fill", [0.0, 2.5, float("nan"), float("inf"), None])
@pytest.mark.parametrize("lengths", [(1,), (1, 3)])
def test_one_token_one_layer_and_constant_columns(tmp_path, monkeypatch, fill, lengths):
    plain_run(tmp_path / "small", lengths=lengths, fill=fill, n_layers=1)
    for view in VIEWS:
        page = open_page(tmp_path, monkeypatch, view=view)
        assert not page.exception and not page.error, view


def test_the_overview_of_a_bos_alone_has_nothing_to_click(tmp_path, monkeypatch):
    prompts = {"bos": [BOS], "nan": [BOS, " a"]}
    acts = {"bos": np.ones((2, 1, 3), np.float32), "nan": np.full((2, 2, 3), np.nan, np.float32)}
    make_run(tmp_path / "run", prompts, acts)
    page = open_page(tmp_path, monkeypatch, view="overview", prompt="bos")
    assert "only its first position" in shown(page) and "Click a cell" not in shown(page)
    assert charts(page) == 0 and [d.value.columns[0] for d in page.dataframe] == ["prompt"]
    page.checkbox(key="ui_bos").set_value(True).run()
    assert charts(page) == 1 and "only its first position" not in shown(page) and page.dataframe[0].proto.selection_mode
    page = open_page(tmp_path, monkeypatch, view="overview", prompt="nan")
    assert charts(page) == 0 and "No included token has a finite activation" in shown(page)
    assert page.dataframe[0].value["not finite"].tolist() == [3, 3] and not page.dataframe[0].proto.selection_mode


def test_a_layer_without_a_value_opens_no_neuron():
    opened: list[NeuronAt] = []
    ctx = SimpleNamespace(open_neuron=opened.append)
    undefined = layer_line(1, np.full((2, 3), np.nan, np.float32), first_pos=0)
    defined = layer_line(4, np.array([[0, 5, 1]], np.float32), first_pos=0)
    for row in (0, 1):
        overview.open_neuron_of_row(ctx, [undefined, defined], row)
    assert opened == [NeuronAt(4, 1)]


def test_columns_have_help_texts(demo, monkeypatch):
    def explained(page, n: int) -> dict[str, str]:
        columns = json.loads(page.dataframe[n].proto.columns)
        return {name: c["help"] for name, c in columns.items() if c.get("help")}

    for stem, score in ((INFLUENCE, "influence (pre_cap_logit)"), ("neurons_aggregated", "mean peak |act|"),
                        ("signatures", "largest peak")):  # fmt: skip
        page = open_page(demo, monkeypatch, view="ranking", list=stem)
        help = explained(page, 0)
        assert set(help) == set(page.dataframe[0].value.columns), stem
        assert ("logits" if stem == INFLUENCE else "over the prompts") in help[score]
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    last = len(page.dataframe) - 1
    assert set(explained(page, last)) == set(page.dataframe[last].value.columns)


def test_write_scores_are_selected_by_list_title(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    box = next(b for b in page.main.selectbox if b.label == "From")
    assert [o.split(" ")[0] for o in box.options] == ["act_grad", "dla"] and all("·Austin" in o for o in box.options)


def test_a_neuron_without_write_scores_in_a_list_has_those_of_its_weights(demo, monkeypatch):
    at = {"layer": "3", "neuron": "7"}
    hints = [e.value for e in open_page(demo, monkeypatch, view="neuron", **at).code]
    (command,) = [c for c in hints if "write_scores" in c]
    assert command in [e.value for e in open_page(demo, monkeypatch, view="overview").code]
    assert analyze([*shlex.split(command)[3:], "--device", "cpu", "--quiet"]) == 0
    page = open_page(demo, monkeypatch, view="neuron", **at)
    assert not page.exception and "from the weights alone" in shown(page)
    assert any({"promotes", "suppresses"} <= set(d.value.columns) and len(d.value) == 10 for d in page.dataframe)
    assert "of every neuron, from the weights" in shown(open_page(demo, monkeypatch, view="overview"))


def test_lists_with_no_one_or_equal_rows(tmp_path, monkeypatch):
    path = demo_root(tmp_path) / "demo" / "analysis" / f"{INFLUENCE}.parquet"
    whole = pq.read_table(path)
    for n in (0, 1, 3):
        part = whole.slice(0, n)
        pq.write_table(part.set_column(part.column_names.index("influence"), "influence", [[1.0] * n]), path)
        for view in ("ranking", "neuron"):
            page = open_page(tmp_path, monkeypatch, view=view, list=INFLUENCE, layer="4", neuron="1")
            assert not page.exception and not page.error, (n, view)


def test_without_lists_it_opens_at_the_largest_activation_of_each_run(tmp_path, monkeypatch):
    for name, neuron in (("one", 1), ("two", 3)):
        acts = np.zeros((2, 2, 5), np.float32)
        acts[1, 1, neuron], acts[0, 0, 0] = -9.0, 99.0  # the BOS does not count
        make_run(tmp_path / name, {"p": [BOS, " a"]}, {"p": acts})
        page = open_page(tmp_path, monkeypatch, run=name)
        assert (page.sidebar.selectbox(key="layer").value, page.sidebar.number_input(key="neuron").value) == (1, neuron)


def test_no_runs_no_root_and_broken_runs(tmp_path, monkeypatch):
    page = open_page(tmp_path, monkeypatch)
    assert "This folder has no runs yet" in shown(page) and "poc1_dump_activations" in shown(page)
    page = open_page(tmp_path / "nowhere", monkeypatch)
    assert "there is no such folder" in shown(page) and not page.exception
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "writing").mkdir()
    (tmp_path / "writing" / "dump_journal.jsonl").write_text("")
    st.cache_data.clear()
    page = open_page(tmp_path, monkeypatch)
    assert "broken: broken" in shown(page) and "writing: stopped" in shown(page) and not page.exception
    page = open_page(tmp_path, monkeypatch, run="broken")
    assert not page.exception and "This cannot be shown" in shown(page)


def test_a_folder_of_format_1(tmp_path, monkeypatch):
    prompts = {"a b/../c": [BOS, " x", " y"], "second": [BOS, " y"]}
    make_v1_run(tmp_path / "old", prompts, random_acts(prompts, n_layers=2, d_mlp=4))
    for view in VIEWS:
        page = open_page(tmp_path, monkeypatch, view=view)
        assert not page.exception and not page.error, view
    assert "not recorded" in shown(open_page(tmp_path, monkeypatch))


def test_damaged_results_are_named_and_the_rest_is_shown(demo, monkeypatch):
    analysis = demo / "demo" / "analysis"
    (analysis / f"{INFLUENCE}_meta.json").write_text("{")
    (analysis / "signatures.parquet").write_bytes(b"PAR1")
    (analysis / "neurons_aggregated.parquet").write_bytes(b"")
    page = open_page(demo, monkeypatch, view="ranking")
    assert "cannot be read" in shown(page) and charts(page) == 1 and not page.exception
    for view in VIEWS:
        assert not open_page(demo, monkeypatch, view=view).exception
    page = open_page(demo, monkeypatch, view="ranking", list="neurons_aggregated", layer="4", neuron="1")
    assert "neurons_aggregated.parquet" in shown(page) and not page.exception


@pytest.mark.parametrize(
    ("view", "stem", "column", "says"),
    [("signatures", "signatures", "main_consistency", "column main_consistency"),
     ("ranking", INFLUENCE, "influence", "column influence")],
)  # fmt: skip
def test_a_column_of_another_type_is_named(demo, monkeypatch, view, stem, column, says):
    path = demo / "demo" / "analysis" / f"{stem}.parquet"
    table = pq.read_table(path)
    lists = pa.array([[1]] * len(table))
    pq.write_table(table.set_column(table.column_names.index(column), column, lists), path)
    page = open_page(demo, monkeypatch, view=view, list=stem, layer="4", neuron="178")
    assert not page.exception and says in shown(page)


@pytest.mark.parametrize(
    ("view", "name", "field", "value", "says"),
    [("signatures", "signatures_meta.json", "null", {"shuffled": {"classes": {"x": 5}}},
      "null.shuffled.classes.x"),
     ("signatures", "signatures_meta.json", "class_counts", {"semantic": 2**60, "say_x": 1}, "class_counts.semantic"),
     ("signatures", "groups.json", "groups", [{"name": "x", "class": "y", "members": [7]}], "groups.0.members.0"),
     ("neuron", f"{INFLUENCE}_write_scores.json", "neurons", [5], "neurons.0"),
     ("neuron", f"{INFLUENCE}_write_scores.json", "pos", 10**18, "pos"),
     ("ranking", f"{INFLUENCE}_meta.json", "target", "x", "target"),
     ("ranking", f"{INFLUENCE}_meta.json", "total_abs_influence", "1", "total_abs_influence"),
     ("ranking", f"{INFLUENCE}_meta.json", "metric", "x" * 2000, "metric")],
)  # fmt: skip
def test_a_field_of_another_type_is_named(demo, monkeypatch, view, name, field, value, says):
    path = demo / "demo" / "analysis" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    page = open_page(demo, monkeypatch, view=view, list=INFLUENCE, layer="4", neuron="178")
    assert not page.exception and f"field {says}: " in shown(page) and name in shown(page)


def test_results_of_another_dump_say_so_on_every_view(demo, monkeypatch):
    manifest = demo / "demo" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created_at_utc": "2026-', '"created_at_utc": "2027-'))
    for view in VIEWS:
        page = open_page(demo, monkeypatch, view=view, list=INFLUENCE)
        text = shown(page)
        assert "may not describe the activations of this run" in text and not page.exception
        for stem in (INFLUENCE, "neurons_aggregated", "signatures"):
            assert f"{stem}: made from another dump (2026-" in text
    page = open_page(demo, monkeypatch, view="ranking")
    page.segmented_control(key="ui_rank_part").set_value("Validation").run()
    assert shown(page).count("made from another dump") == 6  # five lists and the validation


# Files that change while the page is open


def test_a_changed_result_is_reported_and_read_again(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron")
    assert "changed on disk" not in shown(page)
    (demo / "demo" / "analysis" / "signatures.parquet").unlink()
    page.run()
    assert "changed on disk" in shown(page) and "signatures.parquet" in shown(page) and not page.exception
    assert "Signatures have not been computed yet" in shown(page)
    page.button(key="reload").click().run()
    assert "changed on disk" not in shown(page) and not page.exception


def test_replaced_activations_are_not_mixed_with_old_ones(tmp_path, monkeypatch):
    plain_run(tmp_path / "run", fill=1.0)
    page = open_page(tmp_path, monkeypatch, view="neuron")
    assert "max +1 at" in shown(page)
    for old in (tmp_path / "run").iterdir():
        old.unlink()
    plain_run(tmp_path / "run", fill=-2.0, lengths=(2,))
    page.run()
    assert "changed on disk" in shown(page) and "max" not in shown(page) and not page.exception
    page.button(key="reload").click().run()
    assert "max -2 at" in shown(page) and "changed on disk" not in shown(page)


def test_a_missing_or_truncated_file_gives_a_message(tmp_path, monkeypatch):
    plain_run(tmp_path / "run")
    page = open_page(tmp_path, monkeypatch, view="neuron")
    tensors = tmp_path / "run" / "activations.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    page.run()
    assert "changed on disk" in shown(page)
    page.button(key="reload").click().run()
    assert "truncated" in shown(page) and not page.exception
    (tmp_path / "run" / "manifest.json").unlink()
    page.run()
    assert not page.exception and "This cannot be shown" in shown(page)


# Hostile text and addresses


@pytest.mark.parametrize("view", VIEWS)
def test_text_of_the_data_never_reaches_markdown(tmp_path, monkeypatch, view):
    hostile_run(tmp_path / "bad")
    page = open_page(tmp_path, monkeypatch, view=view)
    assert not page.exception and not page.error
    assert "EVIL" not in read_as_markdown(page)
    for body in html_of(page):
        for tag in ("<img", "<iframe", "<script", 'onerror="', "</div></style>"):
            assert tag not in body
    if view == "neuron":
        assert "EVIL" in "".join(html_of(page))


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "..", "demo/../..", "![x](http://evil.invalid)", "\0"])
def test_a_hostile_run_name_gives_a_message_and_the_default(demo, monkeypatch, name):
    page = open_page(demo, monkeypatch, run=name)
    assert not page.exception and page.sidebar.selectbox(key="run").value == "demo"
    assert "is not the name of a run" in shown(page) and "evil" not in read_as_markdown(page)


def test_hostile_parts_of_an_address(demo, monkeypatch):
    page = open_page(demo, monkeypatch, prompt="<script>", layer="9" * 400, neuron="-1", view="../x", list="../../x")
    assert not page.exception and "Parts of this page's address are invalid" in shown(page)
    assert "<script>" not in read_as_markdown(page)
    page = open_page(demo, monkeypatch, "--run", "../x")
    assert "is not the name of a run" in shown(page) and page.sidebar.selectbox(key="run").value == "demo"


def test_a_page_that_others_can_reach_says_so(demo, monkeypatch):
    assert "accessible from other machines" in shown(open_page(demo, monkeypatch))  # the test runner binds nothing
    monkeypatch.setattr(st.config, "get_option", lambda name: "127.0.0.1" if name == "server.address" else None)
    assert "accessible from other machines" not in shown(open_page(demo, monkeypatch))


def test_the_configuration_beside_the_script_is_safe():
    import tomllib

    config = tomllib.loads((SCRIPT.parent / ".streamlit" / "config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1" and config["server"]["enableXsrfProtection"] is True
    assert config["browser"]["gatherUsageStats"] is False and config["client"]["showErrorDetails"] == "none"
    assert "127.0.0.1" in config["server"]["allowedHosts"]


# Flags


def test_errors_in_flags_are_shown_on_the_page(demo, monkeypatch):
    page = open_page(demo, monkeypatch, "--nope")
    assert "unrecognized arguments: --nope" in shown(page) and not page.exception
    page = open_page(demo, monkeypatch, "--help")
    assert "--runs_root" in shown(page) and not page.exception
    plain_run(demo / "other")
    st.cache_data.clear()
    assert open_page(demo, monkeypatch, "--run", "other").sidebar.selectbox(key="run").value == "other"


def test_the_default_root_is_the_variable(demo, monkeypatch):
    monkeypatch.setenv("NEURON_SIGNATURES_RUNS", str(demo))
    assert eda_streamlit.make_parser().parse_args([]).runs_root == demo
    monkeypatch.delenv("NEURON_SIGNATURES_RUNS")
    assert str(eda_streamlit.make_parser().parse_args([]).runs_root) == "runs"


def test_help_needs_nothing_heavy_and_a_plain_start_says_how(tmp_path):
    code = (
        "import runpy,sys; sys.argv=['x','--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as e: print('code', e.code)\n"
        "print(sorted({'streamlit','pandas','plotly','numpy','torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "streamlit run neuron_signatures/eda_streamlit.py" in done.stdout
    assert done.stdout.endswith("code 0\n[]\n")
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "Start it with `streamlit run" in done.stderr


def test_a_run_of_another_size_is_chosen_in_the_sidebar(demo, monkeypatch):
    plain_run(demo / "tiny", lengths=(2,), n_layers=1)
    page = open_page(demo, monkeypatch, run="demo", view="neuron", layer="4", neuron="178", prompt="probe_2_Texas")
    page.sidebar.selectbox(key="run").set_value("tiny").run()
    assert not page.exception and not page.error
    assert page.sidebar.selectbox(key="layer").value == 0 and page.segmented_control(key="view").value == "neuron"
    assert "prompt 1 of 1" in shown(page)


def test_the_exported_heatmap_says_how_it_was_made(demo, monkeypatch):
    """The demo model has no revision, so the fingerprint of its weights is shown."""
    made: list[str] = []
    monkeypatch.setattr(heatmap_panel.st, "download_button", lambda label, data, *a, **k: made.append(data()))
    monkeypatch.setattr(heatmap_panel, "downloads", lambda *a: None)
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    manifest = json.loads((demo / "demo" / "manifest.json").read_text())
    assert manifest["weights_fingerprint"] in made[0]
    assert "threshold 0, minimum opacity 0.05" in made[0] and "<dt>first position</dt><dd>excluded</dd>" in made[0]
    page.checkbox(key="ui_bos").set_value(True).run()
    assert "<dt>first position</dt><dd>included</dd>" in made[-1] and not page.exception


def test_how_long_a_run_took_has_three_digits(demo):
    times = {0.023: "0.023 s", 0.5: "0.5 s", 12.34: "12.3 s", 999.0: "999 s", 12345.6: "12,346 s", 0.0: "not recorded"}
    m = Run.open(demo / "demo").manifest
    assert [took_text(m.model_copy(update={"wall_seconds": s})) for s in times] == list(times.values())


def test_many_prompts_are_stacked_bit_by_bit(tmp_path, monkeypatch):
    prompts = {f"p{i}": [BOS, " a"] for i in range(60)}
    acts = {k: np.full((1, 2, 2), float(i), np.float32) for i, k in enumerate(prompts)}
    make_run(tmp_path / "many", prompts, acts)
    page = open_page(tmp_path, monkeypatch, view="neuron")
    stack = html_of(page)[-1]
    assert stack.count('class="p"') == 8 and stack.index("60  p59") < stack.index("59  p58")
    page.button(key="stack_more").click().run()
    assert html_of(page)[-1].count('class="p"') == 32
    page.segmented_control(key="ui_stack_order").set_value("as in the run").run()
    assert "1  p0" in html_of(page)[-1]


def test_commands_can_be_pasted_into_a_shell(tmp_path, monkeypatch):
    folder = tmp_path / "a b; echo EVIL"
    plain_run(folder)
    code = "\n".join(e.value for e in open_page(tmp_path, monkeypatch, view="overview").code)
    assert f"--run_dir '{folder}'" in code


def test_the_overview_of_format_1_says_what_it_records(tmp_path, monkeypatch):
    acts = {"bos": np.ones((2, 2, 3), np.float32)}
    make_v1_run(tmp_path / "run", {"bos": [BOS, " a"]}, acts)
    page = open_page(tmp_path, monkeypatch, view="overview")
    said = shown(page)
    assert "prepended, id not recorded" in said and "0 s<" not in said
    assert '<span class="l">took</span><span class="v">not recorded</span>' in said
    assert '"format_version": 1' in said and '"format_version": 2' not in said


@pytest.mark.parametrize("what", ["earlier CSV", "earlier JSON", "earlier influence", "our CSV alone"])
@pytest.mark.parametrize("view", ALL_VIEWS)
def test_every_view_opens_a_run_whose_only_list_is_text(tmp_path, monkeypatch, view, what):
    run = make_run(tmp_path / "run", TEXT_PROMPTS, random_acts(TEXT_PROMPTS, n_layers=2, d_mlp=5))
    if what == "earlier influence":
        earlier_tool.write_influence(run.path)
    elif what == "our CSV alone":
        assert analyze(["--run_dir", str(run.path), "--quiet"]) == 0
        (run.path / "analysis" / "neurons_aggregated.parquet").unlink()
    else:
        hostile = [t.replace("<bos>", "x") for t in HOSTILE[1:4]]
        earlier_tool.write_peaks(run.path, csv_file=what == "earlier CSV", tokens=hostile)
    page = open_page(tmp_path, monkeypatch, view=view)
    assert not page.exception and not page.error
    assert page.query_params["list"] and page.query_params["row"] == "1"
    assert "evil.invalid" not in read_as_markdown(page) and "<img" not in read_as_markdown(page)
    if view == "ranking":
        assert len(page.dataframe[0].value) == (10 if "alone" in what else 3)
        assert "because there is no Parquet table" in shown(page)


def test_a_list_that_cannot_be_read_hides_no_view(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", TEXT_PROMPTS, random_acts(TEXT_PROMPTS, n_layers=2, d_mlp=5))
    assert analyze(["--run_dir", str(run.path), "--quiet"]) == 0
    for name in ("neurons_aggregated.parquet", "neurons_aggregated.csv", "top_neurons.json"):
        (run.path / "analysis" / name).unlink()
    for view in ALL_VIEWS:
        page = open_page(tmp_path, monkeypatch, view=view)
        assert not page.exception and (view == "ranking" or not page.error), view
