"""Narrow terminals: necessary information is not cut off."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from analysis_runs import make_run
from record_runs import make_record_run
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, with_contrast

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.listing import RunSummary
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.layout.header import Peak, run_line, statistics
from neuron_signatures.tui.layout.text import Span, clip, column_widths, line, line_text, table_row
from neuron_signatures.tui.options import SCREENS, Options
from neuron_signatures.tui.run.about import header
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.tables.activations import LayerTable, StackTable, TopTable
from neuron_signatures.tui.tables.listings import RunTable
from neuron_signatures.tui.tables.ranked_list import ListTable, ListView
from neuron_signatures.tui.tables.tokens import TokenTable, token_view
from neuron_signatures.views.acts import LayerLine, NeuronAct, OnPrompt, Stats
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import list_refs, read_list

REVISION = "c5ebcd40d208330abc697524c919956e692655cf"
ACT_GRAD = "influence_seed_prompt_act_grad_next_token_pos8_tok704"


@async_test
async def test_the_warning_of_an_influence_list_can_be_read_to_its_end():
    async with browsing(Options(run_dir=DEMO, screen="influence", list_name=ACT_GRAD)) as pilot:
        short = text_of(pilot)
        assert re.search(r"d: \d+ more lines, a warning", short) and short.splitlines()[3].split()[0] == "#"
        shown = " ".join((await press(pilot, "d")).split())
        assert (
            "warning act_grad cancels within every layer" in shown and "its shares are not shares of the logit" in shown
        )


@async_test
async def test_the_filter_stands_before_the_order():
    async with browsing(Options(run_dir=DEMO, screen="influence", list_name=ACT_GRAD, query="L3 >0.01")) as pilot:
        assert re.search(r"\d+ of 2560 rows filter L3 >0\.01 {2}by \|score\|", text_of(pilot))


TOKENS = [("·is", "·the"), ("·antidisestablishmentarianism", "·the"), ("·is", "·antidisestablishmentarianism")]


@pytest.mark.parametrize("tokens", [*TOKENS, ("·antidisestablishmentarianism",) * 2])
@pytest.mark.parametrize("n_nonfinite", [0, 123])
def test_the_minimum_is_shown_however_long_the_tokens_are(tokens, n_nonfinite):
    high, low = Peak(2.438, "at 118", tokens[0]), Peak(-0.12011, "at 4", tokens[1])
    shown = line_text(statistics("this prompt", 0.329, 0.81, high, low, n_nonfinite=n_nonfinite, digits=4, columns=80))
    assert width(shown) <= 80 and re.search(r"mean \+0\.3", shown)
    assert n_nonfinite or "mean +0.329 std 0.81  max" in shown
    assert re.search(r"min -0\.12\d* at 4 ·", shown) and ("123 not finite" in shown) == bool(n_nonfinite)


def test_the_minimum_is_shown_where_every_number_is_long():
    high, low = Peak(2.438e-12, "at 100000", "·is"), Peak(-1.2011e-12, "at 100001", "·the")
    shown = line_text(statistics("this prompt", 3.29e-13, 8.1e-13, high, low, n_nonfinite=0, digits=4, columns=80))
    assert width(shown) <= 80 and shown.endswith("at 100001 ·the") and "min -1.2" in shown


@pytest.mark.parametrize("columns", [200, 110, 100, 80, 74])
def test_the_hook_shows_beside_a_name_of_the_hub_and_its_revision(tmp_path, columns):
    prompts = {"p": ["<bos>", "a"]}
    make_run(tmp_path / "gemma_capitals", prompts, {"p": np.ones((1, 2, 1), np.float32)})
    with Run.open(tmp_path / "gemma_capitals") as run:
        run.manifest.__dict__.update(model_name="google/gemma-2-2b", model_revision=REVISION)
        shown = line_text(run_line(run, columns))
    assert width(shown) <= columns and shown.endswith(run.manifest.hook_name)
    assert "google/gemma-2-2b @ c5ebcd40" in shown and ("c5ebcd40d208330" in shown) == (columns == 200)


def test_the_picker_keeps_its_last_column_at_80():
    row = RunSummary("run", "broken", "google/gemma-2-2b", 8, 78, 240_300, (), "", 2, problem="the file is missing")
    table = RunTable([row])
    widths = column_widths(table.columns(), 80)
    assert "stages" in widths and "tokens" not in widths and "bytes" in widths
    assert "the file is" in line_text(table_row(table, 0, widths, cursor=False))


def test_a_layer_with_values_that_are_not_finite_says_so_at_80():
    with Run.open(DEMO) as run:
        prompt = run.prompts[0]
    rows = [LayerLine(*(None,) * len(LayerLine._fields))._replace(layer=3, n_nonfinite=n) for n in (0, 123456)]
    bad = LayerTable(rows, prompt)
    widths = column_widths(bad.columns(), 80)
    assert "123456" in line_text(table_row(bad, 1, widths, cursor=False)) and {"bad", "bar", "token"} <= set(widths)
    assert "mean" in column_widths(LayerTable(rows[:1], prompt).columns(), 80)


@async_test
async def test_the_footer_counts_the_keys_that_do_not_fit():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        lines = text_of(pilot).splitlines()
        assert lines[-2].startswith("←→ layer  ↑↓ token") and ". , next in list" in lines[-2]
        assert len(re.findall(r"\S+ +[a-z]+", lines[-1])) > 5 and lines[-1].rstrip().endswith("? 20 more")
        await pilot.resize_terminal(320, 30)
        await settle(pilot)
        assert text_of(pilot).rstrip().endswith("PgDn PgUp ±100  ? help")


@pytest.mark.parametrize("screen", ["peaks", "stack", "top", "lists", "interventions", "prompts", "notes", "run"])
@async_test
async def test_one_line_of_keys_suffices_elsewhere(screen):
    async with browsing(Options(run_dir=DEMO, screen=screen)) as pilot:
        await settle(pilot)
        lines = text_of(pilot).splitlines()
        assert all(key in lines[-1] for key in ("d details", "q quit", "Esc back") if screen not in ("notes", "run"))
        assert re.search(r"\? (help|[1-9] more)$", lines[-1].rstrip()) and "q quit" not in lines[-2]


@pytest.mark.parametrize("screen", sorted(SCREENS))
def test_no_printed_line_is_longer_than_the_terminal_is_wide(screen, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with_contrast(tmp_path / "runs" / "demo_run")
    if screen in ("corpus", "neurons"):
        make_record_run(tmp_path / "runs" / "demo_run", n_documents=20, top_k=5)
    manifest = tmp_path / "runs" / "demo_run" / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw["prompts"][0]["text"] = "long " * 300
    manifest.write_text(json.dumps(raw))
    where = ["--runs_root", str(tmp_path / "runs")] if screen == "runs" else ["--run_dir", str(manifest.parent)]
    query = ["--query", "the"] if screen == "search" else []
    assert main([*where, "--screen", screen, *query, "--print"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert max(width(x) for x in out) <= 80


@async_test
async def test_the_status_says_whether_the_neuron_is_that_of_the_list():
    async with browsing(Options(run_dir=DEMO, screen="influence", list_name=ACT_GRAD)) as pilot:
        shown = await press(pilot, "enter")
        assert "L4N154 is 1 of 2560, score -0.2508" in shown
        shown = await press(pilot, "n")
        assert "off the list; . continues from 1 of 2560" in shown and ", score" not in shown
        assert "L4N154 is 1 of 2560" in await press(pilot, "b")
        assert "L4N154 is 1 of 2560" in await press(pilot, "up")  # another token of the same neuron
        await press(pilot, "n")
        assert "L3N363 is 2 of 2560, score -0.2156" in await press(pilot, "full_stop")


@async_test
async def test_the_reason_of_a_fault_shows_however_deep_the_folder_is(tmp_path):
    run_dir = tmp_path / ("a_long_name_" * 8) / "run"
    make_run(run_dir, {"p": ["<bos>", "a"]}, {"p": np.ones((1, 2, 1), np.float32)})
    (run_dir / "activations.safetensors").unlink()
    async with browsing(Options(run_dir=run_dir)) as pilot:
        assert "cannot be read: activations.safetensors: the file is missing" in text_of(pilot)


def wide_run(path, layers):
    """A run with numbers and tokens as long as those of a real model."""
    tokens = ["<bos>", " characteristically"]
    acts = np.zeros((len(layers), 2, 9216), np.float32)
    acts[:, 1] = -0.00030123
    run = make_run(path, {"p": tokens}, {"p": acts}, layers=layers, n_layers=26)
    run.prompts[0].token_ids[1] = 206800
    return OpenedRun(run)


@pytest.mark.parametrize("layers", [list(range(26)), list(range(0, 26, 2))], ids=["all", "every second"])
def test_the_activation_is_shown_however_narrow_it_is(tmp_path, layers):
    opened = wide_run(tmp_path / "run", layers)
    view = token_view(opened, Cursor(0, layers[-1], 9215, 1), include_bos=False)
    said = {n: line_text(header(view, None, n)[0]) for n in range(10, 161)}
    assert all(width(x) <= n and "-0.0003012" in x for n, x in said.items())
    assert all("token 1/1 ·c" in said[n] for n in range(60, 161)) and "(id 206800)" in said[80]
    assert "of layers" in said[160] and "·characteristically  act" in said[60]
    assert "of layers" not in said[80] and "…" not in said[80] and "·charact…  act" in said[45]


def test_a_cut_line_ends_in_an_ellipsis():
    pieces = line(Span("abc"), Span("def", "mark"), Span("  "))
    assert [line_text(clip(pieces, n)) for n in (9, 6, 5, 4, 3, 2, 1, 0)] == [
        "abcdef", "abcdef", "abcd…", "abc…", "ab…", "a…", "…", "",
    ]  # fmt: skip
    assert line_text(clip(line("漢字", "x"), 4)) == "漢…" and line_text(clip(line("漢字", "x"), 3)) == "漢…"


NUMBERS = [1.234e-38, 3.403e38, 9.0123e-05, 0.00030123, 1.2345e-200]


def tables_of(value: float):
    """Every table, with this number in all numeric columns."""
    with Run.open(DEMO) as run:
        prompt = run.prompts[0]
        stats = Stats(8, 0, value, 1, value, 2, value, abs(value))
        acts = np.full(prompt.seq_len, value)
        view = token_view(OpenedRun(run), Cursor(0, 3, 0, 0), include_bos=False)
        yield TokenTable(replace(view, values=acts), None)
        stack = StackTable(OpenedRun(run), NeuronAt(3, 0), include_bos=False)
        stack.add([OnPrompt(0, prompt, acts, stats)])
        yield stack
        yield LayerTable([LayerLine(25, abs(value), 9215, 1, value, abs(value), *[value] * 4, 123456)], prompt)
        yield TopTable([NeuronAct(NeuronAt(25, 9215), value)])
    for ref in list_refs(DEMO):
        ranked = read_list(DEMO, ref)
        table = ranked.table
        for name in ("activation", "max_act", "min_act"):
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, pa.array([value] * len(table)))
        yield ListTable(ListView.of(replace(ranked, table=table, score=np.full(len(ranked), value))), run)
    yield RunTable([RunSummary("r", "complete", "m", 12_345, 1_234_567, 999_949_999, (), "", 2)])


@pytest.mark.parametrize("value", [*NUMBERS, *(-x for x in NUMBERS)])
def test_no_number_is_cut_in_its_column(value):
    for table in tables_of(value):
        widths = column_widths(table.columns(), 200)
        cells = table.cells(0, widths)
        row = line_text(table_row(table, 0, widths, cursor=False))
        for column in table.columns():
            if column.right:
                text = cells[column.name].text
                assert width(text) <= widths[column.name] and text in row, (type(table).__name__, column.name, text)


@async_test
async def test_at_60_columns_the_bars_stay_and_the_ids_go():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508), (60, 20)) as pilot:
        shown = text_of(pilot)
        assert "±2.44 (run)" in shown and " 293 " not in shown.split("±2.44 (run)")[1] and "act +2.438" in shown
        row = next(x for x in shown.splitlines() if x.startswith(">"))
        assert "│█" in row and row.rstrip().endswith("max")


@pytest.mark.parametrize(("columns", "legend"), [(50, False), (80, True)])
@async_test
async def test_colours_and_marks_are_explained_where_they_are_shown(columns, legend, capsys, monkeypatch):
    async with browsing(Options(run_dir=DEMO, screen="stack"), (columns, 20)) as pilot:
        shown = text_of(pilot)
        columns_shown = next(x for x in shown.splitlines() if x.startswith("      # prompt"))
        assert ("green + orange - to" in shown) == ("text around the peak" in columns_shown) == legend
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["--run_dir", str(DEMO), "--screen", "stack", "--print"]) == 0
    assert ("⁺ ⁺⁺ ⁺⁺⁺ from" in capsys.readouterr().out) == legend
