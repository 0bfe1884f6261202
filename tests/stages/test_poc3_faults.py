"""Wrong commands of stage 3: one line, exit code 2, and nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from intervention_cases import DALLAS, OAKLAND
from intervention_runs import argv_of, demo_run
from paths import DEMO_RUN

from neuron_signatures.interventions.mode_flags import EVERYWHERE, FLAGS, check_flags
from neuron_signatures.poc3_intervene import main, make_parser
from neuron_signatures.runs.errors import UsageError

ONE = ["--neurons", "L3N508"]
SWAP = ["--mode", "swap", "--source_text", OAKLAND]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    return demo_run(tmp_path_factory.mktemp("poc3") / "x")


def refused(capsys, run_dir: Path, *flags: str) -> str:
    before = sorted(p for p in run_dir.rglob("*"))
    capsys.readouterr()
    assert main(argv_of(run_dir, "--prompt_id", "seed_prompt", *flags)) == 2, flags
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and not out, err
    assert sorted(p for p in run_dir.rglob("*")) == before, "something was written"
    return err


WRONG = {
    "no neurons": ([], "--neurons, --from, --neurons_json or --all: no neurons"),
    "an empty name": (["--neurons", ""], "names no neuron"),
    "a neuron outside": (["--neurons", "L3N508,L5N0"], "there is no neuron L5N0: the model has layers 0..4 of 512"),
    "an unknown list": ([ "--from", "nobody"], "there is no such ranked list"),
    "a list without a ranking": (["--from", "peaks"], "--from peaks"),
    "two choices": ([*ONE, "--all"], "more than one choice of neurons"),
    "a position outside": ([*ONE, "--positions", "9"], "9 is not in a prompt of 9 tokens"),
    "position 0": ([*ONE, "--positions", "0,8"], "position 0 has massive activations"),
    "a position after the target": ([*ONE, "--positions", "8", "--target_pos", "5"], "comes after the target's, 5"),
    "an unknown entity": ([*ONE, "--positions", "entity:Boston"], "'Boston' occurs 0 times"),
    "a token of several pieces": ([*ONE, "--target_token", " Austin is"], "is not one token"),
    "a missing value": ([*ONE, "--edit", "set"], "--edit set needs a value"),
    "a value without effect": ([*ONE, "--value", "3"], "has no effect with --edit ablate"),
    "a source without effect": ([*ONE, "--source_text", OAKLAND], "has no effect with --edit ablate"),
    "a reference without effect": ([*ONE, "--edit", "flip", "--reference", "zero"], "has no effect with --edit flip"),
    "a patch without a source": ([*ONE, "--edit", "patch"], "no source"),
    "a patch with two sources": (
        [*ONE, "--edit", "patch", "--source_text", OAKLAND, "--source_prompt", "seed_prompt"], "two sources",
    ),
    "a source with nothing in common": (
        [*ONE, "--edit", "patch", "--source_text", "In which city of Texas was he born"],
        "neither start nor end in common",
    ),
    "a source that differs later": (
        [*ONE, "--edit", "patch", "--source_text", OAKLAND, "--positions", "2"], "no position of 2 differs",
    ),
    "an unknown prompt": ([*ONE, "--edit", "patch", "--source_prompt", "nobody"], "nobody"),
    "an unknown neutral file": ([*ONE, "--neutral_json", "/nowhere/n.json"], "/nowhere/n.json"),
    "a pole that no activation has": (["--neurons", "L3N508-", "--positions", "last"], "has the sign of its pole"),
    "too few random sets": ([*ONE, "--n_random", "99"], "--n_random"),
    "a swap without a source": (["--mode", "swap"], "no source"),
    "a swap with the same text": (["--mode", "swap", "--source_text", DALLAS], "the same text as the destination"),
    "a swap with the same answer": (
        ["--mode", "swap", "--source_text", DALLAS.replace("Dallas", "Houston")], "the answer to both prompts is",
    ),
    "a swap with an answer of two tokens": ([*SWAP, "--target_token", " New York"], "is not one token"),
    "a swap of a position before the entity": (
        [*SWAP, "--positions", "3"], "position 3 comes before the first difference",
    ),
    "a wrong source with the source's answer": (
        [*SWAP, "--wrong_source", OAKLAND, "--max_k", "5"], "the same answer as the source",
    ),
    "a share without a file": ([*SWAP, "--held_out", "0.5"], "needs --pairs_json with entities"),
    "an unknown file of pairs": ([*SWAP, "--held_out", "/nowhere/p.json"], "/nowhere/p.json"),
    "a flag of another mode": ([*SWAP, *ONE], "--neurons"),
    "a flag of steering": ([*ONE, "--alpha", "1"], "--alpha"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_is_one_line(run_dir, capsys, case):
    flags, message = WRONG[case]
    assert message in refused(capsys, run_dir, *flags)


def test_flags_of_a_pair_have_no_effect_on_a_file_of_pairs(run_dir, tmp_path, capsys):
    (tmp_path / "p.json").write_text(json.dumps({"pairs": [{"destination": DALLAS, "source": OAKLAND}]}))
    pairs = ["--mode", "swap", "--pairs_json", str(tmp_path / "p.json")]
    assert "--prompt_id: has no effect with --pairs_json" in refused(capsys, run_dir, *pairs)


def test_a_file_in_which_no_pair_can_be_swapped(run_dir, tmp_path, capsys):
    (tmp_path / "p.json").write_text(json.dumps({"pairs": [{"destination": DALLAS, "source": DALLAS}]}))
    assert main(argv_of(run_dir, "--mode", "swap", "--pairs_json", str(tmp_path / "p.json"))) == 2
    err = capsys.readouterr().err
    assert "no pair can be swapped: pair 0 is left out" in err and not (run_dir / "interventions").exists()


def test_a_run_without_some_layers_has_no_mean_for_them(tmp_path, capsys):
    """The small committed run stores layers 1, 3 and 4 of 5."""
    run_dir = tmp_path / "run"
    shutil.copytree(DEMO_RUN, run_dir)
    assert "--reference" in refused(capsys, run_dir, "--neurons", "L1N1", "--reference", "mean")


def test_every_flag_has_a_mode():
    """Flags without effect are refused with the mode that takes them."""
    known = {a.dest for a in make_parser()._actions}
    assert known == {*EVERYWHERE, *(f for flags in FLAGS.values() for f in flags)}
    for mode, flags in FLAGS.items():
        check_flags(mode, [*EVERYWHERE, *flags])
        for flag in sorted(known - {*EVERYWHERE, *flags}):
            with pytest.raises(UsageError, match=f"has no effect with --mode {mode}") as error:
                check_flags(mode, [flag])
            assert "Use it with --mode" in str(error.value) and "dest" not in str(error.value)
