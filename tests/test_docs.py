"""Every path, link, flag, command, field, variable and exit code that the documents name exists."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
from pathlib import Path

import pytest
from paths import ROOT

from neuron_signatures import __main__ as console
from neuron_signatures import (
    doctor,
    eda_streamlit,
    pipeline,
    poc1_browse_activations,
    poc1_dump_activations,
    poc2_analyze_run,
    poc3_intervene,
    poc4_extract_records,
    poc5_explain_neurons,
    poc6_score_explanations,
    poc7_compare_skills,
    poc8_weights,
    poc9_compare_runs,
    poc10_trace_circuit,
    report,
    search_neurons,
    serve,
)
from neuron_signatures.cli import exchange_explanations, exchange_records
from neuron_signatures.cli.corpus_analysis import clusters, contrast, meanings, ngrams, similar
from neuron_signatures.cli.explain_people import PEOPLE_COMMANDS, people_parser
from neuron_signatures.cli.score_tables import compare_parser, summary_parser
from neuron_signatures.models import __main__ as models_main
from neuron_signatures.runs import __main__ as runs_main
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.runs.manifest import Manifest, PromptRecord
from neuron_signatures.runs.run import Run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PARSERS = {
    "neuron_signatures": console.make_parser,
    "neuron_signatures.poc1_browse_activations": poc1_browse_activations.make_parser,
    "neuron_signatures.poc1_dump_activations": poc1_dump_activations.make_parser,
    "neuron_signatures.poc2_analyze_run": poc2_analyze_run.make_parser,
    "neuron_signatures.poc3_intervene": poc3_intervene.make_parser,
    "neuron_signatures.poc4_extract_records": poc4_extract_records.make_parser,
    "neuron_signatures.poc5_explain_neurons": poc5_explain_neurons.make_parser,
    "neuron_signatures.pipeline": pipeline.make_parser,
    "neuron_signatures.poc6_score_explanations": poc6_score_explanations.make_parser,
    "neuron_signatures.poc7_compare_skills": poc7_compare_skills.make_parser,
    "neuron_signatures.poc8_weights": poc8_weights.make_parser,
    "neuron_signatures.poc9_compare_runs": poc9_compare_runs.make_parser,
    "neuron_signatures.poc10_trace_circuit": poc10_trace_circuit.make_parser,
    "neuron_signatures.report": report.make_parser,
    "neuron_signatures.search_neurons": search_neurons.make_parser,
    "neuron_signatures.serve": serve.make_parser,
    "neuron_signatures.doctor": doctor.make_parser,
    "neuron_signatures.runs": runs_main.make_parser,
    "neuron_signatures.models": models_main.make_parser,
    "neuron_signatures/eda_streamlit.py": eda_streamlit.make_parser,
}
# Commands of a stage beside its own flags.
COMMANDS = {
    "neuron_signatures.poc4_extract_records": {
        "export": exchange_records.export_parser, "import": exchange_records.import_parser,
        "similar": similar.make_parser, "clusters": clusters.make_parser, "meanings": meanings.make_parser,
        "ngrams": ngrams.make_parser, "contrast": contrast.make_parser,
    },
    "neuron_signatures.poc5_explain_neurons": {
        "export": exchange_explanations.export_parser, "import": exchange_explanations.import_parser,
        **{command: functools.partial(people_parser, command) for command in PEOPLE_COMMANDS},
    },
    "neuron_signatures.search_neurons": search_neurons.COMMANDS,
    "neuron_signatures.poc6_score_explanations": {"summary": summary_parser, "compare": compare_parser},
}  # fmt: skip
# Flags of other programs that the pages use.
FOREIGN = {
    "--exclude", "--no-deps", "--help", "--server", "--dist", "--export", "--gres", "--array", "--dependency",
    "--kill-on-invalid-dep", "--parsable", "--signal", "--head", "--node-ip-address", "--address",
    "--include-dashboard", "--include-log-monitor", "--disable-usage-stats", "--generate",
    "--host", "--port", "--dtype", "--build-arg", "--force-reinstall", "--gpus", "--mem", "--rm", "--target",
}  # fmt: skip


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands() -> list[tuple[str, str]]:
    """Every `python -m neuron_signatures...` with arguments, in code blocks and inline code, quoted or not."""
    found = []
    for page in PAGES:
        for match in re.finditer(r"python(?:3)? -m (neuron_signatures[\w.]*)([^`\n]*)", text_of(page)):
            arguments = re.split(r" \| | > |#", match[2])[0].rstrip()
            found.append((match[1], arguments[: arguments.rindex('"')] if arguments.count('"') % 2 else arguments))
        for match in re.finditer(r"streamlit run (neuron_signatures/\w+\.py)(?: -- ([^`\n]*))?", text_of(page)):
            found.append((match[1], match[2] or ""))
    return found


def test_commands_are_found():
    assert len(commands()) > 15
    assert ("neuron_signatures/eda_streamlit.py", "--runs_root runs --run demo") in commands()


@pytest.mark.parametrize(("module", "arguments"), commands())
def test_every_command_parses(module, arguments):
    assert module in PARSERS, module
    tokens = shlex.split(arguments)
    if tokens and not any(re.fullmatch(r"[A-Z_]+|NAME|RUN|.*\$.*", t) for t in tokens):
        if "--single_prompt" not in tokens and "--prompts_json" not in tokens and "poc1_dump" in module:
            tokens += ["--single_prompt", "x"]
        if tokens[0] in COMMANDS.get(module, {}):
            COMMANDS[module][tokens[0]]().parse_args(tokens[1:])
            return
        PARSERS[module]().parse_args(tokens)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_flag_exists(page):
    known = set(FOREIGN)
    for make in (*PARSERS.values(), *(make for made in COMMANDS.values() for make in made.values())):
        known |= flags_of(make())
    for script in (ROOT / "scripts").glob("*.py"):
        known |= set(re.findall(r'"(--[a-z_]+)"', script.read_text()))
    named = {f.replace("-", "_").replace("__", "--", 1) for f in re.findall(r"(?<![\w-])--[a-z][\w-]*", text_of(page))}
    assert named <= {f.replace("-", "_").replace("__", "--", 1) for f in known}


def flags_of(parser) -> set[str]:
    found = {s for s in parser._option_string_actions if s.startswith("--")}
    for action in parser._actions:
        for sub in getattr(action, "choices", None) or {}:
            if hasattr(action.choices, "values"):
                found |= flags_of(action.choices[sub])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_path_and_link_exists(page):
    text = text_of(page)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
    for path in re.findall(r"(?:docs|scripts|tests|neuron_signatures)/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target


def test_the_readme_file_map_is_complete():
    text = text_of(ROOT / "README.md")
    for path in (ROOT / "neuron_signatures").iterdir():
        if path.name[0] not in "_." and path.suffix != ".typed":
            assert f"  {path.name}" in text, path.name


@pytest.mark.parametrize(
    ("page", "stage"),
    [
        ("browse.md", poc1_browse_activations),
        ("explore.md", eda_streamlit),
        ("poc1.md", poc1_dump_activations),
        ("poc2.md", poc2_analyze_run),
        ("poc5.md", poc5_explain_neurons),
        ("pipeline.md", pipeline),
        ("poc6.md", poc6_score_explanations),
        ("poc7.md", poc7_compare_skills),
        ("poc8.md", poc8_weights),
        ("poc9.md", poc9_compare_runs),
        ("poc10.md", poc10_trace_circuit),
        ("report.md", report),
        ("serve.md", serve),
    ],
)
def test_every_flag_of_a_stage_is_documented(page, stage):
    text = text_of(ROOT / "docs" / page)
    for flag in flags_of(stage.make_parser()) - {"--help"}:
        assert f"`{flag}" in text, flag


def test_every_field_of_the_manifest_is_documented():
    text = text_of(ROOT / "docs" / "run-format.md")
    for field in [*Manifest.model_fields, *PromptRecord.model_fields]:
        assert f"`{field}`" in text, field


def test_exit_codes_are_documented():
    text = text_of(ROOT / "docs" / "poc1.md")
    assert {int(n) for n in re.findall(r"^\| (\d+) \|", text, re.M)} == {int(code) for code in ExitCode}


@pytest.mark.parametrize(
    ("script", "heading", "stage"),
    [
        ("poc1_dump_activations", "Stage 1", poc1_dump_activations),
        ("extract_neuron_records", "Stage 4", poc4_extract_records),
    ],
)
def test_variables_and_flags_of_the_slurm_jobs(script, heading, stage):
    job = (ROOT / "scripts" / f"{script}.sbatch").read_text()
    table = text_of(ROOT / "docs" / "remote.md").split(f"\n### {heading}\n")[1].split("\n#")[0]
    read = set(re.findall(r"\$\{([A-Z_]+):-", job + (ROOT / "scripts" / "stage_in_slurm.sh").read_text()))
    assert set(re.findall(r"`([A-Z_]+)[`=]", table)) == {name for name in read if not name.startswith("SLURM_")}
    for flag in re.findall(r"--[a-z_]+", job.split("set -uo pipefail")[1].split("scripts/stage_in_slurm.sh", 1)[1]):
        assert flag in flags_of(stage.make_parser()) | {"--array"}, flag


def makefile_steps(target: str) -> list[list[str]]:
    """The arguments of every call of Python in a rule of the Makefile and in the rule of what it installs."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    variables = dict(re.findall(r"^(\w+) := (.*)$", text, re.M))
    steps = []
    head, body = re.search(rf"^{re.escape(target)}:(.*)\n((?:\t.*\n)+)", text, re.M).groups()
    if installed := re.search(r"\.installed\S*", head):
        steps += makefile_steps(f"$(VENV)/{installed[0]}")
    for line in body.splitlines():
        for name in ("PYTEST", "BIN", "RUN", "REAL_RUN", "VENV"):
            line = line.replace(f"$({name})", variables[name].replace("$(BIN)", "BIN").replace("$(VENV)", "VENV"))
        if called := re.match(r"\t\S+/python (.*)", line):
            steps.append([a for a in shlex.split(called[1]) if not (a == "--quiet" and "pip install" in called[1])])
    return steps


def windows_steps(heading: str) -> list[list[str]]:
    section = text_of(ROOT / "docs" / "windows.md").split(f"## {heading}\n")[1].split("\n## ")[0]
    block = section.split("```powershell\n")[1].split("```")[0]
    return [shlex.split(line.split("python ", 1)[1]) for line in block.splitlines() if "Scripts\\python" in line]


@pytest.mark.parametrize(("target", "heading"), [("demo", "The demo"), ("demo-real", "The real model")])
def test_the_steps_on_windows_are_those_of_the_makefile(target, heading):
    """`make demo-real` also installs what `make demo` does, which the page has before."""
    steps = makefile_steps(target)
    before = makefile_steps("$(VENV)/.installed") if target == "demo-real" else []
    assert len(steps) > 2 and steps[: len(before)] == before
    assert windows_steps(heading) == steps[len(before) :]


def test_the_tests_on_windows_are_those_of_the_makefile():
    assert windows_steps("The tests") == makefile_steps("test")[len(makefile_steps("$(VENV)/.installed")) :]


SEED_COMMANDS = [
    "--prompts_json docs/probe_prompts_list.json --out_dir runs/poc1_test",
    '--single_prompt "The capital of Texas is" --out_dir runs/poc1_smoke',
]


@pytest.mark.parametrize("arguments", SEED_COMMANDS)
def test_the_first_documented_commands_work_on_the_demo_model(tmp_path, monkeypatch, arguments):
    assert f"poc1_dump_activations {arguments}" in text_of(ROOT / "docs" / "poc1.md")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    assert poc1_dump_activations.main([*shlex.split(arguments), "--model_name", "demo", "--quiet"]) == 0
    run_dir = tmp_path / shlex.split(arguments)[-1]
    run = Run.open(run_dir, check="sha256")
    counted = sum('"probe_id"' in line for line in (run_dir / "manifest.json").read_text().splitlines())
    assert counted == len(run.prompts) > 0
    assert run.manifest.model_dtype == run.manifest.save_dtype == "bf16"
    if counted > 1:
        assert {"seed_prompt", "probe_1_Austin"} <= {p.probe_id for p in run.prompts}
