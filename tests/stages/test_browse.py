"""The stage without a terminal: flags, exit codes, locales, imports."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from tui_pilot import DEMO

from neuron_signatures.poc1_browse_activations import main


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--run_dir", "nowhere"], 3, "there is no such run folder"),
        (["--runs_root", "nowhere"], 2, "there is no such folder of runs"),
        (["--run_dir", str(DEMO), "--runs_root", "x"], 2, "not allowed with"),
        (["--run_dir", str(DEMO), "--prompt_idx", "0", "--prompt_id", "x"], 2, "not allowed with"),
        (["--run_dir", str(DEMO), "--window", "3", "--all_tokens"], 2, "not allowed with"),
        (["--run_dir", str(DEMO), "--print", "xml"], 2, "invalid choice"),
        (["--run_dir", str(DEMO), "--screen", "nothing"], 2, "invalid choice"),
        (["--run_dir", str(DEMO), "--screen", "runs"], 2, "give --runs_root"),
        (["--layer", "3"], 2, "--layer needs --run_dir"),
        (["--run_dir", str(DEMO), "--query", "x"], 2, "--query needs"),
        (["--run_dir", str(DEMO), "--list", "x"], 2, "--list needs"),
        (["--run_dir", str(DEMO), "--limit", "3"], 2, "--limit needs --print"),
        (["--run_dir", str(DEMO), "--window", "0"], 2, "is below 1"),
        (["--run_dir", str(DEMO), "--layer", "2", "--print"], 2, "layer 2 is not stored"),
        (["--run_dir", str(DEMO), "--neuron", "512", "--print"], 2, "there is no neuron 512"),
        (["--run_dir", str(DEMO), "--ctx_idx", "-10", "--print"], 2, "there is no token -10"),
        (["--run_dir", str(DEMO), "--prompt_idx", "8", "--print"], 2, "prompt index 8"),
        (["--run_dir", str(DEMO), "--prompt_id", "\x1b[31m", "--print"], 2, "no prompt"),
        (["--run_dir", str(DEMO), "--screen", "search", "--print"], 2, "--query"),
        (["--run_dir", str(DEMO), "--screen", "peaks", "--list", "x", "--print"], 2, "no peaks list 'x'"),
        (["--run_dir", str(DEMO)], 2, "--print"),  # under pytest there is no terminal
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and said in err and "\x1b" not in err


def run_stage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "neuron_signatures.poc1_browse_activations", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=False)


def test_print_in_poor_locales_has_no_unicode_error():
    for encoding, bar in (("cp1252", b"#"), ("ascii", b"#"), ("utf-8", "█".encode())):
        done = run_stage("--run_dir", str(DEMO), "--print", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
        assert done.returncode == 0 and done.stderr == b"" and bar in done.stdout
    done = run_stage(
        "--run_dir", str(DEMO), "--print", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", NO_COLOR="1"
    )
    assert done.returncode == 0 and b"\x1b" not in done.stdout


def test_print_into_head_ends_quietly():
    stage = f"{sys.executable} -m neuron_signatures.poc1_browse_activations"
    command = f"{stage} --run_dir {DEMO} --screen peaks --print --limit 0"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, check=False)
    assert done.stdout == b"peaks over 8 prompts\n" and done.stderr == b"" and done.returncode == 141


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from neuron_signatures.poc1_browse_activations import make_parser; make_parser().format_help();"
        "print({'numpy', 'torch', 'textual', 'pydantic', 'pandas', 'pyarrow', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"set()\n"


def test_the_first_frame_needs_none_of_the_heavy_libraries():
    code = (
        "import sys, neuron_signatures.poc1_browse_activations as stage, neuron_signatures.tui.app as a\n"
        "from neuron_signatures.tui.options import Options\n"
        "seen = []\n"
        "def look(what):\n"
        "    seen.append((what, sorted({'numpy', 'pydantic', 'pyarrow', 'pandas', 'torch'} & set(sys.modules))))\n"
        f"app = a.BrowseApp(Options(run_dir=__import__('pathlib').Path({str(DEMO)!r})), on_paint=look)\n"
        "async def leave(pilot):\n"
        "    while len(seen) < 2: await pilot.pause(0.02)\n"
        "    app.exit()\n"
        "app.run(headless=True, auto_pilot=leave)\n"
        "print(seen)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    frame, data = ast.literal_eval(done.stdout.decode())
    assert frame == ("frame", []) and "torch" not in data[1]  # the list that it opens on needs pyarrow
