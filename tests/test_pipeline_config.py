"""What a pipeline refuses before anything runs, with one line that names file, table and key."""

from __future__ import annotations

import json
import shlex

import pytest
from paths import ROOT
from pipeline_cases import EXPLAINED, RANKED, change, plan, run, write_config

from neuron_signatures import pipeline
from neuron_signatures.runs.errors import ExitCode
from neuron_signatures.steps.config import read_config
from neuron_signatures.steps.stages import STAGES
from neuron_signatures.steps.step import steps_of


def error_of(capsys) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ("[[rank]]\ntopk = 3", "[[rank]] 1: unknown key 'topk'; did you mean top_k?"),
        ("[[ranks]]", "unknown table 'ranks'; did you mean rank?"),
        ("colour = 1", "[dump]: unknown key 'colour'."),
        ("[dump]\nlimit = 2", "not valid TOML"),
        ("[[rank]]\ntop_k = 'many'", "[[rank]] 1: argument --top_k: 'many' is not a whole number"),
        ("[[rank]]\ntop_k = true", "[[rank]] 1: top_k: true is no value of this flag"),
        ("[[rank]]\nvalidate = 1", "[[rank]] 1: validate: 1 is neither true nor false"),
        ("[[rank]]\ntop_k = 1979-05-27", "[[rank]] 1: top_k: date is no value of a flag"),
        ("[[rank]]\n[[rank.top_k]]\nx = 1", "[[rank]] 1: top_k: a table is no value of a flag"),
        ("[[rank]]\nmode = 'peak'", "[[rank]] 1: argument --mode: invalid choice: 'peak'"),
        ("[[rank]]\n[[rank]]\nlayers = '0'", "[[rank]] 2: --layers: has no effect with --mode peaks"),
        ("[[rank]]\nrun_dir = 'x'", "[[rank]] 1: the pipeline sets 'run_dir' itself"),
        ("[records]\ncorpus = 'demo'\noverwrite = true", "[records]: the pipeline sets 'overwrite' itself"),
        ("[[records]]\ncorpus = 'demo'\n[[records]]", "[records] can be there once only"),
        ("[records]\ncorpus = 'no/such.txt'", "[records]: corpus = no/such.txt: there is no such file"),
        ("records = 3", "[dump]: unknown key 'records'"),
        ("[records]\ncorpus = 'demo'\ntop_k = 3", "[records]: --top_k counts the neurons of --from"),
        ("[[explain]]\nexplainer = 'highlighted'", "the explainer highlighted asks a language model"),
        ("[[explain]]", "has no records, which explain lookup reads"),
        ("[llm]\nmodell = 'x'", "[llm]: unknown key 'modell'"),
        ("[collect_skills]\nmode = 'compare'", "[collect_skills]: mode is that of the table"),
        ("[compare_skills]", "has no skills, which compare_skills reads"),
        ("[compare_skills]\ntexts = 'demo'", "[compare_skills]: --texts: has no effect with --mode compare"),
        ("[[circuit]]\ncases = 'no/such.json'", "[[circuit]] 1: cases = no/such.json: there is no such file"),
        ("[[circuit]]\nmax_nodes = 9\ncandidates = 3", "[[circuit]] 1: --candidates: 3 candidates are fewer"),
        ("[budget]\ncost = 3", "[budget]: unknown key 'cost'; did you mean max_cost?"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(tmp_path, capsys, tables, message):
    path = write_config(tmp_path, tables)
    assert run(path) == ExitCode.USAGE
    line = error_of(capsys)
    assert message in line and str(path) in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no run_dir"),
        ("run_dir = 3", "run_dir is 3, no path"),
        ("run_dir = 'runs/x'", "there is no table of a stage"),
        ("run_dir = 'runs/x'\nrank = 3", "rank is not a table"),
        ("run_dir = 'runs/x'\n[[rank]]", "has no manifest, which rank peaks reads. Add a table [dump]"),
        ("run_dir = 'runs/x'\nrun_dir = 'runs/y'", "not valid TOML"),
        (
            "run_dir = 'runs/x'\n[[score]]\nscorers = rule",
            '(at line 3, column 11)). Text needs quotes: scorers = "rule"',
        ),
        ("run_dir = 'runs/x'\n[[score]]\nscorers = rule, json # two", 'Text needs quotes: scorers = "rule, json"'),
        ("run_dir = runs/x\n[dump]\n", 'Text needs quotes: run_dir = "runs/x"'),
        ("run_dir = 'runs/x'\n[[rank]]\nvalidate = True\n", "Write validate = true"),
        ("run_dir = 'runs/x'\n[dump]\nprompts_json = 'no.json'", "prompts_json = no.json: there is no such file"),
        ("run_dir = 'runs/x'\n[dump]", "one of the arguments --prompts_json --single_prompt is required"),
    ],
)
def test_a_configuration_without_what_it_needs(tmp_path, capsys, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    assert run(path) == ExitCode.USAGE
    assert message in error_of(capsys)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give --config FILE"), (["--config", "no.toml"], "no such file"),
        (["my.toml"], "my.toml: no flag before this configuration. Use --config my.toml"),
        (["--dry_run", "my.toml"], "Use --config my.toml"),
    ],
)  # fmt: skip
def test_a_missing_configuration(capsys, flags, message):
    assert pipeline.main(flags) == ExitCode.USAGE
    assert message in error_of(capsys)


def test_a_stage_that_is_not_installed(tmp_path, capsys):
    missing = [s.table for s in STAGES if not s.exists]
    for table in missing:
        path = write_config(tmp_path, f"[{table}]")
        assert run(path) == ExitCode.USAGE
        assert f"this version has no stage {table}" in error_of(capsys)


def test_an_unknown_step_of_until(tmp_path, capsys):
    path = write_config(tmp_path, RANKED)
    assert run(path, "--until", "records") == ExitCode.USAGE
    assert "Steps: dump, rank peaks, rank contrast" in error_of(capsys)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path, capsys):
    path = write_config(tmp_path, RANKED, EXPLAINED)
    assert pipeline.main(["--config", str(path), "--dry_run"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "5 steps, 5 to run" in out
    assert (
        f"python -m neuron_signatures.poc2_analyze_run --run_dir={tmp_path}/run --mode=contrast '--a=tx_*@last'" in out
    )
    assert not (tmp_path / "run").exists()
    assert set(plan(path, capsys, "--until", "rank")) == {"dump", "rank peaks", "rank contrast"}


def flags_by_step(path) -> dict[str, list[str]]:
    return {s.name: list(s.flags[1:]) for s in steps_of(read_config(path))}


def test_shared_tables_go_to_the_stages_that_take_them(tmp_path):
    llm = '[llm]\nllm = "openai:gpt-4.1-mini"\nbase_url = "http://127.0.0.1:1/v1"\n[budget]\nmax_cost = 2.5\n'
    explain = '[[explain]]\nexplainer = "lookup"\n[[explain]]\nmax_cost = 1\n[[explain]]\nllm = "none"\n'
    rank = '[[rank]]\n[[rank]]\nmode = "influence"\n'
    found = flags_by_step(write_config(tmp_path, llm, rank, '[records]\ncorpus = "demo"\n', explain))
    assert found["rank peaks"] == []  # loads no model
    assert found["rank influence"] == ["--device=cpu", "--mode=influence"]
    assert found["records"] == ["--device=cpu", "--corpus=demo"]  # the rest is that of the run
    assert found["explain lookup"] == ["--explainer=lookup"]
    openai = ["--llm=openai:gpt-4.1-mini", "--base_url=http://127.0.0.1:1/v1"]
    assert found["explain highlighted__gpt-4.1-mini"] == [*openai, "--max_cost=1"]
    assert found["explain lookup #2"] == ["--llm=none"]


def test_scorers_that_ask_no_model_get_no_flags_of_one(tmp_path):
    llm = '[llm]\nllm = "openai:gpt-4.1-mini"\n[budget]\nmax_requests = 9\n[records]\ncorpus = "demo"\n'
    explain = '[[explain]]\nexplainer = "lookup"\n[[explain]]\nset = "other"\n'
    score = '[[score]]\nscorers = "rule"\nsets = "lookup"\n[[score]]\nscorers = ["json", "rule"]\n'
    path = write_config(tmp_path, llm, explain, score)
    found = flags_by_step(path)
    assert found["score lookup rule"] == ["--scorers=rule", "--sets=lookup"]
    assert found["score json,rule"] == ["--llm=openai:gpt-4.1-mini", "--max_requests=9", "--scorers=json,rule"]
    needs = {s.name: s.needs for s in steps_of(read_config(path))}
    assert needs["score json,rule"] == ("records", "explain lookup", "explain other")


def test_records_without_prompts_make_the_run(tmp_path):
    path = tmp_path / "pipeline.toml"
    path.write_text('run_dir = "x"\n[model]\nmodel_name = "demo"\nmodel_dtype = "fp32"\n[records]\ncorpus = "demo"\n')
    (step,) = steps_of(read_config(path))
    assert step.flags == ("--out_dir=x", "--model_name=demo", "--model_dtype=fp32", "--corpus=demo")


def test_circuits_come_after_what_names_their_neurons(tmp_path):
    (tmp_path / "cases.json").write_text("[]")
    circuits = (
        "[[circuit]]\nprompt_id = 'tx_1'\nmax_memory = '1GB'\nexport = 'not/there/yet'\n"
        f"[[circuit]]\ncases = '{tmp_path}/cases.json'\nreference = 'records'\n"
    )
    path = write_config(tmp_path, circuits, EXPLAINED, "[[rank]]\n")
    first, second = [step for step in steps_of(read_config(path)) if step.stage.table == "circuit"]
    assert first.name == "circuit tx_1" and first.needs == ("dump", "rank peaks", "explain lookup")
    assert first.flags[1:] == ("--device=cpu", "--prompt_id=tx_1", "--max_memory=1GB", "--export=not/there/yet")
    assert "max_memory" not in first.in_results and set(second.paths) == {"cases"}
    assert "records" in second.needs


def test_values_become_flags(tmp_path):
    records = '[records]\ncorpus = "demo"\nneuron_indices = [1, 2]\nparts = [50, 20, 30]\nconcatenate = false\n'
    rank = '[[rank]]\nmode = "influence"\ntarget_pos = -1\ntarget_token = " Austin"\nvalidate = true\n'
    found = flags_by_step(write_config(tmp_path, rank, records))
    assert found["rank influence"][2:] == ["--target_pos=-1", "--target_token= Austin", "--validate"]
    assert found["records"] == [
        "--device=cpu", "--corpus=demo", "--neuron_indices", "1", "2", "--parts=50,20,30",
    ]  # fmt: skip


def test_steps_run_after_those_that_they_read(tmp_path):
    rank = '[[rank]]\nmode = "influence"\nreference = "records"\n[[rank]]\n'
    steps = steps_of(read_config(write_config(tmp_path, rank, '[records]\ncorpus = "demo"\nfrom = "peaks"\n')))
    assert [s.name for s in steps] == ["dump", "rank peaks", "records", "rank influence"]
    needs = {s.name: s.needs for s in steps}
    assert needs["records"] == ("dump", "rank peaks") and needs["rank influence"] == ("dump", "records")


@pytest.mark.parametrize("name", ["demo", "smollm2"])
def test_the_configurations_in_the_docs_are_valid(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    tables = {s.stage.table for s in steps_of(read_config(ROOT / "docs" / "pipelines" / f"{name}.toml"))}
    assert tables >= {"dump", "rank", "records", "explain", "intervene"}


def test_the_printed_example_is_valid(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert pipeline.main(["--print_example"]) == ExitCode.OK
    path = tmp_path / "example.toml"
    path.write_text(capsys.readouterr().out)
    assert [s.stage.table for s in steps_of(read_config(path))][:2] == ["dump", "rank"]
    change(path, "# [llm]", "[llm]")  # and what is commented out
    text = path.read_text()
    for line in (
        "# llm =",
        "# base_url",
        "# [budget]",
        "# max_",
        "# [[explain]]",
        "# explainer =",
        "# from",
        "# top_k",
    ):
        assert line in text
        text = text.replace(line, line[2:])
    path.write_text(text)
    assert "explain highlighted__gpt-4.1-mini" in [s.name for s in steps_of(read_config(path))]


# The commands of the demo, without Python and the flags that only say how much is printed. They are also those in docs.
DEMO = """
poc1_dump_activations --out_dir runs/demo --model_name demo --model_dtype fp32 --device cpu --prompts_json docs/probe_prompts_list.json
poc2_analyze_run --run_dir runs/demo
poc2_analyze_run --run_dir runs/demo --mode signatures
poc2_analyze_run --run_dir runs/demo --mode contrast --a 'concepts=capital@token: is' --rank_by difference
poc2_analyze_run --run_dir runs/demo --mode influence --prompt_id 0 --target_mode top1_logit --target_pos -1 --influence_metric act_grad --cumulative_threshold 0.8
poc2_analyze_run --run_dir runs/demo --mode influence --prompt_id probe_1_Austin --influence_metric dla --target_mode last_token
poc2_analyze_run --run_dir runs/demo --mode influence --prompt_id probe_1_Austin --influence_metric act_grad --target_mode next_token --target_token " Austin" --target_pos -1
poc2_analyze_run --run_dir runs/demo --mode influence --prompt_id seed_prompt --target_mode next_token --target_token " Austin" --influence_metric all --validate --write_scores 5
poc2_analyze_run --run_dir runs/demo --mode write_scores
poc4_extract_records --run_dir runs/demo --corpus demo --max_tokens 12000 --top_records 20
poc5_explain_neurons --run_dir runs/demo --explainer lookup
poc3_intervene --run_dir runs/demo --mode swap --prompt_id seed_prompt --source_text "The capital of the state containing Oakland is"
"""  # noqa: E501


def test_the_demo_has_its_steps(monkeypatch):
    """They make what the pages quote."""
    monkeypatch.chdir(ROOT)
    steps = steps_of(read_config(ROOT / "docs" / "pipelines" / "demo.toml"))
    found = {s.stage.module: [] for s in steps}
    for step in steps:
        found[step.stage.module].append(vars(step.stage.parser().parse_args(list(step.flags))) | {"device": None})
    for line in DEMO.strip().splitlines():
        module, *flags = shlex.split(line)
        parser = next(s.stage for s in steps if s.stage.module == module).parser()
        assert vars(parser.parse_args(flags)) | {"device": None} in found[module], line


def test_the_summary_is_one_line_of_json(tmp_path, capsys):
    path = write_config(tmp_path, RANKED)
    assert pipeline.main(["--config", str(path), "--dry_run", "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert found["ran"] is False and [s["action"] for s in found["steps"]] == ["new"] * 3
