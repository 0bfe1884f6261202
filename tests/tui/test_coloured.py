"""Coloured text: colours and marks, wrapping, cuts; the scale over the run, of a prompt, and relative to the neuron."""

from __future__ import annotations

import json

import numpy as np
import pytest
from analysis_runs import make_run
from hostile import TOKENS
from hypothesis import given
from hypothesis import strategies as st
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.layout.coloured import Coloured, flowing, on_one_line
from neuron_signatures.tui.layout.shades import LEVELS
from neuron_signatures.tui.layout.text import line_text
from neuron_signatures.tui.layout.widgets import style_named
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.about import statistics_lines
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.tables.tokens import token_view
from neuron_signatures.views.scale import strength


def coloured(values, *, full=8.0, cursor=None, excluded=0):
    tokens = ["<bos>", *(f" t{i}" for i in range(1, len(values)))]
    counts = np.arange(len(values)) >= excluded
    return Coloured(tokens, np.array(values, np.float64), counts, full, cursor)


def test_a_colour_has_the_sign_and_the_logarithmic_strength_of_its_value():
    text = coloured([8, 4, -8, 0.2, 0, np.nan], excluded=1)
    styles = [s.style for s in flowing(text, 80, 1, plain=False)[0][1:]]
    assert styles == ["dim", f"+{round(strength(0.5) * LEVELS)}", f"-{LEVELS}", "+1", "", "warn"]
    green, orange = style_named(f"+{LEVELS}"), style_named(f"-{LEVELS}")
    assert green.bgcolor.name == "#34d399" and orange.bgcolor.name == "#fb923c"


def test_marks_tell_sign_and_strength_without_colours():
    text = coloured([8, 8, 3, 1, 0.4, -1, -8, 9, np.nan], excluded=1, cursor=2)
    (shown,) = flowing(text, 120, 1, plain=True)
    assert line_text(shown) == " <bos> t1⁺⁺⁺ [t2]⁺⁺ t3⁺ t4 t5⁻ t6⁻⁻⁻ t7⁺⁺⁺▶ t8?"
    assert {s.style for s in shown if "[" in s.text} == {"mark"}


def test_the_cursor_is_underlined_also_without_a_colour():
    (shown,) = flowing(coloured([0, 0], cursor=1), 80, 1, plain=False)
    assert style_named(shown[-1].style).underline


@given(
    st.lists(st.sampled_from(TOKENS) | st.text(max_size=30), min_size=1, max_size=60), st.integers(10, 90), st.data()
)
def test_text_stays_in_its_lines_and_shows_the_cursor(tokens, columns, data):
    cursor = data.draw(st.integers(0, len(tokens) - 1))
    values = np.linspace(-1, 1, len(tokens))
    text = Coloured(tokens, values, np.ones(len(tokens), bool), 1.0, cursor)
    for plain in (True, False):
        lines = flowing(text, columns, 3, plain=plain)
        assert 0 < len(lines) <= 3 and all(width(line_text(x)) <= columns for x in lines)
        assert any(s.style.endswith("here") or s.style == "mark" for x in lines for s in x)
        assert width(line_text(on_one_line(text, columns, cursor, plain=plain))) <= columns


def test_cuts_are_marked_on_both_sides():
    text = coloured([1.0] * 400, cursor=200)
    lines = [line_text(x) for x in flowing(text, 60, 3, plain=False)]
    assert lines[0].startswith("…") and lines[-1].endswith("…") and " t200" in "".join(lines)
    shown = line_text(on_one_line(text, 40, 200, plain=False))
    assert shown.startswith("…") and shown.endswith("…") and " t200 " in shown


def one_neuron(folder, values):
    """A run of one neuron with these values after a first position; ten tokens a prompt."""
    parts = [values[i : i + 10] for i in range(0, len(values), 10)]
    prompts = {f"p{i}": ["<bos>", *(f" t{j}" for j in range(len(v)))] for i, v in enumerate(parts)}
    acts = {f"p{i}": np.array([0, *v], np.float32).reshape(1, -1, 1) for i, v in enumerate(parts)}
    make_run(folder / "run", prompts, acts)
    return folder / "run"


@async_test
async def test_one_scale_holds_for_the_run_until_s_asks_for_that_of_the_prompt(tmp_path):
    run_dir = one_neuron(tmp_path, [0.207] * 10 + [-8.19] + [0.0] * 9)
    async with browsing(Options(run_dir=run_dir)) as pilot:
        shown = text_of(pilot)
        assert "±8.19 (run)" in shown and "████" not in shown.split("p1")[0].split("strongest")[0]
        shown = await press(pilot, "S")
        assert "±0.207 (prompt)" in shown and "████" in shown and "the scale of this prompt" in shown
        assert "±8.19 (run)" in await press(pilot, "S")


def test_until_the_run_is_read_the_scale_is_that_of_the_prompt(tmp_path):
    opened = OpenedRun.open(one_neuron(tmp_path, [0.207] * 10 + [-8.19] + [0.0] * 9))
    view = token_view(opened, Cursor(0, 0, 0, 3), include_bos=False)
    assert view.scaling.words() == "±0.207 (prompt)"
    assert "all prompts  reading" in line_text(statistics_lines(view, 80)[1])


DENSE = [10 + (i % 5) / 10 for i in range(20)]


@async_test
async def test_a_neuron_that_is_always_on_is_shown_relative_to_its_mean(tmp_path):
    async with browsing(Options(run_dir=one_neuron(tmp_path, DENSE)), (120, 30)) as pilot:
        shown = text_of(pilot)
        assert "always on: positive at 20 of 20 tokens of the run, mean +10.2, std 0.141" in shown.splitlines()[0]
        assert "z ±1.41 (run)" in shown
        row = next(x for x in shown.splitlines() if x.startswith(">"))
        assert "+10.4" in row and "+1.41" in row and "│██" in row
        assert next(x for x in shown.splitlines() if " ·t0 " in x and "-1.41" in x).index("█") < row.index("│")
        assert "±10.4 (run)" in await press(pilot, "z") and isinstance(pilot.app.screen, BrowserPage)
        assert "z ±1.41 (run)" in await press(pilot, "z")


@async_test
async def test_z_shows_another_neuron_relative_to_its_mean():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        assert "±2.44 (run)" in text_of(pilot)
        shown = await press(pilot, "z")
        assert "z ±6.43 (run)" in shown and "+2.438" in shown and "bars and colours show z" in shown
        assert "z ±" in (await press(pilot, "enter")).splitlines()[1]


def test_a_printed_browser_has_text_marks_prediction_and_scale(capsys):
    where = ["--run_dir", str(DEMO), "--layer", "3", "--neuron", "508", "--prompt_idx", "0", "--print"]
    assert main(where) == 0
    out = capsys.readouterr().out
    assert "prompt 0/7 seed_prompt  → ·Austin 99.5 %" in out and "Dallas [is]⁺⁺⁺" in out and "±2.44 (run)" in out
    assert main([*where, "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["scale"] == 2.4375 and record["scale_of"] == "run" and not record["scale_is_relative"]
    assert record["prediction"] == "→ ·Austin 99.5 %" and record["all_prompts"]["always_on"] is None
    assert [x["token"] for x in record["promotes"]][:2] == [" Galveston", " Houston"]


@pytest.mark.parametrize(("plain", "said"), [(False, "green + orange -"), (True, "⁺ ⁺⁺ ⁺⁺⁺ from")])
@async_test
async def test_no_color_replaces_colours_by_marks(plain, said, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        await settle(pilot)
        assert said in text_of(pilot) and ("[is]⁺⁺⁺" in text_of(pilot)) == plain


@async_test
async def test_a_negative_activation_swaps_what_the_neuron_promotes():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508, prompt_idx=0, ctx_idx=8)) as pilot:
        assert "promotes ·Galveston  ·Houston" in text_of(pilot)
        shown = await press(pilot, "M")
        assert "act -0.1201" in shown and "suppresses ·Galveston" in shown
        assert "with a negative activation" in await press(pilot, "d")
