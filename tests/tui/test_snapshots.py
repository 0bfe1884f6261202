"""Reference pictures of every screen on the committed run, at 80x24 and 160x48."""

from __future__ import annotations

import shutil
from pathlib import Path

import neuron_tables
import pytest
from analysis_runs import BOS, make_run, random_acts
from circuit_runs import write_circuits
from explanation_runs import write_explanations
from intervention_results import EFFECT, STEER, SWAP, SWAPS, write_all
from record_runs import make_record_run
from score_runs import make_scored_run
from search_runs import explained_run, index, write_writes
from svg_snapshots import FOLDER, check_snapshot, words
from textual.command import CommandList
from textual.widgets import Input
from tui_pilot import DEMO, async_test, browsing, press, settle, type_in

from neuron_signatures.tui.keys import BROWSER, COMMON
from neuron_signatures.tui.options import Options

SIZES = [(80, 24), (160, 48)]
DLA = "influence_seed_prompt_dla_next_token_pos8_tok704"
ACT_GRAD = "influence_seed_prompt_act_grad_next_token_pos8_tok704"
# Name of the picture: keys that open it, from layer 3, neuron 508; `=` types a text.
KEYS = {
    "browser": (), "browser_bos": ("g", "=4/127", "]", "i"), "stack": ("enter",), "top": ("t",), "layers": ("o",),
    "details": ("d",), "prompts": ("p",), "facts": ("f",), "lists": ("w",), "help": ("question_mark",), "jump": ("g",),
    "jump_mistake": ("g", "=2/5"), "search": ("s", "=the"), "palette": ("colon",),
    "walk": ("w", "down", "enter", "down", "enter", "full_stop"),
}  # fmt: skip
SCREENS = {
    "peaks": Options(screen="peaks"), "influence": Options(screen="influence", list_name=DLA),
    "warning": Options(screen="influence", list_name=ACT_GRAD), "signatures": Options(screen="signatures"),
    "filtered": Options(screen="signatures", query="semantic"),
}  # fmt: skip

RESULTS = {"interventions": None, "swap": SWAP, "swap_pairs": SWAPS, "effect": EFFECT, "steer": STEER}

# Name of the picture: keys that open it, from layer 0, neuron 0 of a run with records and no prompts.
CORPUS = {
    "corpus": (), "corpus_whole": ("enter",), "corpus_intervals": ("n", "tab"), "corpus_tokens": ("tab",) * 3,
    "corpus_histogram": ("tab",) * 4, "corpus_neurons": ("w",),
}  # fmt: skip

# Name of the picture: screen, layer, neuron and keys, in a run with explanations and no prompts.
EXPLAINED = {
    "explanation": ("explanation", 0, 0, ()), "explanation_chain": ("explanation", 0, 1, ()),
    "explanation_hostile": ("explanation", 1, 0, ()), "explanations": ("explanations", 0, 0, ()),
    "explanations_filtered": ("explanations", 0, 0, ("slash", "=austin is:current", "s")),
    "corpus_explained": ("corpus", 0, 1, ()),
}  # fmt: skip

# The same in a run with scores.
SCORED = {
    "explanation_scored": ("explanation", 0, 0, ("]", "]")), "simulated": ("simulated", 0, 0, ()),
    "simulated_failed": ("simulated", 0, 2, ("]", "]", "]", "enter")),
    "explanations_scored": ("explanations", 0, 0, ()),
}  # fmt: skip

# Name of the picture: the way to search, in a run with explanations and write scores.
FOUND = {"search_words": "words", "search_promotes": "promotes"}

# Name of the picture: keys over the browser of a run with neurons at large.
AT_LARGE = {"browser_at_large": (), "at_large": ("N",), "at_large_whole": ("N", "d")}

# The same over the browser of a run with circuits.
CIRCUITS = {
    "circuits": ("G",), "circuit": ("G", "enter", "down", "enter", "down"),
    "circuit_hostile": ("G", "end", "enter", "d"), "circuit_filtered": ("G", "enter", "slash", "=#8"),
    "circuit_outgoing": ("G", "enter", "slash", "=texas", "o"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def a_folder_of_runs(tmp_path, monkeypatch):
    """Relative paths and a fixed environment, so that pictures do not depend on the machine."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "TEXTUAL_THEME", "TEXTUAL_ANSI_COLOR", "TEXTUAL_COLOR_SYSTEM"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(DEMO, "runs/demo_run")
    Path("runs/broken").mkdir()
    Path("runs/broken/manifest.json").write_text('{"format_version": 7, "model_name": "some/model"}')


async def commands_listed(pilot):
    """Wait until the palette lists all commands, and show its cursor without blinking."""
    palette = pilot.app.screen
    palette.query_one(Input).cursor_blink = False
    commands = palette.query_one(CommandList)
    for _ in range(1000):
        await pilot.pause(0.01)
        if commands.option_count == len((*BROWSER, *COMMON)) and not commands.has_class("--populating"):
            return
    raise AssertionError(f"the palette lists {commands.option_count} commands")


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_screens_of_a_run(size, tmp_path):
    for name, keys in KEYS.items():
        async with browsing(Options(run_dir=Path("runs/demo_run"), layer=3, neuron=508), size) as pilot:
            for key in keys:
                await (type_in(pilot, key[1:]) if key[0] == "=" else press(pilot, key))
            await settle(pilot)
            if name == "palette":
                await commands_listed(pilot)
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_lists_the_picker_and_a_fault(size, tmp_path):
    for name, options in SCREENS.items():
        here = Options(**{**options.__dict__, "run_dir": Path("runs/demo_run")})
        async with browsing(here, size) as pilot:
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)
    async with browsing(Options(), size) as pilot:
        check_snapshot(pilot.app, f"runs_{size[0]}x{size[1]}", tmp_path)
    async with browsing(Options(run_dir=Path("runs/broken")), size) as pilot:
        check_snapshot(pilot.app, f"fault_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_interventions(size, tmp_path):
    shutil.copytree(DEMO, "runs/edited")
    write_all(Path("runs/edited"))
    for name, stem in RESULTS.items():
        options = Options(run_dir=Path("runs/edited"), screen="interventions", list_name=stem)
        async with browsing(options, size) as pilot:
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_one_neuron_in_a_corpus(size, tmp_path):
    make_record_run(Path("runs/records"))
    for name, keys in CORPUS.items():
        async with browsing(Options(run_dir=Path("runs/records")), size) as pilot:
            await press(pilot, *keys)
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_explanations(size, tmp_path):
    write_explanations(make_record_run(Path("runs/explained")))
    for name, (screen, layer, neuron, keys) in EXPLAINED.items():
        options = Options(run_dir=Path("runs/explained"), screen=screen, layer=layer, neuron=neuron)
        async with browsing(options, size) as pilot:
            for key in keys:
                await (type_in(pilot, key[1:]) if key[0] == "=" else press(pilot, key))
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)
    write_explanations(Path("runs/demo_run"))
    async with browsing(Options(run_dir=Path("runs/demo_run"), layer=1, neuron=3), size) as pilot:
        check_snapshot(pilot.app, f"browser_explained_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_scores(size, tmp_path):
    make_scored_run(Path("runs/scored"))
    for name, (screen, layer, neuron, keys) in SCORED.items():
        options = Options(run_dir=Path("runs/scored"), screen=screen, layer=layer, neuron=neuron)
        async with browsing(options, size) as pilot:
            await press(pilot, *keys)
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_a_neuron_at_large(size, tmp_path):
    prompts = {"p0": [BOS, " a", " b"], "p1": [BOS, " the", " of", " c"]}
    make_run(Path("runs/large"), prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    neuron_tables.everything(Path("runs/large"))
    for name, keys in AT_LARGE.items():
        async with browsing(Options(run_dir=Path("runs/large"), layer=0, neuron=1), size) as pilot:
            await press(pilot, *keys)
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_search(size, tmp_path, monkeypatch):
    monkeypatch.setattr("neuron_signatures.tui.search.hits.time_text", lambda seconds: "12.3 ms")
    index(explained_run(Path("runs/searched")))
    writes = {
        (0, 1): ([(" capital", 0.9), ("Capital", 0.8)], [(" no", -1.0)]),
        (1, 3): ([(" a", 1.0)], [(" capital", -2.0)]),
    }
    write_writes(Path("runs/searched"), writes)
    for name, by in FOUND.items():
        options = Options(run_dir=Path("runs/searched"), screen="search", query="capital", by=by)
        async with browsing(options, size) as pilot:
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@async_test
async def test_circuits(size, tmp_path, monkeypatch):
    monkeypatch.setattr("neuron_signatures.tui.circuit.printed.made_text", lambda made: "2026-01-02 03:04")
    write_circuits(Path("runs/demo_run"))
    for name, keys in CIRCUITS.items():
        async with browsing(Options(run_dir=Path("runs/demo_run"), layer=3, neuron=508), size) as pilot:
            for key in keys:
                await (type_in(pilot, key[1:]) if key[0] == "=" else press(pilot, key))
            check_snapshot(pilot.app, f"{name}_{size[0]}x{size[1]}", tmp_path)


@async_test
async def test_the_picture_in_the_documents(tmp_path):
    async with browsing(Options(run_dir=Path("runs/demo_run"), layer=3, neuron=508), (120, 36)) as pilot:
        check_snapshot(pilot.app, "browse", tmp_path, DEMO.parents[2] / "docs")


def test_every_picture_has_a_screen_and_no_machine_paths():
    names = {
        f"{n}_{w}x{h}"
        for n in (
            *KEYS,
            *SCREENS,
            *RESULTS,
            *CORPUS,
            *EXPLAINED,
            *SCORED,
            *AT_LARGE,
            *FOUND,
            *CIRCUITS,
            "browser_explained",
            "runs",
            "fault",
        )
        for w, h in SIZES
    }
    assert {p.stem for p in FOLDER.glob("*.svg")} == names
    for path in FOLDER.glob("*.svg"):
        svg = path.read_text(encoding="utf-8")
        assert "/tmp" not in svg and "/work" not in svg and "http" not in svg.replace("http://www.w3.org", "")
        assert words(svg)
