"""The functions behind the screens, without Textual: bars, columns, lines, moves, views, printing."""

from __future__ import annotations

import json
import math
import shutil
import unicodedata

import numpy as np
import pytest
from analysis_runs import make_run, random_acts
from hostile import TOKENS
from hypothesis import given
from hypothesis import strategies as st
from record_runs import make_record_run
from rich.cells import cell_len
from tui_pilot import DEMO, with_contrast

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.layout.bars import signed_bar
from neuron_signatures.tui.layout.text import (
    Column,
    Span,
    clip,
    column_widths,
    line,
    line_text,
    number,
    safe,
    table_head,
    table_row,
    token_text,
    wrap,
)
from neuron_signatures.tui.options import SCREENS, Options
from neuron_signatures.tui.run.cursor import Cursor, first_cursor, move, to_prompt
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.run.overall import overall_of
from neuron_signatures.tui.run.run_facts import health_of, run_facts
from neuron_signatures.tui.tables.ranked_list import ListView, Walk, cursor_of_row, peak_of_row
from neuron_signatures.tui.tables.tokens import TokenTable, token_view
from neuron_signatures.views.acts import over_prompts
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.lists.list_files import list_refs, read_list

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(TOKENS)


@pytest.mark.parametrize(
    ("value", "scale", "bar"),
    [
        (2.0, 2.0, "     │█████"),
        (-2.0, 2.0, "█████│     "),
        (1.0, 2.0, "     │██▌  "),
        (-0.6, 2.0, "   ▐█│     "),
        (1e-9, 2.0, "     │▌    "),
        (-1e-9, 2.0, "    ▐│     "),
        (0.0, 2.0, "     │     "),
        (5.0, 2.0, "     │████▶"),
        (-5.0, 2.0, "◀████│     "),
        (math.nan, 2.0, "     │     "),
        (1.0, None, "     │     "),
        (math.inf, 2.0, "     │     "),
    ],
)
def test_a_bar_goes_from_the_axis_to_the_side_of_its_sign(value, scale, bar):
    assert signed_bar(value, scale, 11) == bar


@given(st.floats(width=32), st.none() | st.floats(1e-6, 1e6), st.integers(3, 200))
def test_a_bar_has_its_width_and_its_axis_does_not_move(value, scale, columns):
    bar = signed_bar(value, scale, columns)
    assert len(bar) == columns and bar.index("│") == (columns - 1) // 2


@given(ANY_TEXT)
def test_safe_text_is_printable_and_has_a_known_width(text):
    shown = safe(text)
    assert shown.isprintable() and cell_len(shown) == width(shown)
    assert safe(shown) == shown


def test_safe_covers_every_character():
    """Every Unicode character is either shown, with the width that rich computes, or escaped."""
    for n in range(0x110000):
        c = chr(n)
        shown = safe(c)
        assert shown.isprintable() and (shown == c or shown.startswith("\\")), hex(n)
        assert cell_len(shown) == width(shown), hex(n)
        assert unicodedata.category(c)[0] not in "CM" or shown != c, hex(n)


@given(st.lists(ANY_TEXT, min_size=1, max_size=5), st.integers(10, 200))
def test_a_row_has_the_width_of_its_columns_whatever_the_token(texts, columns):
    class Texts:
        empty = ""

        def __len__(self):
            return 1

        def columns(self):
            return (*(Column(str(i), "", 9, right=i % 2 == 1, drop=i) for i in range(len(texts))), Column("x", "", 0))

        def cells(self, i, widths):
            return {str(n): Span(token_text(t)) for n, t in enumerate(texts)}

        def record(self, i):
            return {}

    widths = column_widths(Texts().columns(), columns)
    row = "".join(p.text for p in table_row(Texts(), 0, widths, cursor=True))
    assert width(row) == cell_len(row) == 1 + sum(widths.values()) + len(widths) and row.isprintable()


@given(ANY_TEXT, st.integers(1, 40))
def test_a_clipped_line_fits(text, columns):
    assert width("".join(p.text for p in clip(line(Span(safe(text)), "end"), columns))) <= columns


@given(ANY_TEXT, st.integers(4, 40))
def test_wrapping_loses_only_spaces(text, columns):
    lines = wrap(safe(text), columns)
    assert all(width(x) <= columns for x in lines)
    assert "".join(lines).replace(" ", "") == safe(text).replace(" ", "")


def test_columns_are_dropped_in_their_order_when_there_is_no_room():
    columns = (Column("a", "", 5), Column("b", "", 5, drop=1), Column("c", "", 0, drop=2))
    assert column_widths(columns, 40) == {"a": 5, "b": 5, "c": 26}
    assert column_widths(columns, 20) == {"a": 5, "b": 5}
    assert column_widths(columns, 5) == {"a": 5}


def test_numbers_have_a_sign():
    said = [number(x) for x in (1.0, -0.5, 0.0, -0.0, 1e-7, 123456.0, math.nan, math.inf, -math.inf, None)]
    assert said == ["+1", "-0.5", "0", "0", "+1e-07", "+1.235e+05", "nan", "+inf", "-inf", ""]


@pytest.fixture(scope="module")
def run():
    with Run.open(DEMO) as run:
        yield run


def test_a_move_changes_one_coordinate_or_returns_a_message(run):
    here = Cursor(0, 3, 511, 8)
    assert move(run, here, "layer", 1) == (here._replace(layer=4), "")
    assert move(run, here, "layer", 9).cursor.layer == 4
    assert move(run, here, "neuron", 1) == (here, "neuron 511 is the last of the layer")
    assert move(run, here, "neuron", -100).cursor.neuron == 411
    assert move(run, here, "prompt", -1) == (here, "this is the first of 8 prompts")
    assert move(run, here, "token", -8).cursor.pos == 0


def test_another_prompt_keeps_the_token_or_its_last(run):
    assert to_prompt(run, Cursor(0, 1, 0, 8), 4).pos == 7  # stays on the last token
    assert to_prompt(run, Cursor(7, 1, 0, 10), 4).pos == 7  # shorter prompt
    assert to_prompt(run, Cursor(0, 1, 0, 3), 4).pos == 3


@pytest.mark.parametrize(
    "options", [Options(prompt_id="none"), Options(prompt_idx=8), Options(layer=0), Options(ctx_idx=9)]
)
def test_a_first_cursor_outside_the_run_is_refused(run, options):
    with pytest.raises(UsageError):
        first_cursor(run, options)


def test_a_prompt_may_have_a_number_for_an_id(tmp_path):
    prompts = {"7": ["<bos>", "a"], "0": ["<bos>", "b"]}
    run = make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=1, d_mlp=2))
    assert first_cursor(run, Options(prompt_id="0")).prompt == 1
    assert first_cursor(run, Options(prompt_idx=0)).prompt == 0


def opened_of(tmp_path, values, tokens=("<bos>", "a", "b", "c")):
    acts = np.array(values, np.float32).reshape(1, -1, 1)
    return OpenedRun(make_run(tmp_path / "run", {"p": list(tokens)}, {"p": acts}))


def test_the_bos_is_left_out_of_scale_and_statistics(tmp_path):
    opened = opened_of(tmp_path, [9, 1, -2, 0.5])
    view = token_view(opened, Cursor(0, 0, 0, 1), include_bos=False)
    assert (
        view.scaling.full == 2
        and view.stats.max == 1
        and [view.marks(i) for i in range(4)] == ["BOS", "max", "min", ""]
    )
    with_bos = token_view(opened, Cursor(0, 0, 0, 1), include_bos=True)
    assert with_bos.scaling.full == 9 and with_bos.marks(0) == "max BOS"


def test_the_table_shows_signs_scale_and_marks(tmp_path):
    table = TokenTable(token_view(opened_of(tmp_path, [9, 1, -2, np.nan]), Cursor(0, 0, 0, 2), include_bos=False), None)
    widths = column_widths(table.columns(), 70)
    shown = [line_text(table_row(table, i, widths, cursor=i == table.cursor_row)) for i in range(4)]
    assert shown[0].endswith("▶     BOS") or ("▶" in shown[0] and shown[0].endswith("BOS"))
    assert shown[1].endswith("max") and shown[1].index("│") < shown[1].index("█")
    assert shown[2].startswith(">") and shown[2].endswith("min") and shown[2].index("█") < shown[2].index("│")
    assert " nan " in shown[3]
    assert line_text(table_head(table.columns(), widths)).endswith("±2 (prompt)")


@pytest.mark.parametrize(("pos", "first"), [(0, 0), (2, 0), (5, 3), (9, 5)])
def test_the_window_is_around_the_cursor_and_inside_the_prompt(tmp_path, pos, first):
    opened = opened_of(tmp_path, range(10), ["<bos>", *"abcdefghi"])
    view = token_view(opened, Cursor(0, 0, 0, pos), include_bos=False)
    assert view.shown(5) == range(first, first + 5) and view.shown(None) == view.shown(99) == range(10)


def test_statistics_over_prompts_are_those_of_all_their_tokens(run):
    at = NeuronAt(3, 508)
    overall = overall_of(run, over_prompts(run, at, include_bos=False), include_bos=False)
    values = np.concatenate([run.acts(p, layer=3, neuron=508)[1:] for p in run.prompts]).astype(np.float64)
    assert overall.n == len(values) == 70 and overall.n_prompts == 8
    assert overall.max == (values.max(), 0, 8) and overall.min.value == values.min()
    assert overall.spread.mean == pytest.approx(values.mean(), rel=1e-12)
    assert overall.spread.std == pytest.approx(values.std(), rel=1e-12)
    assert overall.limit == (np.abs(values).max(), 99.9, 0)
    z = (values - values.mean()) / values.std()
    assert overall.relative_limit.value == pytest.approx(np.abs(z).max())


def test_a_small_spread_about_a_large_mean_is_not_lost(tmp_path):
    prompts = {f"p{i}": ["<bos>", *" abcdefghij"[: i + 2]] for i in range(6)}
    acts = {k: 30_000 + a / 64 for k, a in random_acts(prompts, n_layers=1, d_mlp=1).items()}
    run = make_run(tmp_path / "run", prompts, acts)
    overall = overall_of(run, over_prompts(run, NeuronAt(0, 0), include_bos=True), include_bos=True)
    values = np.concatenate([run.acts(p, layer=0, neuron=0) for p in run.prompts]).astype(np.float64)
    assert overall.spread.std == pytest.approx(values.std(), rel=1e-9) and 0 < overall.spread.std < 0.1


def test_stepping_through_a_list_skips_layers_that_are_not_stored(run):
    ref = next(r for r in list_refs(DEMO) if r.stem.startswith("influence_seed_prompt_dla"))
    view = ListView.of(read_list(DEMO, ref))
    walk, layers = Walk(view, 0), []
    while (step := walk.step(1, run)) is not None:
        walk = step
        layers.append(walk.row().at.layer)
    assert set(layers) == {1, 3, 4} and len(layers) in (3 * 512 - 1, 3 * 512)


def test_a_row_opens_where_it_was_scored_or_at_its_peak(run):
    lists = {r.kind: read_list(DEMO, r) for r in list_refs(DEMO)}
    here = Cursor(0, 1, 0, 0)
    influence = lists["influence"].row(0)
    assert cursor_of_row(run, influence, here) == Cursor(0, influence.at.layer, influence.at.neuron, influence.pos)
    signature = lists["signatures"].row(0)
    assert cursor_of_row(run, signature, here) is None
    found = peak_of_row(run, signature, here)
    assert run.acts(found.prompt, layer=found.layer, neuron=found.neuron, pos=found.pos) == -24.5
    assert cursor_of_row(run, influence._replace(prompt_id="gone"), here) is None
    assert cursor_of_row(run, influence._replace(pos=99), here) is None


def test_facts_name_what_is_wrong_and_what_comes_next(tmp_path):
    opened = opened_of(tmp_path, [0, 1, np.nan, 2])
    facts = run_facts(opened.run, health_of(opened.run))
    said = {f.label: f.text for f in facts}
    assert said["not finite"] == "1 value in p" and "poc2_analyze_run" in said["stages"]


@pytest.mark.parametrize("screen", sorted(SCREENS))
def test_every_screen_is_printed_as_text_and_as_strict_json(screen, tmp_path, capsys):
    run_dir = with_contrast(tmp_path / "demo_run") if screen == "contrast" else DEMO
    if screen in ("corpus", "neurons"):
        shutil.copytree(DEMO, tmp_path / "demo_run")
        run_dir = make_record_run(tmp_path / "demo_run", n_documents=20, top_k=5)
    where = ["--runs_root", str(DEMO.parent)] if screen == "runs" else ["--run_dir", str(run_dir), "--layer", "3"]
    query = ["--query", "the"] if screen == "search" else []
    assert main([*where, "--screen", screen, *query, "--print"]) == 0
    text = capsys.readouterr().out
    assert main([*where, "--screen", screen, *query, "--print", "json", "--limit", "2"]) == 0
    out = capsys.readouterr().out
    record = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert record["screen"] == screen and len(out.splitlines()) == 1
    assert len(record.get("rows", ())) <= 2
    assert text.strip() and all(x.isprintable() and x == x.rstrip() for x in text.splitlines())


def test_the_printed_table_is_that_of_the_values(capsys):
    arguments = ["--run_dir", str(DEMO), "--layer", "3", "--neuron", "508", "--all_tokens", "--print", "json"]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    with Run.open(DEMO) as run:
        assert [r["act"] for r in record["rows"]] == run.acts(0, layer=3, neuron=508).tolist()
        assert [r["token"] for r in record["rows"]] == run.prompts[0].tokens
    assert [r["marks"] for r in record["rows"]] == [["BOS"], [], [], [], ["min"], [], [], [], ["max"]]
    assert record["all_prompts"]["max"]["prompt_id"] == "seed_prompt" and record["pos"] == 8


def test_limits_and_filters_of_printed_lists(capsys):
    base = ["--run_dir", str(DEMO), "--screen", "peaks", "--print"]
    main(base)
    out = capsys.readouterr().out
    assert "1486 more; --limit 0 prints all" in out and sum(" L" in x for x in out.splitlines()) == 50
    main([*base, "--query", "L4", "--limit", "0"])
    out = capsys.readouterr().out
    assert "512 of 1536 rows" in out and "more;" not in out


def test_an_undefined_number_is_null_in_json(tmp_path, capsys):
    opened_of(tmp_path, [9, np.nan, np.inf, 1])
    main(["--run_dir", str(tmp_path / "run"), "--print", "json"])
    record = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert [r["act"] for r in record["rows"]] == [9, None, None, 1] and record["stats"]["n_nonfinite"] == 2


def test_a_printed_search_counts_all_hits_and_says_how_many_are_left_out(tmp_path, capsys):
    prompts = {f"p{i}": ["<bos>", "a", "a"] for i in range(51)}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=1, d_mlp=1))
    search = ["--run_dir", str(tmp_path / "run"), "--screen", "search", "--query", "a", "--print"]
    assert main(search) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "  ... 52 more; --limit 0 prints all" and sum("[a]" in x for x in lines) == 50
    assert main([*search, "json", "--limit", "3"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["n_hits"] == 102 and len(record["rows"]) == 3
    assert main([*search, "json", "--limit", "0"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 102


def test_an_empty_folder_of_runs_says_what_to_run(tmp_path, capsys):
    assert main(["--runs_root", str(tmp_path), "--print"]) == 0
    assert "neuron_signatures.poc1_dump_activations" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("flag", ["--runs_root", "--run_dir"])
def test_a_file_instead_of_a_folder_is_refused(tmp_path, capsys, flag):
    (tmp_path / "file").touch()
    assert main([flag, str(tmp_path / "file"), "--print"]) in (2, 3)
    assert "this is a file" in capsys.readouterr().err
