"""Circuits in the terminal: the tree, the grid, filter, links to neurons, hostile and damaged circuits, `--print`."""

from __future__ import annotations

import io
import json
import math
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from circuit_results import write_common
from circuit_runs import AUSTIN, HOSTILE_CIRCUIT, austin_graph, write_circuits, write_groups
from circuits_made import made_graph, write_circuit
from test_viewers_without_torch import run_blocked
from tui_pilot import DEMO, async_test, browsing, press, settle, text_of, type_in

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.tui.circuit.list_page import CircuitsPage
from neuron_signatures.tui.circuit.page import CircuitPage
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.run.cursor import Cursor
from neuron_signatures.tui.screens.browser import BrowserPage

SIZES = [(80, 24), (160, 48)]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The demo run with three folders of circuits."""
    return write_circuits(Path(shutil.copytree(DEMO, tmp_path / "run")))


def at(run_dir: Path, name: str | None = AUSTIN, **more: str) -> Options:
    return Options(run_dir=run_dir, screen="circuit", list_name=name, **more)


def printed(run_dir: Path, *flags: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out):
        code = main(["--run_dir", str(run_dir), "--screen", "circuit", "--print", *flags])
    return code, out.getvalue()


@pytest.mark.parametrize("size", SIZES)
@async_test
async def test_the_key_opens_the_list_and_enter_a_circuit(run_dir, size):
    async with browsing(Options(run_dir=run_dir), size) as pilot:
        shown = await press(pilot, "G")
        assert isinstance(pilot.app.screen, CircuitsPage) and "broken: it is not finished" in shown
        shown = await press(pilot, "enter")
        assert isinstance(pilot.app.screen, CircuitPage)
        for said in ("circuit austin 1 of 2", "·Austin 99.5% against ·Sacramento", "own neurons", "▾ answer",
                     "L3N508+*", "[Texas]", "rest nodes", "constant", "emb", "> cursor"):  # fmt: skip
            assert said in shown, said
        assert all(len(x) <= size[0] for x in shown.splitlines())
        await press(pilot, "escape", "escape")
        assert isinstance(pilot.app.screen, BrowserPage)


@async_test
async def test_nodes_open_and_close_and_the_grid_marks_the_path(run_dir):
    async with browsing(at(run_dir), (160, 48)) as pilot:
        before = text_of(pilot)
        shown = await press(pilot, "down", "enter")
        assert "▾ L3N508+*" in shown and shown.count("L1N363+ 7 ·Dallas") == before.count("L1N363+ 7 ·Dallas") + 1
        shown = await press(pilot, "right")  # the first line of an open node
        assert "into L3N508+ at 8  direct +1.8 (22% of Σ|E|)  total +2  measured +1.9" in shown
        assert "heads L2H1 +1.5, L3H0 -0.2" in shown and "act +6.1 (reference +0.23)" in shown
        rows = {x.split()[0]: x for x in (line[-31:] for line in shown.splitlines()) if x.split()}
        assert ">1 +2.4" in rows["L1"] and "*1 +1.9" in rows["L3"] and "*1" in rows["out"] and "*" not in rows["L4"]
        shown = await press(pilot, "left", "left")  # the node above, then closed
        assert "▸ L3N508+*" in shown and "> ▸" not in shown.split("▾ answer")[0]
        assert "nothing is below this row" in await press(pilot, "down", "enter")


@async_test
async def test_weaker_edges_are_summed_and_shown_on_request(tmp_path):
    run = Path(shutil.copytree(DEMO, tmp_path / "run"))
    write_circuit(run, made_graph(neurons_per_place=2))
    async with browsing(Options(run_dir=run), (160, 48)) as pilot:
        shown = await press(pilot, "G")  # the only circuit: no list
        assert isinstance(pilot.app.screen, CircuitPage) and "12 weaker edges" in shown
        shown = await press(pilot, *["down"] * 9, "enter")
        assert "weaker edges" not in shown and shown.count("\n    ▸ L") + shown.count("\n>   ▸ L") == 20
        assert "this is the only circuit" in await press(pilot, "]")


@async_test
async def test_g_goes_to_the_neuron_on_its_prompt_and_position(run_dir):
    async with browsing(Options(run_dir=run_dir, prompt_idx=3)) as pilot:
        await press(pilot, "G", "home", "enter", "down", "g")
        assert isinstance(pilot.app.screen, BrowserPage) and pilot.app.screen.cursor == Cursor(0, 3, 508, 8)
        await press(pilot, "G", "home", "enter", "down", "down", "g")  # a token: the neuron stays
        assert pilot.app.screen.cursor == Cursor(0, 3, 508, 7)


@async_test
async def test_a_neuron_of_a_layer_that_is_not_stored_is_not_opened(run_dir):
    async with browsing(at(run_dir, HOSTILE_CIRCUIT)) as pilot:
        shown = await press(pilot, "slash")
        await type_in(pilot, "L0")
        assert "is not stored in this run" in await press(pilot, "g")
        shown = await press(pilot, "escape", "end", "g")
        assert "this row is no single node" in shown


@async_test
async def test_a_filter_lists_nodes_and_enter_shows_one_in_the_tree(run_dir):
    async with browsing(at(run_dir)) as pilot:
        for query, n in (("texas", 1), ("L3", 1), ("#8", 6), (">1", 4), ("promotes:·Austin", 3), ("L4N178-", 1),
                         ("L4N178+", 0), ("#7 dallas", 2)):  # fmt: skip
            await press(pilot, "slash")
            await type_in(pilot, query)
            assert f"{n} of 10 nodes match" in text_of(pilot), query
        await press(pilot, "slash")
        assert "does not apply" in await type_in(pilot, "fires:x")
        await press(pilot, "escape")
        await press(pilot, "slash")
        await type_in(pilot, "L1N363")
        shown = await press(pilot, "enter")
        assert next(x for x in shown.splitlines() if x.startswith(">")).split()[2] == "L1N363+"
        await press(pilot, "slash")
        await type_in(pilot, "zzz")
        assert "no node matches" in text_of(pilot)
        assert "▾ answer" in await press(pilot, "escape")
        assert isinstance(pilot.app.screen, CircuitPage)


@async_test
async def test_outgoing_edges_lead_to_another_line_of_the_node(run_dir):
    async with browsing(at(run_dir)) as pilot:
        assert "the answer has no outgoing edges" in await press(pilot, "o")
        await press(pilot, "slash")
        await type_in(pilot, "L1N363")
        shown = await press(pilot, "o")
        assert "outgoing edges of L1N363+" in shown and "L4N178-" in shown and "-0.9" in shown
        shown = await press(pilot, "down", "down", "enter")
        assert "▾ L4N178-" in shown and "into L4N178- at 8  direct -0.9" in shown


@async_test
async def test_brackets_walk_through_the_circuits_and_tab_shows_the_grid_alone(run_dir):
    async with browsing(at(run_dir)) as pilot:
        assert "this is the first of 2 circuits" in await press(pilot, "[")
        assert "circuit hostile 2 of 2" in await press(pilot, "]")  # broken ones are left out
        shown = await press(pilot, "tab")
        assert "direct E" not in shown and "nodes, sum of scores" in shown
        assert "direct E" in await press(pilot, "tab")


@pytest.mark.parametrize(
    "size", [(20, 5), (80, 24), *(pytest.param(s, marks=pytest.mark.slow) for s in ((40, 10), (200, 60)))]
)
@async_test
async def test_hostile_texts_are_literal_at_every_size(run_dir, size):
    async with browsing(at(run_dir, HOSTILE_CIRCUIT), size) as pilot:
        seen = text_of(pilot)
        for key in ("down", "enter", "d", "tab", "tab", "end", "home", "down", "o", "escape", "d"):
            seen += "\n" + await press(pilot, key)
        assert "\x1b" not in seen and "\u202e" not in seen
        assert size[0] < 80 or "[@click=app.quit]" in seen
        assert all(len(x) <= size[0] for x in seen.splitlines()) and pilot.app.return_code is None


@async_test
async def test_without_colours_the_signs_stay(run_dir, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with browsing(at(run_dir)) as pilot:
        shown = text_of(pilot)
        assert "*1" in shown.replace(">1", "*1") and "1-" in shown and "-0.8    █│" in shown


@pytest.mark.parametrize("damage", ["nodes.parquet", "edges.parquet", "trace_meta.json"])
@async_test
async def test_a_damaged_circuit_is_a_message(run_dir, damage, monkeypatch):
    monkeypatch.chdir(run_dir.parent)
    (run_dir / "circuits" / AUSTIN / damage).write_bytes(b"PAR1 not what it was PAR1")
    async with browsing(at(run_dir)) as pilot:
        assert "fault" in text_of(pilot) and damage.split(".")[0] in text_of(pilot).replace("\n", "")
        await press(pilot, "enter", "o", "g", "tab", "slash", "escape", "right", "e")
        assert isinstance(pilot.app.screen, CircuitPage)


@async_test
async def test_damaged_groups_and_tests_are_warnings(run_dir):
    (run_dir / "circuits" / AUSTIN / "groups.json").write_text("[1]")
    (run_dir / "circuits" / AUSTIN / "curves.parquet").write_bytes(b"no")
    async with browsing(at(run_dir), (120, 40)) as pilot:
        shown = await press(pilot, "d")
        assert "groups: " in shown and "tests: " in shown and "▾ answer" in shown and "not tested" in shown


@async_test
async def test_a_circuit_without_a_target_and_a_run_without_circuits(tmp_path):
    run = Path(shutil.copytree(DEMO, tmp_path / "run"))
    async with browsing(at(run, None)) as pilot:
        shown = " ".join(text_of(pilot).split())
        assert "no circuits yet" in shown and "poc10_trace_circuit --run_dir" in shown
    graph = made_graph()
    nodes = tuple(n for n in graph.nodes if n.kind != "target")
    write_circuit(run, replace(graph, nodes=nodes, edges=(), heads=()))
    async with browsing(at(run, None)) as pilot:
        assert "this graph has no target" in text_of(pilot)
        await press(pilot, "enter", "right", "left", "o", "g", "y")
        assert isinstance(pilot.app.screen, CircuitPage)


@async_test
async def test_a_change_on_disk_is_read_and_keeps_the_place(run_dir):
    async with browsing(at(run_dir), (160, 48)) as pilot:
        await press(pilot, "down", "enter", "down")
        write_groups(run_dir, AUSTIN, [("new", "Renamed", [austin_graph(run_dir).edges[0].target])], pinned=[])
        shown = await press(pilot, "r")
        await settle(pilot)
        shown = text_of(pilot)
        assert "[Renamed]" in shown and "[Texas]" not in shown
        assert next(x for x in shown.splitlines() if x.startswith(">")).strip("> ").startswith("▸ L1N363+")


@async_test
async def test_what_several_circuits_share_is_a_list_of_neurons(run_dir):
    write_common(run_dir)
    async with browsing(Options(run_dir=run_dir), (100, 30)) as pilot:
        shown = await press(pilot, "G", "end", "enter")
        assert "common circuit template" in shown and "2 circuits, of which 1 held out: 3 nodes" in shown
        assert "in 1 held-out prompt the common neurons keep 0.62" in shown
        assert "L1N2" in shown and "+0.75" in shown and "end-1" in shown and "entity-1" in shown
        assert "this row is no neuron" in await press(pilot, "down", "enter")
        await press(pilot, "home", "enter")
        assert isinstance(pilot.app.screen, BrowserPage) and pilot.app.screen.cursor.at == (1, 2)
    code, text = printed(run_dir, "json", "--list", "template")
    assert code == 0 and json.loads(text)["edges"][0]["from"] == "L0N3" and len(json.loads(text)["rows"]) == 3
    code, text = printed(run_dir, "--list", "template")
    assert code == 0 and "\x1b" not in text and "<script>" in text


def test_print_as_text_and_json(run_dir):
    code, text = printed(run_dir)
    assert code == 0 and "broken" in text and "hostile" in text  # several: the list
    code, text = printed(run_dir, "--list", AUSTIN)
    assert code == 0 and "L3N508+*" in text and "nodes, sum of scores" in text
    assert "Texas" in text and "flips the answer in 1 of 2 cases, of random neurons in 2%" in " ".join(text.split())
    assert all(len(x) <= 100 for x in text.splitlines())
    code, out = printed(run_dir, "json", "--list", AUSTIN, "--limit", "0")
    data = json.loads(out)
    assert data["screen"] == "circuit" and data["list"] == AUSTIN and data["prompt"]["target"] == " Austin"
    assert data["curves"][1]["faithfulness"] == 0.97 and data["swaps"][1]["flipped"] is True
    assert {"layer": 1, "pos": 7, "n": 1, "score": 2.4} in data["grid"]
    for target in [
        r for r in data["rows"] if r["depth"] < 2 and r["node"] and r["node"]["kind"] in ("target", "neuron")
    ]:
        below = [r["weight"] for r in data["rows"] if r["path"][:-1] == target["path"]]
        assert math.isclose(math.fsum(below), target["node"]["activation"], abs_tol=1e-9)
    code, out = printed(run_dir, "json", "--list", AUSTIN, "--query", "texas")
    assert [r["id"] for r in json.loads(out)["rows"]] == ["1_363_7"]


def test_printed_hostile_text_has_no_escapes(run_dir):
    code, text = printed(run_dir, "--list", HOSTILE_CIRCUIT)
    assert code == 0 and "\x1b" not in text and "\u202e" not in text and "\\x1b[31mred" in text
    assert "NaN" not in printed(run_dir, "json", "--list", HOSTILE_CIRCUIT)[1]


@pytest.mark.parametrize(("name", "code"), [("nothing", 2), ("broken", 2), (AUSTIN, 3)])
def test_what_cannot_be_printed_ends_with_its_code(run_dir, capsys, name, code):
    (run_dir / "circuits" / AUSTIN / "edges.parquet").write_bytes(b"no")
    assert main(["--run_dir", str(run_dir), "--screen", "circuit", "--print", "--list", name]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_it_runs_without_torch_and_pandas(run_dir):
    flags = ["--run_dir", str(run_dir), "--screen", "circuit", "--list", AUSTIN, "--print"]
    code = f"""
Blocked.names = (*Blocked.names, "pandas")
from neuron_signatures.poc1_browse_activations import main
assert main({flags}) == 0
"""
    done = run_blocked(code)
    assert done.returncode == 0 and "▾ answer" in done.stdout, done.stderr
