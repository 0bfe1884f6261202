"""Every key of the browser, pressed on the committed run."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from paths import ROOT
from textual.command import CommandList
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, type_in

from neuron_signatures.tui import keys
from neuron_signatures.tui.app import BrowseApp
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.explanation import ExplanationPage
from neuron_signatures.tui.screens.explanations import ExplanationsPage
from neuron_signatures.tui.screens.lists import ListPage, ListsPage
from neuron_signatures.tui.screens.runs import RunsPage
from neuron_signatures.tui.screens.search import SearchPage
from neuron_signatures.tui.screens.tables import LayersPage, PromptsPage, StackPage, TopPage
from neuron_signatures.tui.screens.texts import FactsPage, HelpPage, NotesPage

START = Options(run_dir=DEMO, layer=3, neuron=200, prompt_id="probe_1_Austin", ctx_idx=4)
HERE = Cursor(1, 3, 200, 4)


MOVES = [
    ("left", HERE._replace(layer=1)),
    ("right", HERE._replace(layer=4)),
    ("up", HERE._replace(pos=3)),
    ("down", HERE._replace(pos=5)),
    ("n", HERE._replace(neuron=201)),
    ("b", HERE._replace(neuron=199)),
    ("pagedown", HERE._replace(neuron=300)),
    ("pageup", HERE._replace(neuron=100)),
    ("]", HERE._replace(prompt=2)),
    ("[", HERE._replace(prompt=0)),
    ("home", HERE._replace(pos=0)),
    ("end", HERE._replace(pos=9)),
]


@async_test
async def test_a_key_moves_one_thing_and_the_screen_says_so():
    async with browsing(START) as pilot:
        run = pilot.app.result.opened.run
        for key, there in MOVES:
            pilot.app.screen.go(HERE)
            shown = await press(pilot, key)
            assert pilot.app.screen.cursor == there, key
            prompt = run.prompts[there.prompt]
            act = float(run.acts(prompt, layer=there.layer, neuron=there.neuron, pos=there.pos))
            assert f"{there.at.label} of layers" in shown
            assert f"prompt {there.prompt}/7 {prompt.probe_id}" in shown
            cursor = next(x for x in shown.splitlines() if x.startswith(">"))
            assert re.search(rf"> +{there.pos} .* {re.escape(f'{act:+.4g}')} ", cursor)


@async_test
async def test_moves_stop_at_the_ends_and_say_so():
    async with browsing(Options(run_dir=DEMO, ctx_idx=0)) as pilot:
        for key, word in (("left", "first"), ("up", "first"), ("b", "first"), ("[", "first")):
            assert word in (await press(pilot, key)).splitlines()[-3]
        assert pilot.app.screen.cursor == Cursor(0, 1, 0, 0)
        await press(pilot, *["right"] * 2, *["pagedown"] * 6, *["]"] * 7, "end")
        assert pilot.app.screen.cursor == Cursor(7, 4, 511, 11)
        for key in ("right", "down", "n", "]"):
            assert "last" in (await press(pilot, key)).splitlines()[-3]
        assert pilot.app.screen.cursor == Cursor(7, 4, 511, 11)


JUMPS = [
    ("g", "508", HERE._replace(neuron=508)),
    ("g", "4/17", HERE._replace(layer=4, neuron=17)),
    ("g", " L1N339 ", HERE._replace(layer=1, neuron=339)),
    ("g", "demo/4/17", HERE._replace(layer=4, neuron=17)),
    ("l", "4", HERE._replace(layer=4)),
    ("c", "-1", HERE._replace(pos=9)),
    ("c", "0", HERE._replace(pos=0)),
]


@async_test
async def test_the_jump_boxes_move_the_cursor():
    async with browsing(START) as pilot:
        for key, typed, there in JUMPS:
            pilot.app.screen.go(HERE)
            await press(pilot, key)
            await type_in(pilot, typed)
            assert isinstance(pilot.app.screen, BrowserPage) and pilot.app.screen.cursor == there, typed


MISTAKES = [
    ("g", "512", "there is no neuron 512"),
    ("g", "2/1", "layer 2 is not stored"),
    ("g", "gemma-2-2b/4/1", "is another model"),
    ("g", "five", "names no neuron"),
    ("l", "2", "layer 2 is not stored"),
    ("l", "x", "is not a layer"),
    ("c", "10", "there is no token 10"),
    ("c", "1.5", "is not a token position"),
    ("c", "٣", "is not a token position"),
    ("g", "٣", "names no neuron"),
    ("l", "L٣", "is not a layer"),
    ("g", "[bold]\x1b]0;x\x07", "names no neuron"),
]


@async_test
async def test_a_rejected_input_is_explained_and_changes_nothing():
    async with browsing(START) as pilot:
        for key, typed, said in MISTAKES:
            await press(pilot, key)
            shown = await type_in(pilot, typed)
            assert said in shown and "\x1b" not in shown and "\x07" not in shown, typed
            await press(pilot, "escape")
            assert pilot.app.screen.cursor == HERE


@async_test
async def test_keys_that_change_what_is_shown():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508, window=5)) as pilot:
        assert sum("│" in x for x in text_of(pilot).splitlines()) == 5
        assert sum("│" in x for x in (await press(pilot, "a")).splitlines()) == 9
        assert sum("│" in x for x in (await press(pilot, "a")).splitlines()) == 5
        await press(pilot, "M")
        assert pilot.app.screen.cursor.pos == 4
        await press(pilot, "m")
        assert pilot.app.screen.cursor.pos == 8


@async_test
async def test_i_includes_the_bos_in_scale_and_statistics():
    async with browsing(Options(run_dir=DEMO, layer=4, neuron=127, prompt_idx=5)) as pilot:
        without = text_of(pilot)
        with_bos = await press(pilot, "i")
        assert "first position included" in with_bos and "BOS" in without.split(" act ")[-1]
        assert without.split("this prompt")[1].splitlines()[0] != with_bos.split("this prompt")[1].splitlines()[0]
        assert "first position excluded" in await press(pilot, "i")


SCREENS = [
    ("w", ListsPage, "dla by zero → ·Austin"),
    ("enter", StackPage, "L3N508 on every prompt  8 of 8"),
    ("v", StackPage, "probe_1_Austin"),
    ("t", TopPage, "top neurons at ·is"),
    ("o", LayersPage, "-18.5"),
    ("d", NotesPage, "strongest prompts"),
    ("p", PromptsPage, "probe_24_Springfield"),
    ("f", FactsPage, "1 file with the sizes and shapes given in the manifest"),
    ("question_mark", HelpPage, "17/5863"),
]


@async_test
async def test_a_key_opens_its_screen_and_escape_leads_back():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        for key, page, said in SCREENS:
            shown = await press(pilot, key)
            assert type(pilot.app.screen) is page and said in shown, key
            await press(pilot, "escape")
            assert type(pilot.app.screen) is BrowserPage


WAYS_BACK = [
    (("enter", "down", "enter"), Cursor(1, 3, 508, 8)),  # the peak of the second prompt
    (("t", "enter"), Cursor(0, 1, 375, 8)),
    (("o", "down", "enter"), Cursor(0, 4, 140, 1)),
    (("p", "end", "enter"), Cursor(7, 3, 508, 11)),
    (("p", "pagedown", "home", "enter"), Cursor(0, 3, 508, 8)),
    (("w", "enter", "down", "enter"), Cursor(0, 4, 178, 8)),
]


@async_test
async def test_enter_leads_back_into_the_browser():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        for keys_, there in WAYS_BACK:
            pilot.app.screen.go(Cursor(0, 3, 508, 8))
            await press(pilot, *keys_)
            assert isinstance(pilot.app.screen, BrowserPage) and pilot.app.screen.cursor == there, keys_


@pytest.mark.parametrize("key", ["s", "slash"])
@async_test
async def test_search_finds_tokens_and_goes_there(key):
    async with browsing(START) as pilot:
        await press(pilot, key)
        shown = await type_in(pilot, "aust")
        await settle(pilot)
        shown = text_of(pilot)
        assert isinstance(pilot.app.screen, SearchPage) and "2 tokens" in shown
        await press(pilot, "down", "enter")
        assert pilot.app.screen.cursor == HERE._replace(prompt=3, pos=8)
        await press(pilot, key)
        await type_in(pilot, "zzz")
        await settle(pilot)
        assert "no token matches" in text_of(pilot)


@async_test
async def test_a_list_is_sorted_filtered_and_stepped_through():
    async with browsing(Options(run_dir=DEMO, screen="peaks")) as pilot:
        assert isinstance(pilot.app.screen, ListPage)
        assert "1536 rows by |score|" in text_of(pilot)
        assert "by score, largest first" in await press(pilot, "s")
        assert "by score, smallest first" in await press(pilot, "S")
        await press(pilot, "slash")
        await type_in(pilot, "zzzz")
        await settle(pilot)
        assert "no row matches the filter; / changes it" in text_of(pilot)
        await press(pilot, "slash")
        await type_in(pilot, "L4 >8")
        await settle(pilot)
        shown = text_of(pilot)
        found = [x for x in shown.splitlines() if re.search(r" L4N\d+ ", x)]
        assert re.search(r"\d+ of 1536 rows", shown) and found and "L1N339" not in shown
        await press(pilot, "enter")
        first = pilot.app.screen.cursor
        second_label = re.search(r"L4N\d+", found[1])[0]
        shown = await press(pilot, "full_stop")
        assert pilot.app.screen.cursor.at.label == second_label and "2 of" in shown
        await press(pilot, "comma")
        assert pilot.app.screen.cursor == first
        assert "first" in await press(pilot, "comma")


@async_test
async def test_a_neuron_of_the_signatures_opens_at_the_peak_of_its_pole():
    async with browsing(Options(run_dir=DEMO, screen="signatures")) as pilot:
        assert "L1N339-" in text_of(pilot)
        await press(pilot, "enter")
        cursor = pilot.app.screen.cursor
        acts = pilot.app.result.opened.run.acts(cursor.prompt, layer=1, neuron=339)
        assert cursor.at.label == "L1N339" and acts[cursor.pos] == -24.5
        await press(pilot, "full_stop")
        assert pilot.app.screen.cursor.at.label == "L3N322"


@async_test
async def test_a_neuron_of_a_layer_that_is_not_stored_is_not_opened():
    async with browsing(Options(run_dir=DEMO, screen="influence", list_name=_dla())) as pilot:
        await press(pilot, "slash")
        await type_in(pilot, "L2")
        await settle(pilot)
        assert "not stored" in text_of(pilot)
        assert "layer 2 is not stored" in await press(pilot, "enter")
        assert isinstance(pilot.app.screen, ListPage)


@async_test
async def test_the_stack_sorts_by_peak():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508)) as pilot:
        shown = await press(pilot, "enter", "s")
        ids = re.findall(r"^[> ] +(\d+) \w+", shown, re.M)
        assert "largest |act| first" in shown and ids[:3] == ["0", "3", "6"]


@pytest.mark.parametrize("key", ["ctrl+p", "colon"])
@async_test
async def test_the_palette_finds_commands_by_name(key):
    async with browsing(START) as pilot:
        await press(pilot, key)
        await pilot.press(*"overview")
        for _ in range(100):  # the palette searches in a separate task
            await pilot.pause(0.05)
            if pilot.app.screen.query_one(CommandList).option_count == 1:
                break
        await pilot.press("enter")
        for _ in range(100):
            await settle(pilot)
            if isinstance(pilot.app.screen, LayersPage):
                break
        assert isinstance(pilot.app.screen, LayersPage)


@pytest.mark.parametrize(("before", "key"), [((), "ctrl+c"), (("w",), "q"), (("question_mark",), "q")])
@async_test
async def test_q_and_ctrl_c_quit_from_every_screen(before, key):
    async with browsing(START) as pilot:
        await press(pilot, *before)
        await pilot.press(key)
        await pilot.pause()
        assert pilot.app.return_code == 0


@async_test
async def test_the_picker_opens_a_run_and_escape_leads_back_to_it():
    async with browsing(Options(runs_root=DEMO.parent)) as pilot:
        assert isinstance(pilot.app.screen, RunsPage) and "demo_run" in text_of(pilot)
        await pilot.press("enter")
        for _ in range(200):
            await settle(pilot)
            if isinstance(pilot.app.screen, BrowserPage):
                break
        assert "prompt 0/7" in text_of(pilot)
        await press(pilot, "escape")
        shown = text_of(pilot)
        assert isinstance(pilot.app.screen, RunsPage) and "reading demo_run" not in shown and "row 1 of" in shown


@async_test
async def test_keys_that_do_nothing_show_a_hint():
    async with browsing(START) as pilot:
        assert "q quits" in await press(pilot, "escape")
        assert "w shows the lists" in await press(pilot, "full_stop")


@async_test
async def test_a_search_without_a_text_begins_with_its_box():
    async with browsing(replace(START, screen="search")) as pilot:
        assert "search tokens in prompts" in text_of(pilot)
        await type_in(pilot, "aust")
        await settle(pilot)
        assert isinstance(pilot.app.screen, SearchPage) and "2 tokens" in text_of(pilot)
        await press(pilot, "escape", "r")
        assert isinstance(pilot.app.screen, BrowserPage) and "search tokens" not in text_of(pilot)


def test_every_key_is_bound_on_its_screens_and_has_an_action():
    for page in (
        BrowserPage,
        ListPage,
        StackPage,
        TopPage,
        RunsPage,
        HelpPage,
        FactsPage,
        ExplanationPage,
        ExplanationsPage,
    ):
        bound = {
            b.key: b.action for base in page.__mro__ for b in base.__dict__.get("BINDINGS", ()) if hasattr(b, "key")
        }
        for key in page.all_keys():
            for name in key.names.split(","):
                assert name in bound, (page, name)
            owner, name = (BrowseApp, key.action[4:]) if key.action.startswith("app.") else (page, key.action)
            assert hasattr(owner, f"action_{name.split('(')[0]}"), (page, key)


def test_the_documentation_lists_every_key():
    page = (ROOT / "docs" / "browse.md").read_text(encoding="utf-8")
    section = page.split("## Keys")[1].split("## Flags")[0]
    listed = re.findall(r"^\| `(\S+)` \| (.+) \|$", section, re.M)
    assert [(k.shown, k.words) for _, group in keys.SECTIONS for k in group] == [
        (a, b.replace("\\|", "|")) for a, b in listed
    ]
    for title, _ in keys.SECTIONS:
        assert f"### {title}" in page


def _dla() -> str:
    return "influence_seed_prompt_dla_next_token_pos8_tok704"
