"""A neuron at large in the terminal: facts among its details, the screen of neurons like it, and what is printed."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

import neuron_tables
import pytest
from analysis_runs import BOS, make_run, random_acts
from record_runs import make_record_run
from tui_pilot import async_test, browsing, press

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.names import CORPUS_ANALYSIS
from neuron_signatures.tui.options import Options


@pytest.fixture
def run_dir(tmp_path):
    prompts = {"p0": [BOS, " a", " b"]}
    make_run(tmp_path / "run", prompts, random_acts(prompts, n_layers=2, d_mlp=5))
    return tmp_path / "run"


def options(run_dir, **more):
    return Options(run_dir=run_dir, **{"layer": 0, "neuron": 1, **more})


def printed(run_dir, screen, kind="text", neuron="1"):
    out = io.StringIO()
    with redirect_stdout(out):
        code = main(
            ["--run_dir", str(run_dir), "--layer", "0", "--neuron", neuron, "--print", kind, "--screen", screen]
        )
    assert code == 0
    return out.getvalue()


@async_test
async def test_a_neuron_like_it_is_opened_from_the_list(run_dir):
    neuron_tables.everything(run_dir)
    async with browsing(options(run_dir)) as pilot:
        text = await press(pilot, "N")
        assert "L0N1 at large" in text and "suppression: kurtosis 7" in text and "more lines" in text
        assert "activation on the corpus" in text and "<= 0.200" in text
        text = await press(pilot, "down", "enter")
        assert "L1N3" in text and "at large" not in text.split("\n")[0]


@async_test
async def test_a_neuron_that_the_run_does_not_store_is_not_opened(run_dir):
    neuron_tables.weights(run_dir)
    async with browsing(options(run_dir)) as pilot:
        await press(pilot, "N", "down", "down")
        assert "L7N4 is not stored in this run" in await press(pilot, "enter")


@async_test
async def test_without_results_the_screen_says_how_to_make_them(run_dir):
    async with browsing(options(run_dir, screen="at_large")) as pilot:
        text = " ".join((await press(pilot)).split())
        assert "no neuron is known to be like L0N1" in text and "poc8_weights --run_dir" in text


@async_test
async def test_a_run_without_prompts_has_the_screen_over_the_corpus(tmp_path):
    make_record_run(tmp_path / "run", n_documents=12, d_mlp=5)
    neuron_tables.everything(tmp_path / "run")
    async with browsing(options(tmp_path / "run")) as pilot:
        assert "L0N1 at large" in await press(pilot, "N")
        assert "L1N2" in await press(pilot, "enter")
    async with browsing(options(tmp_path / "run", screen="at_large")) as pilot:
        assert "L0N1 at large" in await press(pilot)


@async_test
async def test_the_details_and_the_side_have_the_same_lines(run_dir):
    neuron_tables.everything(run_dir)
    async with browsing(options(run_dir), size=(160, 60)) as pilot:
        assert "like acts" in await press(pilot)
        text = await press(pilot, "d")
        assert "weights" in text and "like texts +" in text and "meanings -" in text


@async_test
async def test_a_result_that_arrives_later_is_read(run_dir):
    async with browsing(options(run_dir)) as pilot:
        assert "like w_out" not in await press(pilot, "d")
        neuron_tables.weights(run_dir)
        text = await press(pilot, "escape", "r", "d")
        assert "like w_out" in text


def test_hostile_text_is_escaped_on_every_line(run_dir):
    neuron_tables.everything(run_dir)
    text = printed(run_dir, "at_large") + printed(run_dir, "notes")
    assert "\x1b" not in text and "\u202e" not in text and "\\x1b[31mred" in text


def test_as_json_it_has_every_number(run_dir):
    neuron_tables.everything(run_dir)
    record = json.loads(printed(run_dir, "at_large", "json"))
    assert record["at_large"]["weights"]["logit_kurtosis"] == 7 and len(record["rows"]) == 15
    assert record["at_large"]["meanings"][0]["groups"][0]["tokens"] == [" the", " a"]
    assert json.loads(printed(run_dir, "notes", "json"))["at_large"]["done"][0] == "statistics"


def test_without_results_json_has_null(run_dir):
    assert json.loads(printed(run_dir, "at_large", "json"))["at_large"] is None


def test_a_damaged_table_is_one_line(run_dir):
    neuron_tables.everything(run_dir)
    (run_dir / CORPUS_ANALYSIS / "similar.parquet").write_bytes(b"PAR1 not a table PAR1")
    text = printed(run_dir, "at_large")
    assert "similar.parquet" in " ".join(text.split()) and "like w_out" in text and "like acts" not in text
