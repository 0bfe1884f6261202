"""The search screen: texts by words and meaning, who writes a token, moves between hits, `--print`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from explanation_logs import write_log
from hostile import CONTROLS, MARKUP
from search_runs import WordEmbedder, entries, explained_run, index, write_writes
from tui_pilot import DEMO, async_test, browsing, press, text_of, type_in

from neuron_signatures.api.runs import RunFacts
from neuron_signatures.api.search import Hit, SearchAnswer
from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.corpus import CorpusPage
from neuron_signatures.tui.screens.search import SearchPage

TEXTS = {"L3N508+": "names of Texan capitals", "L3N8-": "the capital of a state", "L4N178+": "a capital city",
         "L0N7+": "capital in a layer that is not stored"}  # fmt: skip
WRITES = {(3, 508): ([(" Austin", 1.0), ("Austin", 0.5)], [(" Texas", -2.0)]), (4, 178): ([(" Austin", 2.0)], [])}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Runs in one folder: `prompts` with explanations and write scores, `records` without prompts, with an index."""
    root = tmp_path_factory.mktemp("made")
    shutil.copytree(DEMO, root / "prompts")
    write_log(root / "prompts", *entries(TEXTS))
    write_writes(root / "prompts", WRITES)
    index(explained_run(root / "records"), WordEmbedder())
    return root


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("NEURON_SIGNATURES_SERVER", raising=False)


def searching(run_dir: Path, query: str, by: str) -> Options:
    return Options(run_dir=run_dir, screen="search", query=query, by=by)


def rows_of(shown: str) -> list[str]:
    """The neurons of the table, in order."""
    return [x[2:].split()[0] for x in shown.splitlines() if x[2:3] == "L" and "N" in x[3:6]]


@async_test
async def test_tab_in_the_box_chooses_the_way_and_the_next_search_keeps_it(made):
    async with browsing(Options(run_dir=made / "prompts")) as pilot:
        assert "search tokens in prompts" in await press(pilot, "s")
        assert "search explanations and exemplars by words" in await press(pilot, "tab")
        assert "search who promotes a token" in await press(pilot, "tab")
        assert "exemplars by words" in await press(pilot, "shift+tab")
        shown = await type_in(pilot, "capital")
        assert isinstance(pilot.app.screen, SearchPage) and "[words]" in shown and "3 hits in " in shown
        await press(pilot, "escape")
        assert "by words" in (await press(pilot, "s")).splitlines()[-2]


@async_test
async def test_enter_opens_the_neuron_and_the_hits_are_stepped_through(made):
    async with browsing(searching(made / "prompts", "capital", "words")) as pilot:
        found = rows_of(text_of(pilot))
        assert set(found) == {"L3N8-", "L4N178+", "L0N7+"}
        stored = [label[:-1] for label in found if not label.startswith("L0")]
        if found[0].startswith("L0"):
            await press(pilot, "down")
        shown = await press(pilot, "enter")
        assert isinstance(pilot.app.screen, BrowserPage) and shown.startswith(stored[0])
        assert f" of {len(found)} hits" in shown
        assert (await press(pilot, "full_stop")).startswith(stored[1])
        assert (await press(pilot, "comma")).startswith(stored[0])
        await press(pilot, *["full_stop"] * 4)
        assert "this is the last neuron of the list" in text_of(pilot)


@async_test
async def test_a_neuron_that_is_not_stored_is_not_opened(made):
    async with browsing(searching(made / "prompts", '"layer that"', "words")) as pilot:
        shown = await press(pilot, "enter")
        assert "L0N7 is not stored in this run" in shown and isinstance(pilot.app.screen, SearchPage)


@async_test
async def test_tab_looks_for_the_same_text_in_the_next_way(made):
    async with browsing(searching(made / "prompts", "Austin", "prompts"), (100, 30)) as pilot:
        assert "2 tokens" in text_of(pilot) and "[prompts]" in text_of(pilot)
        assert "[words]" in await press(pilot, "tab") and "nothing is found" in text_of(pilot)
        shown = await press(pilot, "tab")
        assert rows_of(shown) == ["L3N508+", "L4N178+", "L3N508+"]
        assert "+1" in shown and "a capital city" in shown and "same token first" in shown
        shown = await press(pilot, "tab")
        assert "[suppresses]" in shown and {"L3N508-", "L4N178-"} == set(rows_of(shown))
        assert "[promotes]" in await press(pilot, "left_square_bracket")


@async_test
async def test_another_text_is_typed_in_the_results(made):
    async with browsing(searching(made / "prompts", "zebra", "words")) as pilot:
        assert "nothing is found" in text_of(pilot)
        await press(pilot, "slash")
        assert "L4N178+" in await type_in(pilot, "city")


@async_test
async def test_meaning_needs_a_server(made):
    async with browsing(searching(made / "records", "cities", "meaning")) as pilot:
        shown = " ".join(text_of(pilot).split())
        assert "NEURON_SIGNATURES_SERVER is not set" in shown and "neuron_signatures.serve" in shown


class Client:
    """In place of the client of the API: a server with one run."""

    run_dir = Path()
    changed: ClassVar[dict[str, Any]] = {}

    def __init__(self, url: str, **_: Any) -> None:
        assert url == "http://127.0.0.1:9"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, name: str, /) -> RunFacts:
        own = Run.open(self.run_dir).manifest.model_dump(exclude={"units", "prompts"})
        more = {"units": "neurons", "bos": "", "n_failed": 0, "n_bytes": 0, "stages": [], "prompts": [], "problems": []}
        own = {k: v for k, v in own.items() if k in RunFacts.model_fields}
        return RunFacts(**{**own, **more, "name": name, **self.changed})

    def search(self, run: str, request: Any, /) -> SearchAnswer:
        text = f"about {request.query} \x1b[31m"
        hit = Hit(layer=1, neuron=3, pole="+", kind="explanation", text=text, score=0.5, set="a")
        return SearchAnswer(hits=[hit], notes=["the index\x07 is outdated"], seconds=0.01)


@pytest.fixture
def server(made, monkeypatch):
    monkeypatch.setenv("NEURON_SIGNATURES_SERVER", "http://127.0.0.1:9")
    monkeypatch.setattr("neuron_signatures.client.Client", Client)
    monkeypatch.setattr(Client, "run_dir", made / "records")
    monkeypatch.setattr(Client, "changed", {})


@async_test
async def test_meaning_is_asked_of_a_server_with_this_run(made, server):
    async with browsing(searching(made / "records", "cities", "meaning")) as pilot:
        shown = text_of(pilot)
        assert "about cities \\x1b[31m" in shown and "0.500" in shown and "the index\\x07 is outdated" in shown
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, CorpusPage) and text_of(pilot).startswith("L1N3")


@async_test
async def test_a_server_with_another_run_of_this_name_is_not_asked(made, server, monkeypatch):
    monkeypatch.setattr(Client, "changed", {"created_at_utc": "2020-01-01T00:00:00+00:00"})
    async with browsing(searching(made / "records", "cities", "meaning")) as pilot:
        shown = " ".join(text_of(pilot).split())
        assert "is another one: created_at_utc" in shown and "--runs_root" in shown


@async_test
async def test_a_run_without_prompts_is_searched_from_the_corpus_screen(made):
    async with browsing(Options(run_dir=made / "records")) as pilot:
        assert isinstance(pilot.app.screen, CorpusPage)
        assert "exemplars by words" in await press(pilot, "s")
        shown = await type_in(pilot, "capital cities")
        assert "[words]" in shown and "prompts" not in shown.splitlines()[1] and rows_of(shown)[0] == "L0N0+"
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, CorpusPage) and text_of(pilot).startswith("L0N0")


@async_test
async def test_a_search_without_a_text_opens_its_box_in_a_run_without_prompts(made):
    async with browsing(Options(run_dir=made / "records", screen="search")) as pilot:
        assert "exemplars by words" in text_of(pilot)
        assert "L0N0+" in await type_in(pilot, "capital cities")


@async_test
async def test_what_is_missing_names_the_command(made, tmp_path):
    shutil.copytree(DEMO, tmp_path / "run")
    async with browsing(searching(tmp_path / "run", "x", "words")) as pilot:
        assert "poc4_extract_records" in " ".join(text_of(pilot).split())
        assert "--mode write_scores" in " ".join((await press(pilot, "tab")).split())


@pytest.mark.parametrize("name", ["search_meta.json", "words.sqlite", "rows.safetensors"])
@async_test
async def test_a_damaged_index_gives_one_line_and_the_browser_lives(made, tmp_path, name):
    run_dir = Path(shutil.copytree(made / "records", tmp_path / "run"))
    (run_dir / "search" / name).write_bytes(b"{} \x1b[31m")
    async with browsing(searching(run_dir, "capital", "words")) as pilot:
        assert name in "".join(text_of(pilot).split()) and isinstance(pilot.app.screen, SearchPage)
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, CorpusPage)


@async_test
async def test_explanations_that_are_added_are_found_at_once(made, tmp_path):
    run_dir = Path(shutil.copytree(made / "prompts", tmp_path / "run"))
    async with browsing(searching(run_dir, "zebra", "words"), poll_seconds=0.05) as pilot:
        assert "nothing is found" in text_of(pilot)
        write_log(run_dir, *entries({"L3N9+": "a zebra"}), set_name="b")
        for _ in range(200):
            await pilot.pause(0.02)
            if "L3N9+" in text_of(pilot):
                break
        assert rows_of(text_of(pilot)) == ["L3N9+"]


HOSTILE = [text.replace("\ud800", "") for text in (*MARKUP, *CONTROLS)]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("hostile") / "run"
    shutil.copytree(DEMO, run_dir)
    write_log(run_dir, *entries({f"L3N{n}+": f"needle {t} needle" for n, t in enumerate(HOSTILE)}))
    write_writes(run_dir, {(3, n): ([(f"needle{t}", 1.0)], [("other", -1.0)]) for n, t in enumerate(HOSTILE)})
    return run_dir


@pytest.mark.parametrize("by", ["words", "promotes"])
@async_test
async def test_hostile_texts_and_tokens_are_shown_escaped(hostile, by):
    async with browsing(searching(hostile, "needle", by), (120, 50)) as pilot:
        shown = text_of(pilot)
        assert len(rows_of(shown)) == len(HOSTILE) and pilot.app.return_code is None
        assert all(x.isprintable() and width(x) == 120 for x in shown.splitlines())
        assert "[@click=app.quit]x[/]" in shown and "\\x1b[31mred" in shown
        await press(pilot, "slash")
        await type_in(pilot, "[@click=app.quit]\x1b]0;t\x07x[/]")
        assert pilot.app.return_code is None and all(x.isprintable() for x in text_of(pilot).splitlines())


@pytest.mark.parametrize("by", ["words", "promotes"])
def test_hostile_texts_are_printed_escaped(hostile, capsys, by):
    argv = ["--run_dir", str(hostile), "--screen", "search", "--query", "needle", "--by", by, "--print"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(x.isprintable() for x in out.splitlines()) and "L3N0+" in out
    assert main([*argv, "json", "--limit", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_hits"] == len(HOSTILE) and len(found["rows"]) == 3 and found["by"] == by
    assert found["score"] == ("BM25" if by == "words" else "write score") and "\x1b" not in json.dumps(found)


def test_printed_hits(made, capsys):
    argv = ["--run_dir", str(made / "records"), "--screen", "search", "--query", "capital", "--print"]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "explanation" in shown and "exemplar" in shown and "[·capital]" in shown
    assert main([*argv, "json", "--limit", "0"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    exemplar = next(r for r in rows if r["kind"] == "exemplar" and r["peak"])
    assert exemplar["text"][slice(*exemplar["peak"])] and exemplar["value"] is not None and exemplar["rank"] >= 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--screen", "search", "--by", "magic", "--query", "x"], "--by"),
     (["--screen", "browser", "--by", "words"], "--by needs --screen search"),
     (["--screen", "search", "--by", "words", "--query", "!"], "no word to look for"),
     (["--screen", "search", "--by", "meaning", "--query", "x"], "no search index")],
)  # fmt: skip
def test_mistakes_of_flags_give_one_line(made, capsys, flags, said):
    assert main(["--run_dir", str(made / "prompts"), *flags, "--print"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
