"""Hostile texts, edge-case runs and small terminals: shown without a crash."""

from __future__ import annotations

import numpy as np
import pytest
from analysis_runs import make_run, make_v1_run, random_acts
from hostile import TOKENS
from run_folders import write_run
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, tour, type_in

from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.printing import printed

UNICODE = [t.encode("utf-8", "replace").decode() for t in TOKENS]
SHOWN = ("[/]", "[bold]", "[@click=app.quit]x[", "\\x1b[31mred", "\\x1b]0;title\\x", "\\x9b31m", "a⏎b", "\\u202eabc")


@async_test
async def test_markup_and_controls_are_shown_literally(tmp_path):
    prompts = {"first": UNICODE, "second": ["<bos>", "[@click=app.quit]x[/]"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=3))
    async with browsing(Options(run_dir=tmp_path / "run", all_tokens=True), (100, 50)) as pilot:
        shown = text_of(pilot)
        for token in SHOWN:
            assert token in shown, token
        assert all(c.isprintable() for c in (await tour(pilot)).replace("\n", ""))
        assert len({width(x) for x in shown.splitlines()}) == 1
        await press(pilot, "s")
        await type_in(pilot, "[@click")
        await settle(pilot)
        assert "search [@click" in text_of(pilot) and pilot.app.return_code is None


@async_test
async def test_columns_are_aligned_with_hostile_tokens(tmp_path):
    prompts = {"only": UNICODE}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=1, d_mlp=2))
    async with browsing(Options(run_dir=tmp_path / "run", all_tokens=True), (100, 50)) as pilot:
        rows = [x for x in text_of(pilot).splitlines() if "│" in x]
        assert len(rows) == len(TOKENS)
        assert len({width(x.split("│")[0]) for x in rows}) == 1


@pytest.mark.parametrize("screen", ["browser", "prompts", "layers", "stack", "search"])
def test_columns_are_aligned_on_an_ascii_stream(tmp_path, screen):
    prompts = {"first": [*UNICODE, "é" * 20], "second": ["<bos>", " Привет"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=3))
    options = Options(run_dir=tmp_path / "run", all_tokens=True, screen=screen, query="e\u0301")
    lines = list(printed(options, "text", columns=80, encoding="ascii"))
    assert all(x.isascii() and len(x) <= 80 for x in lines)
    unicode = list(printed(options, "text", columns=80, encoding="utf-8"))
    assert not all(x.isascii() for x in unicode)
    assert len(lines) == len(unicode) or screen == "browser"  # the running text is longer
    if screen == "browser":
        assert "act " in lines[0] and lines[0].split("act ")[1][0] in "+-"
        rows = [x for x in lines if "|" in x]
        assert len(rows) == len(UNICODE) + 1 and len({x.index("|") for x in rows}) == 1
        assert any("\\xe9\\xe9" in x for x in rows)


@async_test
async def test_pasted_controls_become_escapes(tmp_path):
    from textual import events

    async with browsing(Options(run_dir=DEMO)) as pilot:
        await press(pilot, "g")
        pilot.app.post_message(events.Paste("\x1b]0;x\x07\u202e"))
        await settle(pilot)
        shown = text_of(pilot)
        assert "\\x1b]0;x\\x07\\u202e" in shown and "\x1b" not in shown
        assert "names no neuron" in await press(pilot, "enter")


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (10, 3), (40, 10), (300, 100)])
@async_test
async def test_any_size_of_terminal_works_and_may_change(size):
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508), size) as pilot:
        await tour(pilot)
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "this prompt" in text_of(pilot)
        await pilot.resize_terminal(*size)
        await settle(pilot)
        if size == (20, 5):
            assert "> " in text_of(pilot) and "·is" in text_of(pilot)


EDGE_CASES = {
    "one of all": (["<bos>"], np.ones((1, 1, 1), np.float32)),
    "one token": (["a"], np.ones((1, 1, 1), np.float32)),
    "constant": (["<bos>", "a", "b"], np.full((2, 3, 2), 0.5, np.float32)),
    "all zero": (["<bos>", "a", "b"], np.zeros((2, 3, 2), np.float32)),
    "all NaN": (["<bos>", "a", "b"], np.full((2, 3, 2), np.nan, np.float32)),
    "infinite": (["<bos>", "a", "b"], np.array([[[np.inf], [-np.inf], [1.0]]], np.float32)),
}
MESSAGES = {
    "one of all": "only the first position; i includes it",
    "one token": "only the first position; i includes it",
    "constant": "mean +0.5 std 0",
    "all zero": "all zero",
    "all NaN": "no value included: no finite value",
    "infinite": "1 not finite",
}


@pytest.mark.parametrize("name", EDGE_CASES)
@async_test
async def test_edge_case_runs_show_a_message_on_every_screen(tmp_path, name):
    tokens, acts = EDGE_CASES[name]
    make_run(tmp_path / "run", {"p": tokens}, {"p": acts})
    async with browsing(Options(run_dir=tmp_path / "run"), (120, 30)) as pilot:
        assert MESSAGES[name] in text_of(pilot)
        seen = await tour(pilot)
        assert "no ranked list yet; make it with: python -m neuron_signatures.poc2_analyze_run" in seen
        assert "--mode signatures" in seen


@async_test
async def test_format_1_and_sharded_runs_open(tmp_path):
    prompts = {"\x1b[31m id": ["<bos>", "a"], "b": ["<bos>", "c", "d"]}
    make_v1_run(tmp_path / "v1", prompts, random_acts(prompts, n_layers=2, d_mlp=3))
    async with browsing(Options(run_dir=tmp_path / "v1")) as pilot:
        assert "\\x1b[31m id" in text_of(pilot) and "\x1b" not in text_of(pilot)
        assert "format 1" in await tour(pilot)
    write_run(tmp_path / "shards", shard_bytes=60)
    async with browsing(Options(run_dir=tmp_path / "shards")) as pilot:
        assert "prompt 0/2 first" in text_of(pilot)
        assert "prompt 2/2 third" in await press(pilot, "]", "]")


@async_test
async def test_a_flag_that_does_not_fit_the_run_ends_the_browser():
    async with browsing(Options(run_dir=DEMO, layer=2)) as pilot:
        assert "layer 2 is not stored" in str(pilot.app.return_value)
