"""The program `neuron-signatures`: its subcommands, its suggestions for mistyped words, and shell completion."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from paths import DEMO_RUN

from neuron_signatures.__main__ import COMMANDS, SHELLS, main
from neuron_signatures.cli.parser import Parser, started_as
from neuron_signatures.runs.__main__ import make_parser as runs_parser
from neuron_signatures.runs.errors import UsageError


@pytest.fixture(autouse=True)
def _console_script(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/neuron-signatures"])


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_help_lists_every_subcommand_on_one_line(capsys, argv):
    if argv:
        with pytest.raises(SystemExit, match="0"):
            main(argv)
    else:
        assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: neuron-signatures COMMAND [flags]\n")
    for name in COMMANDS:
        assert re.search(rf"^    {name} +\w", out, re.M), name


def test_help_imports_no_stage():
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        "try: runpy.run_module('neuron_signatures', run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "loaded = [m for m in sys.modules if m.startswith('neuron_signatures.') and ('poc' in m or 'models' in m)]\n"
        "assert not loaded and not {'numpy', 'streamlit', 'textual'} & set(sys.modules), loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"neuron-signatures \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("argv", "mistake"),
    [
        (["dmp", "--help"], "did you mean dump?"),
        (["--vresion"], "unknown flag --vresion; did you mean --version?"),
        (["dump", "--promts_json", "x"], "unknown flag --promts_json; did you mean --prompts_json?"),
        (["dump", "--single-promt=x"], "unknown flag --single_promt; did you mean --single_prompt?"),
        (["rank", "--run_dir", "x", "--promt_id", "0"], "unknown flag --promt_id; did you mean --prompt_id?"),
        (["rank", "--run_dir", "x", "--mode", "influenc"], "did you mean influence?"),
        (["browse", "--scren", "peaks"], "unknown flag --scren; did you mean --screen?"),
        (["explore", "--rn", "x"], "unknown flag --rn; did you mean --run?"),
        (["runs", "shw", "x"], "did you mean show?"),
        (["runs", "show", "x", "--jsn"], "unknown flag --jsn; did you mean --json?"),
        (["models", "--lst"], "unknown flag --lst; did you mean --list?"),
    ],
)
def test_a_mistyped_word_gets_one_line_with_the_nearest(capsys, argv, mistake):
    assert main(argv) == 2
    err = capsys.readouterr().err
    stage = f" {argv[0]}" if argv[0] in COMMANDS else ""
    assert err.startswith(f"error: neuron-signatures{stage}") and err.count("\n") == 1
    assert mistake in err


def test_values_and_distant_flags_get_no_suggestion():
    parser = Parser(prog="stage")
    parser.add_argument("--text")
    parser.add_argument("--mode", choices=("peaks", "influence"))
    assert parser.parse_args(["--text=--txt"]).text == "--txt"
    for argv, message in (
        (["--zzzzzz"], "unrecognized arguments: --zzzzzz"),
        (["--mode", "qqq"], "invalid choice: 'qqq'"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            parser.parse_args(argv)
        assert "did you mean" not in str(error.value)


def test_a_subcommand_is_the_stage(capsys):
    assert main(["browse", "--run_dir", str(DEMO_RUN), "--print", "json"]) == 0
    assert capsys.readouterr().out.startswith("{")
    assert main(["runs", "show", "no_such_run"]) == 3
    assert capsys.readouterr().err.startswith("error: no_such_run: ")


def test_prog_follows_the_way_the_program_was_started(capsys, monkeypatch):
    assert runs_parser().prog == "python -m neuron_signatures.runs"
    with started_as("neuron-signatures runs"):
        assert runs_parser().prog == "neuron-signatures runs"
    monkeypatch.setattr(sys, "argv", ["/src/neuron_signatures/__main__.py"])
    assert main(["runs", "show"]) == 2
    assert capsys.readouterr().err.startswith("error: python -m neuron_signatures runs show: ")


def test_explore_starts_streamlit_with_the_flags(monkeypatch):
    import streamlit.web.cli

    from neuron_signatures import eda_streamlit

    started = []
    monkeypatch.setattr(streamlit.web.cli, "main", lambda args, prog_name: started.append((args, prog_name)))
    assert main(["explore", "--run", "demo", "--", "--server.port", "8600"]) == 0
    assert started == [(["run", "--server.port", "8600", eda_streamlit.__file__, "--", "--run", "demo"], "streamlit")]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_know_the_flags_of_every_stage(capsys, shell):
    pytest.importorskip("shtab")
    assert main(["--print_completion", shell]) == 0
    out = capsys.readouterr().out
    for word in ("prompts_json", "influence_metric", "ctx_idx", "runs_root", "migrate", "model_revision"):
        assert word in out, word


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("neuron-signatures du", "dump"),
        ("neuron-signatures dump --prompts", "--prompts_json"),
        ("neuron-signatures rank --mode infl", "influence"),
        ("neuron-signatures runs veri", "verify"),
    ],
)
def test_bash_completes_commands_flags_and_values(capsys, line, completed):
    pytest.importorskip("shtab")
    assert main(["--print_completion", "bash"]) == 0
    words = line.split()
    script = (
        capsys.readouterr().out
        + f"\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
        + f"_shtab_neuron_signatures {words[0]} {words[-1]} {words[-2]}\n"
        + 'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [completed], done.stderr
