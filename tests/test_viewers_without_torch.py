"""The viewers run where the model libraries are not installed, and a stage that needs them ends with one line."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from paths import DEMO_RUN, ROOT
from run_folders import write_run

BLOCKED = ("torch", "transformers", "transformer_lens", "safetensors", "tokenizers", "huggingface_hub", "accelerate")
PRELUDE = f"""
import sys

class Blocked:
    names = {BLOCKED}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run_blocked(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python that cannot import the model libraries."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *args], capture_output=True, text=True, check=False, cwd=ROOT
    )


def run_command(*args: str) -> subprocess.CompletedProcess[str]:
    return run_blocked("from neuron_signatures.__main__ import main; sys.exit(main())", *args)


def test_the_libraries_are_blocked():
    code = """
import importlib
for name in (*Blocked.names, "safetensors.torch"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)
"""
    assert run_blocked(code).returncode == 0


def test_the_browser_and_the_tools_run():
    browse = ["browse", "--run_dir", str(DEMO_RUN), "--print", "text", "--screen"]
    argvs = [[*browse, screen] for screen in ("browser", "prompts", "peaks", "influence", "signatures")]
    argvs += [[*browse, "search", "--query", "Austin", "--by", "prompts"]]
    argvs += [["runs", "show", str(DEMO_RUN)], ["runs", "verify", str(DEMO_RUN)], ["models", "--list"]]
    code = f"from neuron_signatures.__main__ import main\nfor argv in {argvs}: assert main(argv) == 0, argv"
    done = run_blocked(code)
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr


@pytest.mark.slow
def test_the_explorer_renders():
    script = ROOT / "neuron_signatures" / "eda_streamlit.py"
    code = """
from streamlit.testing.v1 import AppTest

script, root, name, *views = sys.argv[1:]
sys.argv = [script, "--runs_root", root, "--run", name]
for view in views:
    page = AppTest.from_file(script, default_timeout=60)
    page.query_params["view"] = view
    page.run()
    assert not page.exception and not page.error, (view, page.exception, page.error)
    assert len(page.main.children) > 1, view
"""
    views = ("overview", "neuron", "ranking", "signatures", "map")
    done = run_blocked(code, str(script), str(DEMO_RUN.parent), DEMO_RUN.name, *views)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ("dump", "--single_prompt", "x", "--dry_run"),
        ("rank", "--mode", "influence", "--run_dir", "RUN"),
        ("models", "--info", "demo"),
    ],
)
def test_a_stage_that_needs_a_model_names_the_command_to_install_it(tmp_path, argv):
    run = shutil.copytree(DEMO_RUN, tmp_path / "run")
    done = run_command(*(str(run) if word == "RUN" else word for word in argv))
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "pip install neuron-signatures[models]" in done.stderr


def test_a_run_of_pickled_tensors_is_read(tmp_path):
    run = write_run(tmp_path / "run", save_format="pt")
    code = "from neuron_signatures.runs.run import Run; print(Run.open(sys.argv[1]).acts('first', layer=1).shape)"
    done = run_blocked(code, str(run))
    assert done.stdout == "(4, 5)\n", done.stderr
