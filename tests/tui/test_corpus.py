"""One neuron in a corpus: sections, poles, whole windows, moves, runs without prompts, damaged records, `--print`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from record_runs import D_MLP, DEAD, make_record_run
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, type_in

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.records.names import PARTS
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.corpus import CorpusPage
from neuron_signatures.tui.screens.texts import FactsPage, HelpPage
from neuron_signatures.views.coords import NeuronAt

HEAD = "text around the peak"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Runs in one folder: `records` without prompts, `lists` without a sample, `both` with prompts."""
    root = tmp_path_factory.mktemp("made")
    make_record_run(root / "records")
    make_record_run(root / "lists", with_sample=False)
    shutil.copytree(DEMO, root / "both")
    make_record_run(root / "both", top_k=5, n_documents=40)
    return root


@pytest.fixture
def records(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "records", tmp_path / "records"))


def rows_of(shown: str) -> list[str]:
    """The lines under the head of the windows that begin with an activation."""
    lines = shown.splitlines()
    first = next(i for i, x in enumerate(lines) if HEAD in x) + 1
    return [x for x in lines[first:] if x[2:13].strip()[:1] in ("+", "-")]


def corpus(run_dir: Path, layer: int = 0, neuron: int = 0) -> Options:
    return Options(run_dir=run_dir, screen="corpus", layer=layer, neuron=neuron)


@async_test
async def test_a_run_without_prompts_opens_on_its_first_neuron(made):
    async with browsing(Options(run_dir=made / "records")) as pilot:
        shown = text_of(pilot)
        assert isinstance(pilot.app.screen, CorpusPage) and shown.startswith("L0N0 of layers 0..1 x 12")
        assert "most often on ·Austin 100 %" in shown and "[strongest]" in shown and "Austin" in rows_of(shown)[0]
        assert "L1N1 " in await press(pilot, "right", "n")
        assert "layer 1 is the last stored layer" in await press(pilot, "right")
        assert f"L1N{D_MLP - 1} " in await press(pilot, "pagedown")
        assert "L1N0 " in await press(pilot, "pageup")
        await press(pilot, "g")
        assert "L0N7 " in await type_in(pilot, "0/7")
        await press(pilot, "g")
        assert "no neuron 99" in await type_in(pilot, "99")
        await press(pilot, "escape")
        assert "this is the first screen" in await press(pilot, "escape")
        assert "no list is open" in await press(pilot, "full_stop")
        await press(pilot, "f")
        assert isinstance(pilot.app.screen, FactsPage)
        assert "records of a corpus" in text_of(pilot) and "3 dead, 3 nearly dead" in text_of(pilot)
        await press(pilot, "escape", "question_mark")
        assert isinstance(pilot.app.screen, HelpPage) and "One neuron in a corpus" in text_of(pilot)


@async_test
async def test_the_list_of_runs_names_records_without_prompts(made):
    async with browsing(Options(runs_root=made), (100, 24)) as pilot:
        row = next(x for x in text_of(pilot).splitlines() if x.startswith("  records "))
        assert "complete" in row and "records, no prompts" in row and "broken" not in row
        await press(pilot, "end", "enter")
        assert isinstance(pilot.app.screen, CorpusPage)
        await press(pilot, "escape")
        assert "runs in" in text_of(pilot)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prompt_idx", "0"], "--prompt_idx names a prompt"),
        (["--ctx_idx", "-1"], "--ctx_idx names a prompt"),
        (["--screen", "prompts"], "no screen prompts"),
        (["--screen", "search", "--by", "prompts", "--query", "x"], "no prompts to search"),
        (["--layer", "5"], "layer 5 is not stored"),
    ],
)
def test_flags_of_prompts_are_refused_without_prompts(made, capsys, flags, said):
    assert main(["--run_dir", str(made / "records"), *flags, "--print"]) == 2
    assert said in capsys.readouterr().err


@async_test
async def test_poles_and_sections(made):
    async with browsing(corpus(made / "records")) as pilot:
        shown = await press(pilot, "minus")
        assert "pole -" in shown and all(x[2:13].strip().startswith("-") for x in rows_of(shown))
        shown = await press(pilot, "plus", "right_square_bracket")
        assert "[intervals]" in shown and "+2.4 .. +3  4 of" in shown and "0 .. +0.6  no window" in shown
        assert "[random]" in await press(pilot, "right_square_bracket")
        shown = await press(pilot, "tab")
        assert "[tokens]" in shown and shown.splitlines()[6].split()[0] == "·Austin"
        shown = await press(pilot, "minus")
        assert shown.splitlines()[6].split()[0] != "·Austin"
        shown = await press(pilot, "tab")
        assert "[histogram]" in shown and "+2 .. +4" in shown and "█" in shown and "1 of 8 windows" in shown
        assert "[strongest]" in await press(pilot, "tab")
        assert "[histogram]" in await press(pilot, "left_square_bracket")


@async_test
async def test_a_neuron_begins_with_its_stronger_pole_until_a_key_chooses(made):
    async with browsing(corpus(made / "records", neuron=2)) as pilot:
        assert "pole -" in text_of(pilot)
        assert "pole +" in await press(pilot, "b")
        assert "pole +" in await press(pilot, "plus", "n")


@async_test
async def test_enter_shows_the_whole_window_and_its_source(made):
    with Records.open(made / "records") as reader:
        first = reader.strongest(0, 0, "+")[0]
    async with browsing(corpus(made / "records"), (100, 30)) as pilot:
        short = text_of(pilot)
        shown = await press(pilot, "enter")
        assert f"window {first.window}, part {first.part}" in shown and f"document {first.document}," in shown
        assert shown.splitlines()[6].startswith("> ") and len(rows_of(shown)) == len(rows_of(short))
        assert text_of(pilot) != short and await press(pilot, "enter") == short
        shown = await press(pilot, "a", "end")
        assert shown.count(", part ") >= 3 and "window 10 of 10" in shown
        assert shown.count(", part ") > 2 and await press(pilot, "a", "home") == short


@async_test
async def test_a_part_shows_only_its_documents(made):
    async with browsing(corpus(made / "records")) as pilot:
        for part in PARTS:
            shown = await press(pilot, "p")
            assert f"{part} only" in shown and {x.split()[-2] for x in rows_of(shown)} == {part}
        assert "all parts" in await press(pilot, "p")


@async_test
async def test_a_dead_neuron_says_so(made):
    async with browsing(corpus(made / "records", neuron=DEAD)) as pilot:
        shown = text_of(pilot)
        assert "  dead  " in shown.splitlines()[0] and "every activation is zero" in shown and "most often" not in shown
        for _ in range(5):
            assert isinstance(pilot.app.screen, CorpusPage) and await press(pilot, "tab", "enter", "z", "a", "down")


@async_test
async def test_without_a_sample_only_peaks_are_coloured_and_a_line_gives_the_command(made):
    async with browsing(corpus(made / "lists")) as pilot:
        assert "only the activation at each peak is stored" in text_of(pilot)
        assert "--neurons L0N0" in " ".join(text_of(pilot).split())
        shown = " ".join((await press(pilot, "tab")).split())
        assert "are not stored; this keeps all: python -m neuron_signatures.poc4_extract_records" in shown
        assert isinstance(pilot.app.screen, CorpusPage)


@async_test
async def test_the_open_list_and_the_browser_follow(made):
    async with browsing(Options(run_dir=made / "both")) as pilot:
        await press(pilot, "C")
        first = pilot.app.screen.cursor.at
        shown = await press(pilot, "full_stop")
        second = pilot.app.screen.cursor.at
        assert second != first and second.label in shown and "is 2 of" in shown
        await press(pilot, "comma", "comma")
        assert "first stored neuron" in text_of(pilot) and pilot.app.screen.cursor.at == first
        await press(pilot, "n", "escape")
        assert isinstance(pilot.app.screen, BrowserPage)
        assert pilot.app.screen.cursor.at == NeuronAt(first.layer, first.neuron + 1)


@async_test
async def test_s_takes_the_scale_of_the_corpus(made):
    with Records.open(made / "both") as reader:
        high, low = (reader.strongest(3, 508, p, k=1)[0].value for p in ("+", "-"))
    full = f"±{max(high, -low):.3g} (corpus)"
    async with browsing(Options(run_dir=made / "both", layer=3, neuron=508)) as pilot:
        assert "(run)" in text_of(pilot)
        assert "(prompt)" in await press(pilot, "S")
        assert full in await press(pilot, "S")
        assert "(run)" in await press(pilot, "S")


@async_test
async def test_without_records_s_has_two_scales_and_the_screen_says_how_to_make_them():
    async with browsing(Options(run_dir=DEMO, layer=3, neuron=508), (120, 30)) as pilot:
        assert "(run)" in await press(pilot, "S", "S")
        shown = " ".join((await press(pilot, "C")).split())
        assert "python -m neuron_signatures.poc4_extract_records" in shown and "L3N508" in shown
        await press(pilot, "tab", "tab", "minus", "enter", "a", "p", "z", "y", "down", "n", "right")
        assert isinstance(pilot.app.screen, CorpusPage)


@pytest.mark.parametrize("name", ["strongest.safetensors", "records_meta.json", "neurons.parquet", "rows.safetensors"])
@async_test
async def test_damaged_records_are_named(records, name):
    path = records / "records" / name
    path.write_bytes(path.read_bytes()[:40])
    async with browsing(Options(run_dir=records), (120, 30)) as pilot:
        for _ in range(5):
            shown = await press(pilot, "tab", "n")
            assert name in shown, shown
        assert isinstance(pilot.app.screen, CorpusPage)


@async_test
async def test_a_change_on_disk_is_reported_and_a_reload_keeps_the_section(records):
    async with browsing(Options(run_dir=records), poll_seconds=0.05) as pilot:
        await press(pilot, "n", "tab", "minus")
        os.utime(records / "records" / "records_meta.json", (1, 1))
        for _ in range(200):
            await pilot.pause(0.02)
            if "changed on disk" in text_of(pilot):
                break
        assert "records/records_meta.json" in text_of(pilot)
        shown = await press(pilot, "r")
        assert "changed on disk" not in shown and "[intervals]" in shown and "pole -" in shown and "L0N1 " in shown


@async_test
async def test_without_colours_the_peak_is_in_brackets(made, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with browsing(corpus(made / "records")) as pilot:
        await settle(pilot)
        assert "[Austin]⁺⁺⁺" in rows_of(text_of(pilot))[0] and "[ ] the peak" in text_of(pilot)


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (80, 24), (160, 48)])
@async_test
async def test_hostile_text_is_escaped_and_every_line_fits(made, size):
    async with browsing(corpus(made / "records", neuron=7), size) as pilot:
        for _ in range(5):
            shown = await press(pilot, "tab", "enter")
            lines = shown.splitlines()
            assert len(lines) == size[1] and all(x.isprintable() for x in lines)
            await press(pilot, "down", "end", "a")
            assert isinstance(pilot.app.screen, CorpusPage)
        await press(pilot, "y")
        await pilot.resize_terminal(30, 8)
        await settle(pilot)
        assert "L0N7" in text_of(pilot)


@async_test
async def test_lists_say_where_neurons_are_most_often_strongest(made):
    async with browsing(Options(run_dir=made / "both", screen="influence"), (140, 24)) as pilot:
        assert "most often on (corpus)" in text_of(pilot)
        await press(pilot, "slash")
        await type_in(pilot, 'often:"·Austin"')
        table = pilot.app.screen.table
        found = [table.record(i) for i in range(len(table))]
        assert 0 < len(found) < 1536 and all(" Austin" in r["often"]["tokens"] for r in found)
    async with browsing(Options(run_dir=DEMO, screen="influence"), (140, 24)) as pilot:
        assert "most often on" not in text_of(pilot)


@async_test
async def test_the_neurons_of_a_corpus_are_listed_filtered_and_stepped_through(made):
    async with browsing(Options(run_dir=made / "records"), (100, 24)) as pilot:
        shown = await press(pilot, "w")
        assert "by kurtosis" in shown and shown.splitlines()[3].startswith("> L0N8") and "24" in shown.splitlines()[0]
        assert "by largest |activation|" in await press(pilot, "s")
        await press(pilot, "s", "s", "s", "slash")
        shown = await type_in(pilot, "often:·Austin L0")
        assert "filter often:·Austin L0" in shown and "L1N" not in shown
        await press(pilot, "slash")
        assert "not a regular expression" in (await type_in(pilot, "/(/")) or "regular" in text_of(pilot)
        first = pilot.app.screen.table.found.at(0).at.label
        shown = await press(pilot, "enter")
        assert isinstance(pilot.app.screen, CorpusPage) and shown.startswith(f"{first} ") and "1 of" in shown
        shown = await press(pilot, "full_stop")
        assert "2 of" in shown and not shown.startswith(f"{first} ")
        assert "first neuron of the list" in await press(pilot, "comma", "comma")
        shown = await press(pilot, "w", "r")
        assert "neurons of the corpus" in shown


@async_test
async def test_the_list_of_neurons_opens_over_the_browser(made):
    async with browsing(Options(run_dir=made / "both", screen="neurons", query="L4"), (120, 30)) as pilot:
        assert "neurons of the corpus  512 of 1,536" in text_of(pilot)
        await press(pilot, "enter")
        at = pilot.app.screen.cursor.at
        assert at.layer == 4
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, BrowserPage) and pilot.app.screen.cursor.at == at


@async_test
async def test_exports_and_copies(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with browsing(corpus(made / "records", neuron=7)) as pilot:
        assert "exported to" in await press(pilot, "e")
        assert (tmp_path / "records_corpus_L0N7.txt").read_text(encoding="utf-8").startswith("L0N7 ")
        record = json.loads((tmp_path / "records_corpus_L0N7.json").read_text(encoding="utf-8"))
        assert record["screen"] == "corpus" and record["strongest"]["+"]
        await press(pilot, "y")
        assert pilot.app.clipboard.startswith("L0N7  +3.") and pilot.app.clipboard.isprintable()


def test_printed_neurons(made, capsys):
    where = ["--run_dir", str(made / "records"), "--screen", "neurons", "--print", "json", "--limit", "3"]
    assert main([*where, "--query", "L0"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["n_neurons"] == 2 * D_MLP and record["n_matching"] == D_MLP and len(record["rows"]) == 3
    assert record["rows"][0]["layer"] == 0 and record["rows"][0]["often_pos"]["tokens"]


def test_the_printed_corpus_has_every_section(made, capsys):
    where = ["--run_dir", str(made / "records"), "--layer", "0", "--neuron", "0"]
    assert main([*where, "--print"]) == 0
    out = capsys.readouterr().out
    for title in ("largest activations (pole +)", "smallest activations", "by interval", "random windows",
                  "tokens by mean activation", "histogram"):  # fmt: skip
        assert title in out
    assert "[Austin]⁺⁺⁺" in out and "\x1b" not in out and max(map(len, out.splitlines())) <= 100
    assert main([*where, "--print", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["screen"] == "corpus" and record["state"] == "alive"
    with Records.open(made / "records") as reader:
        expected = reader.strongest(0, 0, "+")
        assert [x["value"] for x in record["strongest"]["+"]] == pytest.approx([w.value for w in expected])
        assert record["strongest"]["+"][0]["tokens"] == list(expected[0].tokens)
        assert record["moments"]["count"] == reader.moments(0, 0).count
        assert sum(b["n"] for b in record["histogram"]["bins"]) == record["histogram"]["n"]


def test_print_limits_windows_or_shows_them_whole(made, capsys):
    where = ["--run_dir", str(made / "both"), "--screen", "corpus", "--layer", "3", "--neuron", "8", "--print"]
    assert main([*where, "--limit", "2"]) == 0
    assert "... 3 more; --limit 0 prints all" in capsys.readouterr().out
    assert main([*where, "--all_tokens"]) == 0
    assert ", part " in capsys.readouterr().out


def test_print_without_records_is_one_line(capsys):
    assert main(["--run_dir", str(DEMO), "--screen", "corpus", "--print"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "poc4_extract_records" in err
