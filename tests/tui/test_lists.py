"""The ranked lists: cursor, order of rows, filter."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, until_shown

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.layout.text import column_widths, line_text, table_row
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.tables.ranked_list import ListTable, ListView, Order
from neuron_signatures.views.lists.list_files import list_refs, read_list

NEWEST = "influence_seed_prompt_ablation_next_token_pos8_tok704"


@pytest.fixture(scope="module")
def lists():
    return {r.kind: read_list(DEMO, r) for r in list_refs(DEMO)}


@async_test
async def test_the_cursor_stays_on_its_list_when_a_newer_one_comes(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    analysis = tmp_path / "run" / "analysis"
    kept = [analysis / name for name in (f"{NEWEST}.parquet", f"{NEWEST}_meta.json")]
    for path in kept:
        path.rename(tmp_path / path.name)
    async with browsing(Options(run_dir=tmp_path / "run", layer=3), (120, 30), poll_seconds=0.05) as pilot:
        shown = await press(pilot, "w", "down")
        here = next(x for x in shown.splitlines() if x.startswith(">"))
        for path in kept:
            (tmp_path / path.name).rename(path)
        shown = await until_shown(pilot, "influence ablation")
        assert "row 3 of" in shown and here in text_of(pilot)
        for path in kept:
            path.unlink()
        await pilot.pause(0.2)
        assert here in text_of(pilot)
        await press(pilot, "enter")
        assert pilot.app.screen.ref.title in here


@async_test
async def test_no_key_press_is_lost_while_a_list_is_sorted():
    async with browsing(Options(run_dir=DEMO, screen="peaks"), (120, 30)) as pilot:
        assert "by |score|, smallest first" in await press(pilot, "S")
        await pilot.press("s", "s", "s")
        await settle(pilot)
        assert "by token, ascending" in text_of(pilot)
        await pilot.press("s", "s", "s", "S")
        await settle(pilot)
        assert "by score, smallest first" in text_of(pilot)


@pytest.mark.parametrize("kind", ["influence", "signatures"])
def test_scores_are_sorted_descending_and_texts_ascending(kind):
    order, found = Order().next(kind), []
    while order.key is not None:
        found.append((order.key, order.descending))
        order = order.next(kind)
    notes = [("note", False)] if kind == "signatures" else []  # an influence list has none
    assert found == [("score", True), ("neuron", False), ("token", False), *notes]


def test_the_first_neuron_comes_first(lists):
    rows = ListView.of(lists["peaks"]).arranged(Order("neuron", False)).rows
    assert lists["peaks"].row(int(rows[0])).at == (1, 0)


def test_a_filter_finds_tokens_that_begin_as_a_comparison(lists):
    peaks = lists["peaks"]
    texts = ["<bos>", "<", ">>> ", "<=x", "<3", "a"]
    column = peaks.table.column("mode_peak_token").unify_dictionaries().combine_chunks()
    codes = np.arange(len(peaks)) % len(texts)
    coded = type(column).from_arrays(codes.astype(np.int32), texts)
    table = peaks.table.set_column(peaks.table.column_names.index("mode_peak_token"), "mode_peak_token", coded)
    peaks = replace(peaks, table=table)

    def found(query):
        return {texts[i] for i in codes[peaks.place[peaks.matching(query)]]}

    assert found("<bos>") == {"<bos>"} and found(">>>") == {">>> "} and found("<=x") == {"<=x"}
    assert found("<") == {"<bos>", "<", "<=x", "<3"}


@pytest.mark.parametrize("query", [">0.3", "> 0.3", ">3e-1", ">  +.3"])
def test_a_filter_compares_with_a_number_also_after_a_space(lists, query):
    peaks = lists["peaks"]
    high = peaks.score > 0.3
    assert 0 < high.sum() < len(peaks) and (peaks.matching(query) == high).all()
    assert (peaks.matching(f"L3 {query} <=4") == (high & (peaks.score <= 4) & (peaks.layer == 3))).all()


def test_scores_that_are_not_finite_come_last_in_any_order(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    path = tmp_path / "run" / "analysis" / f"{NEWEST}.parquet"
    table = pq.read_table(path).slice(0, 4)
    i = table.column_names.index("influence")
    pq.write_table(table.set_column(i, "influence", pa.array([np.inf, 3.0, -np.inf, np.nan])), path)
    ref = next(r for r in list_refs(tmp_path / "run") if r.stem == NEWEST)
    view = ListView.of(read_list(tmp_path / "run", ref))
    for order in (Order(), Order("score"), Order("score", False), Order("|score|", False)):
        shown = ListTable(view.arranged(order), Run.open(DEMO))
        widths = column_widths(shown.columns(), 100)
        scores = [line_text(table_row(shown, i, widths, cursor=False)).split()[2] for i in range(4)]
        assert scores == ["+3", "undefined", "undefined", "undefined"]


def test_a_printed_filter_without_a_match_names_no_key(capsys):
    assert main(["--run_dir", str(DEMO), "--screen", "peaks", "--query", "zzzz", "--print"]) == 0
    assert capsys.readouterr().out.endswith("\nno row matches the filter\n")


def of_another_dump(folder):
    """The demo run with results of an earlier dump."""
    shutil.copytree(DEMO, folder / "run")
    manifest = folder / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created_at_utc": "2026-', '"created_at_utc": "2027-'))
    return folder / "run"


@async_test
async def test_lists_of_another_dump_say_so_where_they_are_shown(tmp_path):
    run_dir = of_another_dump(tmp_path)
    async with browsing(Options(run_dir=run_dir, screen="lists"), (80, 24)) as pilot:
        shown = text_of(pilot)
        assert shown.count("from another dump?") == 5 and "row 1 of 5  made from another dump (2026-" in shown
        assert re.search(r"d: \d+ more lines, a warning", await press(pilot, "enter"))
        assert "warning made from another dump (2026-" in await press(pilot, "d")


@pytest.mark.parametrize("screen", ["run", "notes"])
def test_facts_and_notes_name_results_of_another_dump(tmp_path, capsys, screen):
    where = ["--run_dir", str(of_another_dump(tmp_path)), "--layer", "4", "--neuron", "178", "--screen", screen]
    assert main([*where, "--print", "json"]) == 0
    doubts = json.loads(capsys.readouterr().out)["doubts"]
    assert "signatures" in doubts and (NEWEST in doubts) == (screen == "run")
    assert main([*where, "--print"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("doubtful made from another dump (2026-") == 1 and f": {', '.join(doubts)} " in text


@async_test
async def test_a_neuron_that_the_model_does_not_have_is_not_opened(tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    path = tmp_path / "run" / "analysis" / f"{NEWEST}.parquet"
    table = pq.read_table(path)
    i, neurons = table.column_names.index("neuron"), table["neuron"].to_pylist()
    first = int(np.argmax(np.abs(table["influence"].to_numpy())))
    neurons[first] = 600
    pq.write_table(table.set_column(i, "neuron", pa.array(neurons, table.schema.field("neuron").type)), path)
    async with browsing(Options(run_dir=tmp_path / "run", screen="influence"), (120, 30)) as pilot:
        assert "not stored" in next(x for x in text_of(pilot).splitlines() if x.startswith(">"))
        assert "there is no neuron 600: 0..511" in await press(pilot, "enter")
        assert "3 of 1536" in await press(pilot, "down", "down", "enter")
        await press(pilot, "comma")
        assert "2 of 1536" in text_of(pilot)
        assert "this is the first stored neuron" in await press(pilot, "comma")
