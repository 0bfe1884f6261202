"""Selection: rows of lists, sets of neurons, choices that persist across views, addresses."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from analysis_runs import BOS, make_v1_run, random_acts
from explorer import DEMO, html_of, open_page, plain_run, read_as_markdown, shown

from neuron_signatures.dashboard.data.neuron_sets import list_set
from neuron_signatures.dashboard.pages.ranking import rank_frame
from neuron_signatures.dashboard.shell.list_walk import Filters, left_out_note, n_not_stored, passing, row_of
from neuron_signatures.dashboard.shell.state import Selection, address, address_of, resolve
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt, parse_neuron
from neuron_signatures.views.lists.list_files import list_refs, read_list
from neuron_signatures.views.lists.ranked import RankedList

ABLATION, DLA, ACT_GRAD = (f"influence_seed_prompt_{m}_next_token_pos8_tok704" for m in ("ablation", "dla", "act_grad"))
STORED = [1, 3, 4]
RUN = Run.open(DEMO)


def ranked_of(stem: str, run_dir: Path = DEMO) -> RankedList:
    return read_list(run_dir, next(r for r in list_refs(run_dir) if r.stem == stem))


def parts(page) -> dict[str, str]:
    return {k: v[0] if isinstance(v, list) else v for k, v in page.query_params.items()}


def change_scores(run_dir: Path, stem: str, column: str, change) -> None:
    path = run_dir / "analysis" / f"{stem}.parquet"
    table = pq.read_table(path)
    index = table.column_names.index(column)
    new = change(table, table.column(column).to_numpy().copy())
    pq.write_table(table.set_column(index, table.schema.field(index), [new]), path)


# A neuron is shown with its own row


def test_a_row_is_valid_only_for_its_neuron():
    ablation, signatures = ranked_of(ABLATION), ranked_of("signatures")
    first, other = ablation.row(0).at, ablation.row(5).at
    assert row_of(ablation, first, 0) == 0 and row_of(ablation, other, 0) == 5
    assert row_of(ablation, other, None) == row_of(ablation, other, 10**9) == 5
    assert row_of(ablation, NeuronAt(0, 0), 0) is None
    of_one = [i for i in range(len(signatures)) if signatures.row(i).at == signatures.row(0).at]
    poles = [signatures.row(i).pole for i in of_one]
    assert sorted(poles) == ["+", "-"] and row_of(signatures, signatures.row(0).at, of_one[1]) == of_one[1]
    assert [row_of(signatures, signatures.row(0).at, None, pole) for pole in poles] == of_one
    assert row_of(signatures, signatures.row(0).at, None) == of_one[0]


def test_a_link_cannot_give_a_neuron_the_rank_of_another(demo, monkeypatch):
    ranked = ranked_of(ABLATION)
    own = ranked.find(NeuronAt(4, 0))
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="0", list=ABLATION, row="1")
    assert "row 1: this row of the list is not L4N0" in shown(page)
    assert parts(page)["row"] == str(own + 1) and f"{own + 1} of 1536" in "".join(html_of(page))
    assert f"{ranked.row(0).score:+.4g}" not in "".join(html_of(page))
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="0", list=ABLATION, row=str(own + 1))
    assert "page's address" not in shown(page)
    path = demo / "demo" / "analysis" / f"{ABLATION}.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="0", list=ABLATION, row="1")
    assert "row 1: this row of the list is not L4N0" in shown(page) and "row" not in parts(page)
    assert "1 of 1 in" not in "".join(html_of(page)) and page.sidebar.selectbox(key="pick").value is None


def test_a_link_reports_parts_that_contradict_the_list(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", layer="3", list="signatures")
    assert "layer 3 is ignored without a neuron; the list determines it" in shown(page) and parts(page)["layer"] == "1"
    page = open_page(demo, monkeypatch, view="neuron", layer="1", list="signatures")
    assert "page's address" not in shown(page) and parts(page)["row"] == "1"
    page = open_page(demo, monkeypatch, view="neuron", list=ABLATION, row="99999")
    assert "row 99999: the list has no such row" in shown(page) and parts(page)["row"] == "1"
    page = open_page(demo, monkeypatch, view="neuron", layer="2", list="signatures")
    assert "layer 2 is not stored" in shown(page)


def test_the_row_follows_the_neuron_in_a_recomputed_list(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", list=ABLATION)
    at, before = ranked_of(ABLATION).row(0).at, ranked_of(ABLATION).row(0).score
    assert parts(page)["row"] == "1"
    change_scores(demo / "demo", ABLATION, "influence", lambda table, scores: np.where(
        np.arange(len(scores)) == np.argmax(np.abs(scores)), 1e-4, scores))  # fmt: skip
    after = ranked_of(ABLATION, demo / "demo").find(at)
    for _ in range(2):
        page.run()
        assert (parts(page)["layer"], parts(page)["neuron"]) == (str(at.layer), str(at.neuron))
        assert after > 0 and parts(page)["row"] == str(after + 1) and not page.exception
        assert f"{after + 1} of 1536" in "".join(html_of(page)) and f"{before:+.4g}" not in "".join(html_of(page))
        if page.get("button") and any(b.key == "reload" for b in page.button):
            page.button(key="reload").click().run()


def test_the_row_follows_the_pole_in_recomputed_signatures(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", list="signatures")
    first = ranked_of("signatures").row(0)

    def lower(table, peaks):
        layer, neuron, pole = (np.array(table.column(c).to_pylist()) for c in ("layer", "neuron", "pole"))
        mine = (layer == first.at.layer) & (neuron == first.at.neuron) & (pole == first.pole)
        return np.where(mine, 1e-6, peaks)

    change_scores(demo / "demo", "signatures", "max_peak", lower)
    remade = ranked_of("signatures", demo / "demo")
    page.run()
    row = remade.row(int(parts(page)["row"]) - 1)
    assert (row.at, row.pole) == (first.at, first.pole) and row.rank > remade.find(first.at) + 1


def test_the_same_neuron_again_keeps_the_list(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="query", list=ABLATION)
    before = parts(page)
    page.sidebar.text_input(key="jump").set_value(f"L{before['layer']}N{before['neuron']}").run()
    assert parts(page) == before and before["list"] == ABLATION and before["row"] == "1"
    page.sidebar.number_input(key="neuron").set_value(None).run()  # an emptied box chooses nothing
    assert parts(page) == before and page.sidebar.number_input(key="neuron").value == int(before["neuron"])
    page.sidebar.number_input(key="neuron").set_value(0).run()
    assert parts(page)["neuron"] == "0" and "list" not in parts(page)


# Rows that can be opened


def test_the_sidebar_and_the_ranking_have_the_same_rows(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking", list=DLA)
    neurons = [n.split()[1] for n in page.sidebar.selectbox(key="pick").options]
    assert page.dataframe[0].value["neuron"].tolist() == neurons and len(neurons) == 200
    assert not [n for n in neurons if n.startswith(("L0N", "L2N"))]
    captions = [c.value for c in page.get("caption")]
    assert sum("Left out: 1,024 rows of neurons that this run does not store." in c for c in captions) == 1
    assert open_page(demo, monkeypatch, view="ranking", list=ABLATION).exception == []
    assert "Left out" not in shown(open_page(demo, monkeypatch, view="ranking", list=ABLATION))


def test_rows_that_are_left_out_are_those_that_pass_the_bounds():
    dla = ranked_of(DLA)
    assert n_not_stored(dla, Filters(), RUN) == 1024 and n_not_stored(ranked_of(ABLATION), Filters(), RUN) == 0
    wanted = int(((np.abs(dla.score) >= 0.3) & ~np.isin(dla.layer, STORED)).sum())
    assert 0 < n_not_stored(dla, Filters(abs_score=0.3, top_k=1), RUN) == wanted < 1024
    assert (left_out_note(0), left_out_note(1)) == ("", "Left out: 1 row of a neuron that this run does not store.")


def move_away(run_dir: Path, stem: str, n: int) -> None:
    """Replace the neurons of the first `n` rows of stored layers with nonexistent ones."""
    ranked = ranked_of(stem, run_dir)
    first = [ranked.row(i) for i in passing(ranked, Filters(top_k=n), RUN)]
    far = {(r.at, r.pole): (512, -1, 600)[i % 3] for i, r in enumerate(first)}

    def change(table, neurons):
        poles = table.column("pole").to_pylist() if "pole" in table.column_names else [""] * len(table)
        at = map(NeuronAt, table.column("layer").to_pylist(), neurons.tolist())
        return np.array([far.get(row, row[0].neuron) for row in zip(at, poles, strict=True)], neurons.dtype)

    change_scores(run_dir, stem, "neuron", change)


@pytest.mark.parametrize(("stem", "not_stored"), [(DLA, 1024), ("neurons_aggregated", 0), ("signatures", 0)])
def test_rows_of_nonexistent_neurons_are_skipped_and_tallied(demo, monkeypatch, stem, not_stored):
    move_away(demo / "demo", stem, 5)
    ranked = ranked_of(stem, demo / "demo")
    rows = passing(ranked, Filters(), RUN)
    assert n_not_stored(ranked, Filters(), RUN) == not_stored + 5 and ranked.layer[0] in STORED and rows[0] >= 5
    page = open_page(demo, monkeypatch, view="neuron", list=stem)
    for at in rows[:3]:
        assert not page.error and parts(page)["list"] == stem and parts(page)["row"] == str(at + 1)
        assert parts(page)["neuron"] == str(ranked.neuron[at])
        page.sidebar.button(key="step1").click().run()
    assert f"Left out: {not_stored + 5:,} rows of neurons" in shown(page)
    assert not set(list_set(ranked, Filters(), RUN, 20).neurons) & {ranked.row(i).at for i in range(5)}


def test_a_list_of_another_model_stays_selected_and_the_neuron_with_it(demo, monkeypatch):
    move_away(demo / "demo", "signatures", 10**6)
    page = open_page(demo, monkeypatch, view="neuron", list="signatures")
    assert not page.error and parts(page)["list"] == "signatures" and int(parts(page)["neuron"]) < 512
    assert "No row of a stored neuron passes" in shown(page) and "Left out: 3,072 rows of neurons" in shown(page)
    page.segmented_control(key="view").set_value("signatures").run()
    page.multiselect(key="ui_sig_class").set_value([]).run()
    assert "0 of 3,072 rows" in shown(page) and not page.exception


def test_the_initial_neuron_exists(demo, monkeypatch):
    move_away(demo / "demo", ABLATION, 2)
    page = open_page(demo, monkeypatch, view="neuron")
    assert not page.error and parts(page)["list"] == ABLATION and parts(page)["row"] == "3"


# A removed list, and no selected list


def test_a_removed_list_is_reported_and_deselected(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking", list=DLA)
    before = parts(page)
    for file in (demo / "demo" / "analysis").glob(f"{DLA}*"):
        file.unlink()
    page.run()
    page.button(key="reload").click().run()
    assert not {"list", "row"} & set(parts(page)) and parts(page)["neuron"] == before["neuron"]
    assert "The selected list no longer exists" in shown(page) and DLA in shown(page)
    assert page.sidebar.selectbox(key="list").value == "" and not page.exception
    page.sidebar.selectbox(key="list").set_value(ABLATION).run()
    assert "no longer exists" not in shown(page) and parts(page)["list"] == ABLATION


def test_the_ranking_names_its_default_list(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking", layer="4", neuron="178")
    assert "No list is selected" in shown(page) and ranked_of(ABLATION).ref.title in shown(page)
    assert "No list is selected" not in shown(open_page(demo, monkeypatch, view="ranking", list=DLA))
    for file in (demo / "demo" / "analysis").glob("influence_*"):
        file.unlink()
    page = open_page(demo, monkeypatch, view="ranking", layer="4", neuron="178")
    assert "peaks over 8 prompts" in "".join(html_of(page))


def test_a_list_without_a_finite_score_has_no_chart_and_no_ranks(demo, monkeypatch):
    change_scores(demo / "demo", DLA, "influence", lambda table, scores: scores * np.nan)
    page = open_page(demo, monkeypatch, view="ranking", list=DLA)
    assert "No score is finite" in shown(page) and not page.get("plotly_chart") and not page.error
    assert "rank" not in page.dataframe[0].value and len(page.dataframe[0].value) == 200
    assert page.sidebar.selectbox(key="pick").options[0].startswith("L")
    page.segmented_control(key="view").set_value("neuron").run()
    assert "no rank in" in "".join(html_of(page)) and "1 of 2560" not in "".join(html_of(page))


def test_a_row_without_a_score_has_no_rank(demo):
    change_scores(demo / "demo", ABLATION, "influence", lambda table, scores: np.where(
        np.abs(scores) < np.abs(scores).max(), np.inf, scores))  # fmt: skip
    frame = rank_frame(ranked_of(ABLATION, demo / "demo"), np.array([0, 1]))
    assert frame["rank"].tolist()[0] == 1 and frame["rank"].isna().tolist() == [False, True]


def test_the_full_title_is_shown_below_the_list_selector(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="overview", list=DLA)
    small = [body for body in html_of(page) if 'class="ns-small"' in body]
    assert len(small) == 2 and html.escape(ranked_of(DLA).ref.title) in small[1]
    assert "The capital of the state containing Dallas is → ·Austin 99.5 %" in small[0]
    options = page.sidebar.selectbox(key="list").options
    assert "dla → ·Austin, seed_prompt at 8 (by zero, next_token)" in options and options[0] == "manual"
    assert "peaks over 8 prompts" in options


def test_the_prediction_stands_beside_the_prompt(demo, monkeypatch):
    said = "→ ·Austin 99.5 %"
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    assert page.sidebar.selectbox(key="prompt").options[0] == f"0  seed_prompt  {said}"
    assert f"on prompt 0/7, seed_prompt {said}" in shown(page) and f"this prompt: 0  seed_prompt  {said}" in shown(page)
    page.segmented_control(key="view").set_value("overview").run()
    assert said in page.dataframe[0].value["prediction"].tolist()
    assert f"The capital of the state containing Dallas is {said}" in shown(page)
    meta = demo / "demo" / "analysis" / f"{DLA}_meta.json"
    meta.write_text(meta.read_text().replace('"metric": "dla"', '"metric": "<b>:red[EVIL]</b>"'))
    page = open_page(demo, monkeypatch, view="overview", list=DLA)
    assert "&lt;b&gt;:red[EVIL]" in "".join(html_of(page)) and "EVIL" not in read_as_markdown(page)


# The first of the selected list


def test_a_set_from_a_list_is_what_the_sidebar_shows(tmp_path, monkeypatch):
    act_grad, signatures = ranked_of(ACT_GRAD), ranked_of("signatures")
    found = list_set(act_grad, Filters(), RUN, 20)
    stored = [act_grad.row(i).at for i in range(len(act_grad)) if act_grad.layer[i] in STORED]
    assert found.neurons == tuple(stored[:20]) and found.signs == () and "1,024 rows" in found.note
    poles = list_set(signatures, Filters(), RUN, 100)
    rows = [signatures.row(i) for i in range(200)]
    first = {r.at: r.pole for r in reversed(rows)}
    assert len(set(poles.neurons)) == 100 and poles.note == ""
    assert len({r.at for r in rows[:100]}) < 100  # some neurons have both poles among the first
    assert poles.signs == tuple({"+": 1, "-": -1}[first[at]] for at in poles.neurons) and -1 in poles.signs
    few = list_set(signatures, Filters(top_k=3), RUN, 20)
    assert len(few.neurons) <= 3 and f"leave only {len(few.neurons)} neurons" in few.note
    assert few.name.startswith(f"first {len(few.neurons)} of ")
    positive = list_set(act_grad, Filters(score_from=0.0), RUN, 5)
    assert all(act_grad.row(act_grad.find(at)).score >= 0 for at in positive.neurons) and len(positive.neurons) == 5
    assert list_set(act_grad, Filters(score_from=1e9), RUN, 5).neurons == ()


@pytest.mark.parametrize("stem", [ACT_GRAD, "signatures"])
def test_the_page_asks_about_the_first_of_a_list(demo, monkeypatch, stem):
    page = open_page(demo, monkeypatch, view="query", list=stem)
    page.selectbox(key="ui_query_set").set_value("list").run()
    assert not page.exception and not page.error and "mean z over 20 neurons" in "".join(html_of(page))
    turned = "negative poles with reversed sign" in "".join(html_of(page))
    assert turned == (stem == "signatures") and len(page.dataframe[0].value)
    assert ("Left out: 1,024 rows" in "".join(html_of(page))) == (stem == ACT_GRAD)
    page.sidebar.number_input(key="ui_abs").set_value(1e9).run()
    assert "no row of a stored neuron that passes" in shown(page) and not page.exception


# Choices persist across views


def to_and_fro(page, back: str) -> None:
    for view in ("overview", back):
        page.segmented_control(key="view").set_value(view).run()
        assert not page.exception


def test_choices_are_kept_when_the_view_changes(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="neuron", layer="4", neuron="178")
    page.multiselect(key="ui_overlay_demo").set_value([2, 5]).run()
    second = page.selectbox(key="ui_write_from").options[1]
    page.selectbox(key="ui_write_from").select_index(1).run()
    to_and_fro(page, "neuron")
    assert page.multiselect(key="ui_overlay_demo").value == [2, 5]
    kept = page.selectbox(key="ui_write_from")
    assert kept.options[kept.index] == second
    page.sidebar.selectbox(key="prompt").set_value(5).run()  # it can no longer be laid over itself
    assert page.multiselect(key="ui_overlay_demo").value == [2] and not page.exception
    page.segmented_control(key="view").set_value("signatures").run()
    page.selectbox(key="ui_sig_group").select_index(2).run()
    group = page.selectbox(key="ui_sig_group").value
    to_and_fro(page, "signatures")
    assert page.selectbox(key="ui_sig_group").value == group and page.selectbox(key="ui_sig_group").index == 2
    page.segmented_control(key="view").set_value("overview").run()
    page.session_state["ui_sig_group"] = ("semantic", "a group that has gone")
    page.session_state["ui_write_from"], page.session_state["ui_overlay_demo"] = "a list that has gone", [99, 2]
    page.segmented_control(key="view").set_value("signatures").run()
    assert page.selectbox(key="ui_sig_group").index == 0 and not page.exception
    page.segmented_control(key="view").set_value("neuron").run()
    assert page.selectbox(key="ui_write_from").index == 0 and not page.exception
    assert page.multiselect(key="ui_overlay_demo").value == [2]


def test_choices_of_validation_and_token_persist_until_removed(demo, monkeypatch):
    analysis = demo / "demo" / "analysis"
    stem = "validation_seed_prompt_all_next_token_pos8_tok704"
    other = stem.replace("_all_", "_dla_")
    for ending in (".json", ".parquet", "_meta.json"):
        shutil.copy(analysis / f"{stem}{ending}", analysis / f"{other}{ending}")
    page = open_page(demo, monkeypatch, view="ranking")
    page.segmented_control(key="ui_rank_part").set_value("Validation").run()
    page.selectbox(key="ui_validation").set_value(other).run()
    to_and_fro(page, "ranking")
    assert page.selectbox(key="ui_validation").value == other
    shutil.copy(analysis / f"{stem}_meta.json", analysis / "validation_seed_prompt_zz_next_token_pos8_tok704_meta.json")
    for ending in (".json", ".parquet"):
        shutil.copy(analysis / f"{stem}{ending}", analysis / f"{stem.replace('_all_', '_zz_')}{ending}")
    for ending in (".json", ".parquet", "_meta.json"):
        (analysis / f"{other}{ending}").unlink()
    page.run()
    assert not page.exception and page.selectbox(key="ui_validation").value == stem
    page.segmented_control(key="view").set_value("query").run()
    page.radio(key="ui_query_kind").set_value("neurons").run()

    def pick():
        return next(s for s in page.selectbox if s.label == "The prompt's last token, or another")

    pick().set_value(2).run()
    to_and_fro(page, "query")
    assert pick().value == 2


# Addresses


def test_an_index_in_an_address_is_never_the_id_of_another_prompt(tmp_path):
    prompts = {name: [BOS, f" {i}"] for i, name in enumerate(["a", "long" * 100, "1", "01", "x" * 301])}
    run = make_v1_run(tmp_path / "old", prompts, random_acts(prompts, n_layers=1, d_mlp=2))
    for index in range(len(prompts)):
        linked = address_of(address(Selection("old", index), run))
        assert resolve(linked, run, Selection("old"), []) == (Selection("old", index), [])
    assert resolve({"prompt": "1"}, run, Selection("old"), []).selection.prompt == 2


def test_only_ascii_digits_are_numbers(tmp_path):
    run = Run.open(DEMO)
    for text in ("L٣N٤", "٣/٤", "3/٤"):
        with pytest.raises(UsageError):
            parse_neuron(text, run)
    name = run.manifest.model_name.rstrip("/").rsplit("/", 1)[-1]
    assert parse_neuron("L3N4", run) == parse_neuron(f"{name}/3/4", run)
    found = resolve({"prompt": "٢"}, run, Selection("demo", 1), [])
    assert found.selection.prompt == 1 and len(found.problems) == 1
    prompts = {"٢": [BOS, " x"], "b": [BOS, " y"]}
    own = make_v1_run(tmp_path / "own", prompts, random_acts(prompts, n_layers=1, d_mlp=2))
    assert resolve({"prompt": "٢"}, own, Selection("own", 1), []) == (Selection("own", 0), [])


# What the neurons of a list write, and where they fire


def test_the_ranking_finds_neurons_by_what_they_write_and_where_they_fire(demo, monkeypatch):
    page = open_page(demo, monkeypatch, view="ranking", list=ACT_GRAD)
    frame = page.dataframe[0].value
    assert {"promotes", "fires on"} <= set(frame) and not {"token", "position", "prompt"} & set(frame)
    assert "Spearman 0.765*" in shown(page) and "each row at 8, ·is" in shown(page)
    page.text_input(key="ui_find").set_value("promotes:Austin").run()
    found = page.dataframe[0].value
    assert 0 < len(found) < 200 and found["promotes"].str.contains("Austin").all() and not page.exception
    assert [n.split()[1] for n in page.sidebar.selectbox(key="pick").options] == found["neuron"].tolist()
    page.text_input(key="ui_find").set_value("/(/").run()
    assert "not a regular expression" in shown(page) and len(page.dataframe[0].value) == 200
    page.sidebar.selectbox(key="list").set_value(DLA).run()
    assert page.text_input(key="ui_find").value == "" and not page.exception


def test_missing_write_scores_are_named_with_their_command(tmp_path, monkeypatch):
    plain_run(tmp_path / "plain")
    assert main(["--run_dir", str(tmp_path / "plain"), "--quiet"]) == 0
    page = open_page(tmp_path, monkeypatch, view="ranking", run="plain")
    assert "--mode write_scores" in shown(page) and "promotes" not in page.dataframe[0].value
