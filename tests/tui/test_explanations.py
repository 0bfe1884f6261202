"""Explanations in the browser: of one neuron, the list of all, moves between them, changes on disk, `--print`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from explanation_runs import HOSTILE_TEXT, OTHER, PERSON, Log, unfinished, write_explanations, write_log
from record_runs import make_record_run
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, type_in

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.opened_run import OpenedRun
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.corpus import CorpusPage
from neuron_signatures.tui.screens.explanation import ExplanationPage
from neuron_signatures.tui.screens.explanations import ExplanationsPage
from neuron_signatures.views.coords import NeuronAt

REVISED = "state capitals, most of all Austin"
EDITED = "state capitals in the answer to a question about a state"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Runs in one folder: `records` without prompts, `prompts` with some, `plain` with records only, `damaged`."""
    root = tmp_path_factory.mktemp("made")
    write_explanations(make_record_run(root / "records"))
    write_explanations(Path(shutil.copytree(DEMO, root / "prompts")))
    make_record_run(root / "plain")
    damaged = write_explanations(Path(shutil.copytree(root / "plain", root / "damaged")))
    (damaged / "explanations" / "lookup.jsonl").write_text("{}\n")
    return root


@pytest.fixture
def records(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "records", tmp_path / "records"))


def of_neuron(run_dir: Path, layer: int = 0, neuron: int = 0) -> Options:
    return Options(run_dir=run_dir, screen="explanation", layer=layer, neuron=neuron)


def one_line(text: str) -> str:
    return " ".join(text.split())


def rows_of(shown: str) -> list[str]:
    """The rows of the list, without the cursor."""
    lines = shown.splitlines()
    first = next(i for i, x in enumerate(lines) if x.startswith("  neuron ")) + 1
    return [x[2:].rstrip() for x in lines[first:] if x[2:3] == "L" and "N" in x[:8]]


@async_test
async def test_a_neuron_s_explanations_with_provenance_the_one_to_read_first(made):
    async with browsing(of_neuron(made / "records"), (100, 60)) as pilot:
        shown = text_of(pilot)
        assert shown.startswith("L0N0 explained  5 explanations of +, 2 of -")
        assert "contrastive 1 not finished, highlighted 13 (2 failed), lookup 3" in shown
        assert shown.index("pole +") < shown.index("the token · Austin") < shown.index(REVISED) < shown.index("pole -")
        assert "written by a rule, without a language model" in shown and f"locked by {PERSON}" in shown
        assert "precision 0.98, recall 0.75" in shown and "(refused: I cannot help with that)" in shown
        assert "fingerprint" not in shown, "details of the others are not shown at first"
        shown = one_line(await press(pilot, "right_square_bracket", "enter"))
        assert "explanation 2 of 7" in shown and "chosen among 4: 0.710 0.620 0.310 undefined" in shown
        assert "some-model-2026-01 (asked for some-model), openai, temperature 1, seed 0, fingerprint fp_1" in shown
        assert "first the name of a state capital such as Austin" in shown and "revision 1 state capitals" in shown
        assert "812 prompt tokens, 17 answer tokens, 0.00031 USD" in shown and "3 windows of the corpus" in shown
        assert "fingerprint" not in await press(pilot, "enter")
        assert one_line(await press(pilot, "a")).count("id ") >= 4
        assert "id " not in one_line(await press(pilot, "a"))


@async_test
async def test_an_edit_shows_its_chain_its_author_votes_and_notes(made):
    async with browsing(of_neuron(made / "records", neuron=1), (110, 50)) as pilot:
        shown = one_line(text_of(pilot))
        assert f"current, edited by {OTHER}, votes +2" in shown
        chain = shown[shown.index("chain from the first text") :]
        first, edit, newest = (chain.index(x) for x in ("first cities in the south", f"({PERSON}", f"({OTHER}"))
        assert first < edit < newest
        assert f"note checked on the report part: fires on Denver too ({OTHER}, 2026-03-04)" in shown


@async_test
async def test_the_command_that_edits_is_shown_and_copied(made):
    async with browsing(of_neuron(made / "records", neuron=2)) as pilot:
        await press(pilot, "end", "up")
        lines = text_of(pilot).splitlines()
        assert any("to edit" in x for x in lines)
        for _ in range(6):
            if "poc5_explain_neurons" not in pilot.app.clipboard:
                await press(pilot, "up", "y")
        command = pilot.app.clipboard
        assert command.startswith("python -m neuron_signatures.poc5_explain_neurons edit --run_dir ")
        assert command.endswith("--text TEXT") and "--id " in command
        assert "nothing to copy" in await press(pilot, "home", "y")
        await press(pilot, "right_square_bracket", "y")
        assert pilot.app.clipboard == "L0N2-  keywords of Python code"


@async_test
async def test_moves_from_explained_neuron_to_explained_neuron(made):
    async with browsing(of_neuron(made / "records", neuron=5)) as pilot:
        assert "no explanation of L0N5; . goes to the next explained neuron" in one_line(text_of(pilot))
        assert (await press(pilot, "full_stop")).startswith("L1N0 explained")
        assert (await press(pilot, "comma", "comma")).startswith("L0N2 explained")
        assert (await press(pilot, "full_stop")).startswith("L0N3 explained")
        assert "(timed out: no answer within 60 s)" in text_of(pilot)
        assert (await press(pilot, "n")).startswith("L0N4 explained")
        assert (await press(pilot, "right")).startswith("L1N4 explained")
        assert "last explained neuron" in await press(pilot, "full_stop", "full_stop")
        await press(pilot, "g")
        assert (await type_in(pilot, "0/1")).startswith("L0N1 explained")
        assert "layer 0 is the first stored layer" in await press(pilot, "left")
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, CorpusPage) and text_of(pilot).startswith("L0N1 ")


@async_test
async def test_the_list_is_searched_filtered_and_sorted(made):
    async with browsing(Options(run_dir=made / "records", screen="explanations"), (140, 30)) as pilot:
        assert len(rows_of(text_of(pilot))) == 15 and text_of(pilot).startswith("explanations  15  by neuron")
        await press(pilot, "slash")
        shown = await type_in(pilot, "austin capital")
        assert "3 of 15" in shown and "filter austin capital" in shown and len(rows_of(shown)) == 3
        shown = await press(pilot, "s")
        assert "by score, the largest first" in shown and REVISED in rows_of(shown)[0]
        assert REVISED in rows_of(await press(pilot, "S"))[1], "rows without a score stay last"
        await press(pilot, "slash")
        assert "is:good is no state" in await type_in(pilot, "is:good")
        shown = await type_in(pilot, "is:locked")
        assert rows_of(shown) and all("locked" in x for x in rows_of(shown))
        await press(pilot, "slash")
        assert "no explanation matches the filter" in await type_in(pilot, "zebra")
        await press(pilot, "slash")
        shown = await type_in(pilot, f'author:"{OTHER}"')
        assert len(rows_of(shown)) == 1 and "edited" in rows_of(shown)[0] and OTHER in rows_of(shown)[0]
        await press(pilot, "slash")
        assert "(refused: I cannot help with that)" in await type_in(pilot, "status:refused set:highlighted")


@async_test
async def test_enter_opens_the_neuron_with_its_pole_and_the_list_is_stepped_through(made):
    async with browsing(Options(run_dir=made / "records")) as pilot:
        await press(pilot, "W", "slash")
        await type_in(pilot, "is:current set:highlighted")
        shown = await press(pilot, "down", "down", "enter")
        assert isinstance(pilot.app.screen, CorpusPage)
        assert shown.startswith("L0N2 ") and "pole -" in shown and "3 of 4 explanations" in shown
        assert "explained - keywords of Python code" in shown
        assert (await press(pilot, "full_stop")).startswith("L1N0 ") and "pole +" in text_of(pilot)
        assert "last neuron of the list" in await press(pilot, "full_stop")
        assert (await press(pilot, "comma", "comma")).startswith("L0N1 ")
        assert "2 of 4 explanations" in await press(pilot, "E")
        assert (await press(pilot, "full_stop")).startswith("L0N2 explained"), "the open list is that of the neuron"
        assert (await press(pilot, "escape")).startswith("L0N2 ") and "3 of 4 explanations" in text_of(pilot)


@async_test
async def test_the_explanation_of_the_open_row_is_under_the_cursor(made):
    async with browsing(Options(run_dir=made / "records")) as pilot:
        shown = await press(pilot, "W", *["down"] * 5, "enter", "E")
        assert shown.startswith("L0N0 explained") and ">   any token after a comma" in shown
        assert "pole -" in shown and "explanation 6 of 7   6 of 15 explanations" in shown
        assert ">   (refused" in await press(pilot, "right_square_bracket", "right_square_bracket")
        assert ">   any token after a comma" in await press(pilot, "left_square_bracket")


@async_test
async def test_the_list_over_a_neuron_s_explanations_leads_back_to_them(made):
    async with browsing(of_neuron(made / "records")) as pilot:
        await press(pilot, "W", "end", "enter")
        assert isinstance(pilot.app.screen, ExplanationPage) and text_of(pilot).startswith("L1N3 explained")
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, CorpusPage) and text_of(pilot).startswith("L1N3 ")


@async_test
async def test_the_browser_shows_the_explanation_beside_the_activations(made):
    async with browsing(Options(run_dir=made / "prompts", layer=1, neuron=3)) as pilot:
        assert isinstance(pilot.app.screen, BrowserPage)
        assert "explained + the token the  (lookup)" in text_of(pilot)
        assert "no explanation of this neuron" in await press(pilot, "n")
        assert "explained + the token the" in one_line(await press(pilot, "b", "d"))
        await press(pilot, "escape", "W", "slash")
        assert "not stored in this run" in await press(pilot, *"L0", "enter", "enter")
        await press(pilot, "slash")
        await type_in(pilot, "L1")
        shown = await press(pilot, "enter")
        assert isinstance(pilot.app.screen, BrowserPage) and shown.startswith("L1N0 ")
        assert "1 of 2 explanations" in shown and (await press(pilot, "full_stop")).startswith("L1N3 ")
        await press(pilot, "w", "enter", "enter")
        assert "explanations" not in text_of(pilot).splitlines()[-3], "the ranked list is the open one again"
        at = pilot.app.screen.cursor.at
        await press(pilot, "full_stop")
        assert pilot.app.screen.cursor.at != at


@async_test
async def test_both_poles_stand_at_the_side_of_a_wide_terminal(made):
    async with browsing(Options(run_dir=made / "prompts", layer=1, neuron=3), (160, 48)) as pilot:
        side = one_line("\n".join(x[110:] for x in text_of(pilot).splitlines()))
        assert "explained + the token the lookup" in side


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (40, 12), (20, 5)])
@async_test
async def test_hostile_texts_are_harmless_and_no_line_is_too_long(made, size):
    async with browsing(of_neuron(made / "prompts", layer=1), size) as pilot:
        seen = [text_of(pilot)]
        for key in ("a", "end", "W", "escape", "escape", "d", "escape"):
            seen.append(await press(pilot, key))
        for line in "\n".join(seen).splitlines():
            assert line.isprintable() and width(line) <= size[0]
        if size == (80, 24):
            assert "[@click=app.quit]x[/]" in seen[0] and "\\x1b[31mred" in seen[0] and "\\u202e" in seen[0]


@async_test
async def test_without_explanations_it_says_what_to_run(made):
    async with browsing(of_neuron(made / "plain")) as pilot:
        assert "python -m neuron_signatures.poc5_explain_neurons --run_dir" in one_line(text_of(pilot))
        assert "poc5_explain_neurons" in one_line(await press(pilot, "W"))
        assert "explained" not in (await press(pilot, "escape", "escape")).splitlines()[1]
    async with browsing(Options(run_dir=DEMO, screen="explanations")) as pilot:
        assert "poc4_extract_records" in one_line(text_of(pilot)), "explanations are written from records"
        assert "nothing to copy" in await press(pilot, "y")


@async_test
async def test_what_is_added_on_disk_appears(records):
    async with browsing(of_neuron(records, neuron=2), poll_seconds=0.02) as pilot:
        assert "not finished" in text_of(pilot)
        log = unfinished()
        log.explain("L0N2-", "the newest of them all", revision=1, parent=log.entries[0].id)
        write_log(records, log)
        await until(pilot, "the newest of them all")
        assert "not finished" not in text_of(pilot)
        assert "explanation 2 of 3" in text_of(pilot), "the cursor stays on its explanation, now the second one"
        await press(pilot, "right_square_bracket", "enter")
        log.vote("L0N2-", log.entries[0].id, 1, by=OTHER)
        write_log(records, log)
        await until(pilot, "votes +1")
        assert "explanation 3 of 3" in text_of(pilot) and "explainer  contrastive" in text_of(pilot)
        await press(pilot, "W")
        log.explain("L1N7+", "one more explanation")
        write_log(records, log)
        await until(pilot, "one more explanation")


async def until(pilot, text: str) -> None:
    for _ in range(400):
        await settle(pilot)
        if text in one_line(text_of(pilot)):
            return
    raise AssertionError(f"{text!r} did not appear:\n{text_of(pilot)}")


@async_test
async def test_other_screens_say_that_explanations_changed_and_a_reload_reads_them(records):
    async with browsing(Options(run_dir=records, layer=0, neuron=5), poll_seconds=0.02) as pilot:
        assert "no explanation of this neuron" in text_of(pilot)
        log = Log("another")
        log.explain("L0N5+", "added later")
        write_log(records, log)
        await until(pilot, "changed on disk: explanations/another.jsonl")
        await press(pilot, "r")
        await until(pilot, "explained + added later")


@async_test
async def test_a_reload_keeps_the_list_with_its_filter(made):
    async with browsing(Options(run_dir=made / "records", screen="explanations", query="austin")) as pilot:
        before = pilot.app.screen
        await pilot.press("s", "r")
        for _ in range(400):
            await settle(pilot)
            if pilot.app.screen is not before and isinstance(pilot.app.screen, ExplanationsPage):
                break
        assert "filter austin" in text_of(pilot) and "by score" in text_of(pilot)


@async_test
async def test_a_damaged_set_is_named_and_the_others_are_shown(made):
    async with browsing(Options(run_dir=made / "damaged", screen="explanations"), (160, 24)) as pilot:
        shown = text_of(pilot)
        assert "lookup.jsonl: line 1" in shown and len(rows_of(shown)) == 12
        await press(pilot, "enter")
        assert "explained + " + REVISED in text_of(pilot)
        assert "lookup.jsonl: line 1" in one_line(await press(pilot, "E"))


@async_test
async def test_exports(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with browsing(of_neuron(made / "records")) as pilot:
        assert "exported to" in await press(pilot, "e")
        record = json.loads(next(tmp_path.glob("*explanation*.json")).read_text(encoding="utf-8"))
        assert record["screen"] == "explanation" and len(record["explanations"]) == 7
        await press(pilot, "W")
        assert "exported to" in await press(pilot, "e")
        record = json.loads(next(tmp_path.glob("*explanations*.json")).read_text(encoding="utf-8"))
        assert len(record["rows"]) == 15


def test_printed_explanations_of_a_neuron(made, capsys):
    where = ["--run_dir", str(made / "records"), "--screen", "explanation", "--layer", "1", "--neuron", "0", "--print"]
    assert main(where) == 0
    out = capsys.readouterr().out
    assert "\\x1b[31mred" in out and all(x.isprintable() and width(x) <= 100 for x in out.splitlines())
    assert main([*where, "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (found,) = record["explanations"]
    assert found["text"] == HOSTILE_TEXT, "data is as it is stored"
    assert found["is_current"] and found["set_is_finished"] and found["provenance"]["explainer"] == "highlighted"


def test_the_printed_list_is_filtered(made, capsys):
    where = ["--run_dir", str(made / "records"), "--screen", "explanations", "--query", "is:current austin", "--print"]
    assert main(where) == 0
    assert REVISED in capsys.readouterr().out
    assert main([*where, "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["n_explanations"] == 15 and record["n_matching"] == 2 == len(record["rows"])
    assert record["rows"][0] | {"layer": 0, "neuron": 0, "locked_by": PERSON} == record["rows"][0]
    assert main(["--run_dir", str(made / "records"), "--screen", "explanations", "--query", "is:good", "--print"]) == 2


def test_printed_details_of_a_neuron_have_its_explanations(made, capsys):
    where = ["--run_dir", str(made / "prompts"), "--layer", "1", "--neuron", "3", "--print"]
    assert main([*where, "json", "--screen", "notes"]) == 0
    assert [e["text"] for e in json.loads(capsys.readouterr().out)["explanations"]] == ["the token the"]
    for screen in (["--screen", "notes"], []):
        assert main([*where, *screen]) == 0
        assert "the token the" in capsys.readouterr().out
    corpus = ["--run_dir", str(made / "records"), "--layer", "0", "--neuron", "1", "--print"]
    assert main(corpus) == 0
    assert EDITED in one_line(capsys.readouterr().out)
    assert main([*corpus, "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["explanations"]) == 3


def test_opening_a_run_does_not_read_its_explanations(made):
    opened = OpenedRun.open(made / "damaged")
    assert opened.has_explanations and not opened.explained.is_open
    assert opened.notes_of(NeuronAt(0, 0)).explained is not None and opened.explained.is_open
