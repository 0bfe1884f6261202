"""Scores in the browser: beside explanations, in their list, and true and simulated activations side by side."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from score_runs import HOSTILE, about, current, embedding_lines, make_scored_run, write_score_log
from tui_pilot import DEMO, async_test, browsing, press, text_of, until_shown

from neuron_signatures.poc1_browse_activations import main
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.options import Options
from neuron_signatures.tui.screens.explanation import ExplanationPage
from neuron_signatures.tui.screens.simulated import SimulatedPage


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Runs in one folder: `scored`, with a second simulator; `damaged`, one log and one table of which cannot be read;
    and `unscored`.
    """
    root = tmp_path_factory.mktemp("made")
    scored = make_scored_run(root / "scored")
    shutil.copytree(scored, root / "unscored", ignore=shutil.ignore_patterns("scores"))
    with Records.open(scored) as records:
        shown = current(Explanations.open(scored), "highlighted")
        of = about("highlighted", "json", model="some-model")
        write_score_log(scored, of, embedding_lines(records, shown), finished=False)
    damaged = Path(shutil.copytree(scored, root / "damaged")) / "scores"
    (damaged / "contrastive__rule.jsonl").write_text("{}\n")
    (damaged / "highlighted__embedding.parquet").write_bytes(b"nothing")
    return root


def of_neuron(run_dir: Path, neuron: int = 0, *, layer: int = 0, screen: str = "explanation", **more) -> Options:
    return Options(run_dir=run_dir, screen=screen, layer=layer, neuron=neuron, **more)


def one_line(text: str) -> str:
    return " ".join(text.split())


@async_test
async def test_scores_stand_below_each_explanation_with_null_and_lift(made):
    async with browsing(of_neuron(made / "scored"), (120, 60)) as pilot:
        shown = one_line(text_of(pilot))
        assert "rule: correlation/uniform .90 [.85, .95], no null, n 400 (12 active)" in shown
        assert "embedding: correlation/uniform .60 [.55, .65], null" in shown and "lift .60" in shown
        assert "detection, some-model: balanced_accuracy/detection .75" in shown
        assert "json, some-model (not finished): correlation/uniform .60" in shown
        assert "not scored: refused" in shown
        assert "auprc/uniform .30" not in shown, "the other scores are details"
        shown = one_line(await press(pilot, "a", "end", "home", "right_square_bracket"))
        assert "auprc/uniform .30" in shown and "controls: shuffled .40, text .01" in shown


@async_test
async def test_failures_coverage_and_undefined_scores_are_words(made):
    async with browsing(of_neuron(made / "scored", neuron=2), (120, 60)) as pilot:
        shown = one_line(await press(pilot, "a"))
        assert "coverage 50%" in shown and "keywords of Python code" in shown
        assert "auprc/uniform (for choosing, not a score) undefined: the prediction is the same everywhere" in shown
    async with browsing(of_neuron(made / "scored", neuron=1), (120, 60)) as pilot:
        assert "detection, some-model: not scored: timed out" in one_line(text_of(pilot))


@async_test
async def test_true_and_simulated_activations_side_by_side(made):
    async with browsing(of_neuron(made / "scored")) as pilot:
        await press(pilot, "right_square_bracket", "right_square_bracket")
        shown = await press(pilot, "s")
        assert isinstance(pilot.app.screen, SimulatedPage)
        assert shown.startswith("L0N0+ simulated  state capitals, most of all Austin")
        assert "[1 of 2 scorers]" in one_line(shown) and "window 1 of 4  uniform sample, report" in shown
        peak = next(x for x in shown.splitlines() if "·Austin" in x and "+100%" in x)
        assert "+2.96" in peak and peak.count("│█") == 2, "both bars go to the right"
        assert "! too much" in shown and "tokens" in shown
        whole = await press(pilot, "enter")
        assert "…" not in "".join(x for x in whole.splitlines() if x.endswith("tokens"))
        shown = await press(pilot, "s")
        assert "json, some-model (not finished): correlation/uniform" in one_line(shown)
        shown = one_line(await press(pilot, *["right_square_bracket"] * 3))
        assert "> window 4 of 4 strongest" in shown and "not simulated: refused" in shown
        assert "! too little" in shown
        assert "> window 3 of 4" in one_line(await press(pilot, "shift+tab"))
        await press(pilot, "down", "y")
        assert pilot.app.clipboard.startswith("L0N0+ simulated by json, some-model  ")
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, ExplanationPage)


@async_test
async def test_bars_of_a_negative_pole_go_to_the_left(made):
    async with browsing(of_neuron(made / "scored", 2, screen="simulated", list_name="highlighted__embedding")) as pilot:
        shown = await press(pilot, "a")
        assert shown.startswith("L0N2- simulated")
        rows = [x for x in shown.splitlines() if x.count("│") == 2 and "%" in x]
        assert rows and all("-" in x[x.index("%") - 4 : x.index("%")] for x in rows)


@async_test
async def test_what_is_not_simulated_says_why(made):
    async with browsing(of_neuron(made / "scored")) as pilot:
        assert "no window is stored" in await press(pilot, "s"), "the rules of this run store none"
        assert "no other scorer" in await press(pilot, "s")
        shown = one_line(await press(pilot, "escape", *["right_square_bracket"] * 3, "s"))
        assert "this explanation has not been scored; others of this neuron have" in shown
    async with browsing(of_neuron(made / "unscored")) as pilot:
        assert "poc6_score_explanations --run_dir" in one_line(await press(pilot, "s"))
    async with browsing(of_neuron(made / "scored", 5)) as pilot:
        assert "no explanation of L0N5" in one_line(await press(pilot, "s"))


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (40, 12), (20, 5)])
@async_test
async def test_hostile_tokens_are_harmless_and_no_line_is_too_long(made, size):
    async with browsing(of_neuron(made / "scored", screen="simulated"), size) as pilot:
        seen = [text_of(pilot)]
        for key in ("a", "end", "home", "right_square_bracket", "d", "s"):
            seen.append(await press(pilot, key))
        for line in "\n".join(seen).splitlines():
            assert line.isprintable() and width(line) <= size[0]
        if size == (80, 24):
            assert "\\x1b[31mred" in seen[0]


@async_test
async def test_damaged_logs_have_a_line_and_the_others_are_shown(made):
    async with browsing(of_neuron(made / "damaged"), (120, 60)) as pilot:
        shown = one_line(text_of(pilot))
        assert "unread" in shown and "contrastive__rule.jsonl" in shown and "highlighted__embedding" in shown
        assert "detection, some-model: balanced_accuracy/detection .75" in shown
        shown = one_line(await press(pilot, "right_square_bracket", "right_square_bracket", "s"))
        assert "json, some-model (not finished)" in shown and "window 1 of 4" in shown
        shown = one_line(await press(pilot, "escape", "W"))
        assert "contrastive__rule.jsonl" in shown and "scored: correlation/uniform by" in shown


@async_test
async def test_a_line_damaged_later_is_a_reason(made, tmp_path):
    run = Path(shutil.copytree(made / "scored", tmp_path / "scored"))
    log = run / "scores" / "intervals__embedding.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("{}\n" + "".join(lines[1:]), encoding="utf-8")
    options = of_neuron(run, screen="simulated", list_name="intervals__embedding")
    async with browsing(options) as pilot:
        shown = one_line(text_of(pilot))
        assert "intervals__embedding.jsonl" in shown and "line 1" in shown


@async_test
async def test_the_list_has_the_headline_score_of_one_scorer(made):
    async with browsing(Options(run_dir=made / "scored", screen="explanations"), (100, 40)) as pilot:
        shown = text_of(pilot)
        assert "scored: correlation/uniform by embedding; 3 more scorers, E shows all" in shown
        rows = {x[2:].split()[0] + x[22:30]: x for x in shown.splitlines() if x[2:3] == "L" and "theme" in x}
        assert [x.split()[5] for x in rows.values()][:3] == [".60", ".50", ".40"]
        assert "scored" not in (await press(pilot, "escape", "q")).splitlines()[0]


@async_test
async def test_what_is_scored_later_appears(made, tmp_path):
    run = Path(shutil.copytree(made / "unscored", tmp_path / "run"))
    async with browsing(of_neuron(run), poll_seconds=0.02) as pilot:
        assert "correlation/uniform" not in text_of(pilot)
        shutil.copytree(made / "scored" / "scores", run / "scores")
        await until_shown(pilot, "correlation/uniform .90")


@async_test
async def test_details_facts_and_the_picker_say_what_is_scored(made):
    async with browsing(Options(runs_root=made), (120, 30)) as pilot:
        shown = one_line(await press(pilot, "down"))
        assert "row 2 of 3 scores: " in shown and "explanations scored (" in shown and "2 unfinished" in shown
    async with browsing(Options(run_dir=made / "scored", screen="run"), (120, 40)) as pilot:
        assert "explanations scored (" in one_line(text_of(pilot))


def test_printed_activations_and_scores(made, capsys):
    where = ["--run_dir", str(made / "scored"), "--layer", "0", "--neuron", "0", "--print"]
    assert main([*where, "--screen", "simulated", "--list", "highlighted__embedding"]) == 0
    out = capsys.readouterr().out
    assert "window 4 of 4" in out and "+100%" in out and "! too much" in out
    assert all(x.isprintable() and width(x) <= 100 for x in out.splitlines())
    assert main([*where, "--screen", "simulated", "--list", "highlighted__embedding", "--limit", "1"]) == 0
    assert "3 more windows" in capsys.readouterr().out
    assert main([*where, "json", "--screen", "simulated", "--list", "highlighted__embedding"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["screen"] == "simulated" and record["name"] == "highlighted__embedding"
    token = next(t for t in record["windows"][0]["tokens"] if t["mistake"])
    assert token["mistake"] == "too much" and token["pos"] == 1 and token["act"] < 0 and token["counts"]
    assert record["windows"][3]["reason"] == HOSTILE and record["windows"][3]["tokens"][0]["predicted"] is None
    assert main([*where, "--screen", "simulated", "--list", "zebra"]) == 2
    assert "zebra" in capsys.readouterr().err
    assert main([*where, "json", "--screen", "explanation"]) == 0
    found = json.loads(capsys.readouterr().out)["explanations"]
    assert {s["scorer"] for e in found for s in e["scores"]} == {"rule", "embedding", "detection", "json"}
    assert main([*where, "json", "--screen", "explanations"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["scored"] == "correlation/uniform" and record["scorer"] == "embedding"
    assert any(r["scored"] == 0.6 for r in record["rows"])


def test_without_records_the_windows_say_so(tmp_path, made, capsys):
    run = Path(shutil.copytree(DEMO, tmp_path / "run"))
    for folder in ("explanations", "scores"):
        shutil.copytree(made / "scored" / folder, run / folder)
    where = ["--run_dir", str(run), "--layer", "1", "--neuron", "0", "--print"]
    assert main([*where, "--screen", "simulated", "--list", "highlighted__embedding"]) == 0
    shown = one_line(capsys.readouterr().out)
    assert "window 4 of 4" in shown and "the run has no records of the corpus" in shown


def test_scores_are_read_without_pandas(made):
    """The browser reports pandas as not installed."""
    code = (
        "import sys\n"
        "class NoPandas:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'pandas':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, NoPandas())\n"
        "from neuron_signatures.poc1_browse_activations import main\n"
        "for screen in ('explanation', 'explanations', 'simulated'):\n"
        f"    assert main(['--run_dir', {str(made / 'scored')!r}, '--layer', '0', '--neuron', '0', '--print',\n"
        "                 '--screen', screen]) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0 and ".90 [.85, .95]" in done.stdout, done.stderr
