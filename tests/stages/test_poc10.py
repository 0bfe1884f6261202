"""`poc10_trace_circuit` end to end: its folder, its sums, several prompts, resuming, and its commonest mistakes."""

from __future__ import annotations

import functools
import json
import shutil
import signal
from collections import defaultdict
from pathlib import Path

import pytest
from exchange_cases import edited, foreign_file

from neuron_signatures.circuits import parts
from neuron_signatures.circuits import trace as tracing
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc10_trace_circuit import main
from neuron_signatures.runs.circuits.exchange.from_json import import_graph
from neuron_signatures.runs.circuits.folder import CHECKS, COMMON, CURVES, TABLES, TRACE, circuit_folder, list_circuits
from neuron_signatures.runs.circuits.groups import read_groups
from neuron_signatures.runs.circuits.reader import read_circuit
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.verify import verify_run

FAST = ("--max_nodes", "8", "--candidates", "30", "--device", "cpu", "--min_mean_tokens", "20")
AUSTIN = ("--prompt_id", "seed_prompt", "--target_token", " Austin", "--foil_token", " Phoenix")
TWIN, OTHER = "oakland", "houston"
PROMPTS = {
    "seed_prompt": "The capital of the state containing Dallas is",
    TWIN: "The capital of the state containing Oakland is",
    OTHER: "The capital of the state containing Houston is", "long": "The city of Houston is in the state",
    "text": "entity: The capital city of California is Sacramento", "short": "The capital of Texas is Austin",
}  # fmt: skip


def call(run_dir: Path, *flags: object) -> int:
    return main(["--run_dir", str(run_dir), *(FAST if "--import" not in flags else ()), *map(str, flags)])


def refused(capsys, run_dir: Path, *flags: object, code: int = 2) -> str:
    capsys.readouterr()
    assert call(run_dir, *flags, "--quiet") == code
    *warnings, error = capsys.readouterr().err.splitlines()
    assert all("reference" in warning for warning in warnings)
    return str(error)


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """Of the null of the groups, which is tested elsewhere and takes most of the time here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "suggest_for", functools.partial(parts.suggest_for, n_draws=5))
        yield


@pytest.fixture(scope="module")
def dumped(tmp_path_factory) -> Path:
    """A run of the demo model with all layers."""
    folder = tmp_path_factory.mktemp("circuits")
    (folder / "prompts.json").write_text(json.dumps([{"id": key, "text": text} for key, text in PROMPTS.items()]))
    flags = ["--prompts_json", folder / "prompts.json", "--out_dir", folder / "run", "--model_dtype", "fp32"]
    assert dump(["--model_name", "demo", "--device", "cpu", *map(str, flags), "--quiet"]) == 0
    return Path(folder / "run")


@pytest.fixture
def run_dir(dumped, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(dumped, tmp_path / "run"))


@pytest.fixture(scope="module")
def made(dumped, tmp_path_factory) -> Path:
    """A copy with a circuit that has everything."""
    folder = tmp_path_factory.mktemp("made")
    run_dir = Path(shutil.copytree(dumped, folder / "run"))
    assert call(run_dir, *AUSTIN, "--name", "austin", "--heads", "--measure", 5, "--export", folder / "files") == 0
    return run_dir


def content(run_dir: Path, name: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (run_dir / "circuits" / name).glob("*.parquet")}


def cases(tmp_path: Path, *entries: dict) -> Path:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(entries))
    return path


def test_edges_in_the_tables_sum_to_the_activations_and_to_the_target(made):
    folder = circuit_folder("austin")
    edges, nodes = folder.read_table(made, "edges"), folder.read_table(made, "nodes").set_index("id")
    sums = edges.groupby("target")["weight"].sum()
    with_inputs = nodes[nodes["incoming_abs"].notna()]
    assert set(sums.index) == set(with_inputs.index) and set(with_inputs["kind"]) == {"neuron", "target"}
    error = (sums - with_inputs["activation"]).abs() / with_inputs["incoming_abs"]
    assert error.max() < 1e-5
    prompt = read_circuit(made, "austin").graph.prompt
    target = nodes[nodes["kind"] == "target"].iloc[0]
    assert target["activation"] == pytest.approx(prompt.value, rel=1e-5)
    assert target["incoming_abs"] >= target["shown_abs"] + target["rest_abs"] > 0


def test_the_circuit_that_is_read(made):
    found = read_circuit(made, "austin")
    graph, prompt = found.graph, found.graph.prompt
    assert (prompt.prompt_id, prompt.target, prompt.foil) == ("seed_prompt", " Austin", " Phoenix")
    assert len(prompt.tokens) == prompt.target_pos + 1 and prompt.target_probability > 0.9
    kinds = defaultdict(list)
    for node in graph.nodes:
        kinds[node.kind].append(node)
    assert len(kinds["neuron"]) == 8 and len(kinds["embedding"]) == len(prompt.tokens)
    assert len(kinds["target"]) == len(kinds["constant"]) == 1 and kinds["rest"]
    for node in kinds["neuron"]:
        assert node.label and node.promotes and None not in (node.score, node.effect, node.reference)
    between = {n.id for n in (*kinds["neuron"], *kinds["embedding"])}
    assert all((edge.total is not None) == (edge.source in between) for edge in graph.edges)
    assert sum(node.measured is not None for node in kinds["neuron"]) >= 5
    ablated = {node.id for node in kinds["neuron"] if node.measured is not None}
    assert all((edge.measured is not None) == (edge.source in ablated) for edge in graph.edges)
    assert graph.heads and {h.source for h in graph.heads} <= between
    assert all((edge.other_heads is not None) == (edge.source in between) for edge in graph.edges)


def test_the_record(made):
    record = circuit_folder("austin").read_record(made, TRACE)
    assert record.settings["prompt_id"] == "seed_prompt" and record.settings["max_nodes"] == 8
    assert record.settings["reference"] == "mean" and record.settings["candidates"] == 30
    assert record.settings["model_dtype"] == "fp32" and record.settings["held_out"] is False
    facts = record.facts
    assert facts["n_neurons"] == 8 and facts["n_candidates"] == 30
    assert 0 < facts["shown_share_singly"] <= facts["shown_share"] < 1
    assert 0 < facts["replacement"] < facts["completeness"] < 1
    assert set(facts["seconds"]) == {"trace", "labels", "total_effects", "heads", "measure", "groups"}
    assert any("position 0" in warning for warning in record.warnings)
    assert {f.name for f in record.files} >= {"nodes.parquet", "edges.parquet", "heads.parquet", "graph.json"}
    assert verify_run(made).faults == []


def test_the_graph_file_the_export_and_back(made, tmp_path, capsys):
    own = import_graph(made / "circuits" / "austin" / "graph.json").graph
    assert own == import_graph(made.parent / "files" / "austin.json").graph
    run_dir = Path(shutil.copytree(made, tmp_path / "run"))
    assert call(run_dir, "--import", made.parent / "files" / "austin.json", "--name", "again") == 0
    assert "written" in capsys.readouterr().out
    assert read_circuit(run_dir, "again").graph == own
    assert len(own.edges) == len(read_circuit(made, "austin").graph.edges)
    assert read_groups(run_dir, "again").groups == read_groups(run_dir, "austin").groups
    assert "there is a circuit" in refused(capsys, run_dir, "--import", made.parent / "files" / "austin.json")
    assert "--measure" in refused(capsys, run_dir, "--import", "x.json", "--measure", 2)


def test_what_is_printed(made, capsys):
    before = content(made, "austin")
    flags = (*AUSTIN, "--name", "austin", "--heads", "--measure", 5)
    assert call(made, *flags) == 0
    captured = capsys.readouterr()
    assert "circuit austin is finished" in captured.err and content(made, "austin") == before
    for text in ("'·Austin' against '·Phoenix'", "8 neurons of 30 candidates", "replacement", "strongest path of each",
                 "plain gradient: Pearson", "groups"):  # fmt: skip
        assert text in captured.out, text
    assert call(made, *flags, "--json", "--quiet") == 0
    (circuit,) = json.loads(capsys.readouterr().out)["circuits"]
    assert all(one["pearson"] is not None for one in circuit["facts"]["measured"] if one["n"] > 2)
    assert circuit["name"] == "austin" and not circuit["new"] and len(circuit["strongest"]) == 8


def test_numbers_that_an_imported_circuit_lacks_are_dashes(run_dir, tmp_path, capsys):
    assert call(run_dir, "--import", foreign_file(tmp_path / "cat.json")) == 0
    out = capsys.readouterr().out
    assert "target   '·cat' at position 1: -, probability 0.700" in out
    first, second = (next(line.split() for line in out.splitlines() if name in line) for name in ("L0N7", "L2N5"))
    assert first[3:9] == ["score", "-", "act", "+3.500", "(ref", "-)"]
    assert second[3:7] == ["score", "-", "act", "-"]
    assert "+0.000" not in out
    nameless = edited(foreign_file(tmp_path / "dog.json"), lambda c: c["nodes"][-1].update(clerp="x", token_prob=None))
    assert call(run_dir, "--import", nameless, "--name", "nameless") == 0
    assert "probability -" in capsys.readouterr().out
    assert read_circuit(run_dir, "nameless").graph.prompt.target_probability is None


@pytest.mark.slow
def test_the_same_command_writes_the_same_and_other_settings_trace_again(run_dir, capsys):
    assert call(run_dir, *AUSTIN) == 0
    (name,) = list_circuits(run_dir)
    assert name.startswith("seed_prompt_pos") and "_foil" in name
    before = content(run_dir, name)
    assert call(run_dir, *AUSTIN, "--overwrite") == 0 and content(run_dir, name) == before
    capsys.readouterr()
    assert call(run_dir, *AUSTIN, "--node_share", 0.3) == 0
    assert "another node_share" in capsys.readouterr().err and content(run_dir, name) != before
    assert list_circuits(run_dir) == [name]


def test_what_a_circuit_has_is_not_lost_to_a_plainer_command(made, capsys):
    before = content(made, "austin")
    assert call(made, *AUSTIN, "--name", "austin") == 0  # without --heads and --measure
    captured = capsys.readouterr()
    assert "circuit austin is finished" in captured.err and content(made, "austin") == before
    (line, *_) = [line for line in captured.out.splitlines() if line.startswith("  L")]
    assert "score" in line and "measured" in line and "precision" not in captured.out
    other = ("--prompt_id", OTHER, "--target_token", " Austin", "--name", "austin")
    assert "holds the circuit of another prediction" in refused(capsys, made, *other)
    assert content(made, "austin") == before


@pytest.mark.slow
def test_groups_of_people_stay(run_dir):
    assert call(run_dir, *AUSTIN, "--name", "a") == 0
    path = run_dir / "circuits" / "a" / "groups.json"
    path.write_text('{"pinned": ["C"]}')
    assert call(run_dir, *AUSTIN, "--name", "a", "--overwrite") == 0
    assert read_groups(run_dir, "a").pinned == ("C",) and read_groups(run_dir, "a").origin == "person"
    checked = verify_run(run_dir)
    assert not checked.faults and not [r for r in checked.remarks if "groups" in r]
    path.write_text("[")
    assert any("groups.json" in fault for fault in verify_run(run_dir).faults)


@pytest.mark.parametrize("heads", [[], ["--heads"]])
def test_a_forecast_knows_about_how_much_a_circuit_takes_on_disk(run_dir, capsys, heads):
    assert call(run_dir, *AUSTIN, *heads, "--dry_run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert call(run_dir, *AUSTIN, *heads, "--name", "a") == 0
    taken = sum(path.stat().st_size for path in (run_dir / "circuits" / "a").iterdir())
    assert 0.5 < planned["disk_bytes"] / taken < 3


def test_a_forecast_writes_nothing(run_dir, capsys):
    assert call(run_dir, *AUSTIN, "--dry_run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["n_rows"] == 31 and planned["seconds"] > 0 and planned["disk_bytes"] > 0
    assert planned["checks"] is None
    assert call(run_dir, *AUSTIN, "--dry_run", "--checks", "--measure", 5) == 0
    out = capsys.readouterr().out
    assert "1 circuit of at most 8 neurons out of 30 candidates, 31 rows" in out
    # the ends, 7 sizes and the circuit kept and ablated, and random sets of two of them
    assert f"tests of 1 circuit: {2 + 2 * 8 + 2 * 2 * 1000:,} forward passes (about " in out
    assert "ablations: at most 10 forward passes (about " in out and "for each group" not in out
    assert not (run_dir / "circuits").exists()


@pytest.mark.slow
def test_other_references(run_dir, capsys):
    assert call(run_dir, *AUSTIN, "--name", "zero", "--reference", "zero") == 0
    nodes = {n.kind for n in read_circuit(run_dir, "zero").graph.nodes}
    assert "constant" not in nodes
    assert call(run_dir, *AUSTIN, "--name", "few", "--min_mean_tokens", 100000) == 0
    assert circuit_folder("few").read_record(run_dir, TRACE).settings["reference"] == "zero"
    assert "too few for a mean" in capsys.readouterr().err
    assert call(run_dir, *AUSTIN, "--name", "other", "--reference", f"prompt:{TWIN}") == 0
    assert circuit_folder("other").read_record(run_dir, TRACE).settings["reference"] == f"prompt:{TWIN}"


@pytest.mark.slow
def test_an_unlikely_target_is_a_warning_and_the_default_is_the_likeliest_token(run_dir, capsys):
    assert call(run_dir, "--prompt_id", "seed_prompt", "--target_token", " Phoenix", "--name", "p") == 0
    assert "the model does not say it, but '·Austin'" in capsys.readouterr().err
    assert any("does not say it" in w for w in circuit_folder("p").read_record(run_dir, TRACE).warnings)
    assert call(run_dir, "--prompt_id", "seed_prompt", "--name", "top") == 0
    assert read_circuit(run_dir, "top").graph.prompt.target == " Austin"


@pytest.mark.slow
def test_several_prompts_and_what_they_have_in_common(run_dir, tmp_path, capsys):
    file = cases(
        tmp_path, {"prompt_id": "seed_prompt", "target_token": " Austin", "foil_token": " Phoenix", "entity": "Dallas"},
        {"prompt_id": TWIN, "entity": "b"}, {"prompt_id": OTHER, "held_out": True},
    )  # fmt: skip
    flags = ("--cases", file, "--reference", "template", "--name", "all")
    assert call(run_dir, *flags, "--dry_run", "--checks", "--n_random", 100, "--json") == 0
    planned = json.loads(capsys.readouterr().out)["checks"]
    swaps, sets, common = 2 * 102, 2 + 2 * 8 + 2 * 2 * 100, 2 + 2 + 2 * 100
    assert planned["passes"] == 3 * (sets + swaps) + 3 * common and planned["group_passes"] == swaps
    assert planned["n_circuits"] == 3 and planned["measure_passes"] == 0 and planned["pass_seconds"] > 0
    assert call(run_dir, *flags) == 0
    out = capsys.readouterr().out
    assert out.count("traced") == 3 and "common   all:" in out and "held out 1 circuits" in out
    names = list_circuits(run_dir)
    assert len(names) == 3 and list_circuits(run_dir, COMMON) == ["all"]
    found = [circuit_folder(name).read_record(run_dir, TRACE).settings for name in names]
    assert sorted(s["held_out"] for s in found) == [False, False, True]
    seed = next(s for s in found if s["entity"] == "Dallas")
    assert seed["reference"] == "template" and seed["reference_of"]["prompts"] == [TWIN]
    assert len(circuit_folder("all").read_table(run_dir, "members")) == 3
    assert call(run_dir, "--cases", file, "--reference", "template", "--name", "all") == 0
    assert "traced" not in capsys.readouterr().out and verify_run(run_dir).faults == []
    assert "is the name of one" in refused(capsys, run_dir, "--cases", file, "--name", names[0])


@pytest.mark.slow
def test_a_stopped_command_keeps_its_circuits_and_goes_on(run_dir, tmp_path, monkeypatch, capsys):
    file = cases(tmp_path, {"prompt_id": "seed_prompt"}, {"prompt_id": TWIN}, {"prompt_id": OTHER})
    real, seen = tracing.incoming, []

    def stop_at_the_second(*args, **kwargs):
        seen.append(args)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(*args, **kwargs)

    monkeypatch.setattr(tracing, "incoming", stop_at_the_second)
    assert "finished work is kept" in refused(capsys, run_dir, "--cases", file, code=75)
    assert len(list_circuits(run_dir)) == 1
    monkeypatch.setattr(tracing, "incoming", real)
    assert call(run_dir, "--cases", file) == 0
    out = capsys.readouterr().out
    assert out.count("traced") == 2 and out.count("kept") == 1 and len(list_circuits(run_dir)) == 3


@pytest.mark.slow
def test_a_failure_leaves_no_record(run_dir, monkeypatch):
    class Stop(Exception):
        """Stands for a failure of a library."""

    def fail(*_):
        raise Stop

    assert call(run_dir, *AUSTIN, "--name", "a") == 0
    monkeypatch.setattr("neuron_signatures.circuits.stage.write_files", fail)
    with pytest.raises(Stop):
        call(run_dir, *AUSTIN, "--name", "a", "--overwrite")
    assert list_circuits(run_dir) == []
    with pytest.raises(UsageError, match="has not been made"):
        read_circuit(run_dir, "a")


def test_a_locked_run(run_dir, capsys):
    with run_lock(run_dir):
        assert "another" in refused(capsys, run_dir, *AUSTIN, code=4)


def test_mistakes(run_dir, tmp_path, capsys):
    assert "no prompt" in refused(capsys, run_dir, "--prompt_id", "nobody").lower()
    assert "is the target" in refused(capsys, run_dir, "--prompt_id", "seed_prompt", "--target_token", " Austin",
                                      "--foil_token", " Austin")  # fmt: skip
    assert "--foil_token" in refused(capsys, run_dir, "--prompt_id", "seed_prompt", "--foil_token", "Sacramento and")
    assert "does not match" in refused(capsys, run_dir, *AUSTIN, "--name", "../x")
    assert "fewer than --max_nodes" in refused(capsys, run_dir, *AUSTIN, "--candidates", 2)
    assert "need" in refused(capsys, run_dir, *AUSTIN, "--max_memory", "1kB")
    assert "float32" in refused(capsys, run_dir, *AUSTIN, "--model_dtype", "bf16")
    file = cases(tmp_path, {"prompt_id": "seed_prompt"})
    assert "each case in the file" in refused(capsys, run_dir, "--cases", file, *AUSTIN)
    assert "several prompts" in refused(capsys, run_dir, *AUSTIN, "--reference", "template")
    twice = cases(tmp_path, {"prompt_id": "seed_prompt"}, {"prompt_id": "seed_prompt"})
    assert "same prompt" in refused(capsys, run_dir, "--cases", twice)
    same = cases(tmp_path, {"prompt_id": "seed_prompt"}, {"prompt_id": "seed_prompt", "target_token": " Austin"})
    assert "same prediction" in refused(capsys, run_dir, "--cases", same)
    for text, why in (("{}", "list"), ("[]", "at least 1"), ("[", "JSON"), ('[{"prompt": 1}]', "prompt")):
        file.write_text(text)
        assert why in refused(capsys, run_dir, "--cases", file)
    assert not list_circuits(run_dir)


def test_every_table_of_a_trace_is_written(made):
    stems = {stem for stem, table in TABLES.items() if table.mode == TRACE}
    assert set(content(made, "austin")) == {f"{stem}.parquet" for stem in stems} and CURVES not in stems


@pytest.mark.slow
def test_checks_are_written_and_kept_until_the_next_trace(run_dir, capsys):
    assert call(run_dir, *AUSTIN, "--name", "a", "--checks") == 0
    assert "the 8 own neurons of the circuit keep" in capsys.readouterr().out
    assert list_circuits(run_dir, CHECKS) == ["a"]
    assert call(run_dir, *AUSTIN, "--name", "a", "--checks") == 0
    assert "circuit a is tested" in capsys.readouterr().err
    assert verify_run(run_dir).faults == []
    assert call(run_dir, *AUSTIN, "--name", "a", "--overwrite") == 0
    assert "own neurons of the circuit keep" not in capsys.readouterr().out  # the tests are of the circuit before


def test_an_export_that_is_not_possible_is_refused_before_the_trace(run_dir, made, tmp_path, capsys, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the model is loaded")

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr("neuron_signatures.circuits.stage.check_prompt", never)
        for more in ((), ("--dry_run",)):
            assert "is no export of this program" in refused(capsys, run_dir, *AUSTIN, "--export", other, *more)
        assert "is not a folder" in refused(capsys, run_dir, *AUSTIN, "--export", other / "thesis.txt")
    files = made.parent / "files"
    assert "is no export" in refused(capsys, run_dir, "--import", files / "austin.json", "--export", other)
    changed = Path(shutil.copytree(files, tmp_path / "changed"))
    text = json.loads((changed / "austin.json").read_text())
    text["qParams"]["pinnedIds"] = [text["nodes"][0]["node_id"]]
    (changed / "austin.json").write_text(json.dumps(text))
    assert "has been changed" in refused(capsys, run_dir, *AUSTIN, "--name", "austin", "--export", changed)
    assert not list_circuits(run_dir) and not (run_dir / "circuits").exists()
