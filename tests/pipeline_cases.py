"""Short configurations of a pipeline on the demo model, and what came out of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from neuron_signatures import pipeline
from neuron_signatures.runs.explanations.reader import Explanations
from neuron_signatures.runs.pipeline_record import read_pipeline
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

CITIES = {"tx_1": "Dallas", "tx_2": "Houston", "tx_3": "Galveston", "ca_1": "Oakland", "ca_2": "Fresno", "nv_1": "Reno"}
PROMPTS = [{"id": id_, "text": f"The capital of the state containing {city} is"} for id_, city in CITIES.items()]
SHORT = """
[model]
model_name = "demo"
model_dtype = "fp32"
device = "cpu"
"""
RANKED = """
[[rank]]

[[rank]]
mode = "contrast"
a = "tx_*@last"
"""
EXPLAINED = """
[records]
corpus = "demo"
max_tokens = 1500
top_records = 5
neurons = ["L3N508", "L3N113"]

[[explain]]
explainer = "lookup"
poles = "+"
"""


def write_config(folder: Path, *tables: str, run_dir: str = "run", more: str = "") -> Path:
    """A configuration whose prompts and run are in the folder."""
    prompts = folder / "prompts.json"
    if not prompts.exists():
        prompts.write_text(json.dumps(PROMPTS))
    head = (
        f"run_dir = {json.dumps(str(folder / run_dir))}\n{SHORT}\n[dump]\nprompts_json = {json.dumps(str(prompts))}\n"
    )
    path = folder / "pipeline.toml"
    path.write_text("\n".join([head + more, *tables]))
    return path


def change(path: Path, before: str, after: str) -> Path:
    """Replace a line of the configuration."""
    text = path.read_text()
    assert text.count(before) == 1, before
    path.write_text(text.replace(before, after))
    return path


def copy_of(made: Path, folder: Path) -> Path:
    """A copy of a folder with configuration and run. Returns its configuration."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return change_all(folder / "pipeline.toml", str(made), str(folder))


def change_all(path: Path, before: str, after: str) -> Path:
    path.write_text(path.read_text().replace(json.dumps(before)[1:-1], json.dumps(after)[1:-1]))
    return path


def run(path: Path, *flags: str) -> int:
    return pipeline.main(["--config", str(path), "--quiet", *flags])


def plan(path: Path, capsys, *flags: str) -> dict[str, tuple[str, str]]:
    """Action and reason by step, of a dry run."""
    capsys.readouterr()
    pipeline.main(["--config", str(path), "--dry_run", "--json", *flags])
    steps = json.loads(capsys.readouterr().out)["steps"]
    return {s["step"]: (s["action"], s["why"]) for s in steps}


def contents(run_dir: Path) -> dict[str, object]:
    """What the stages found, without times and ids."""
    found: dict[str, object] = {}
    with Run.open(run_dir) as opened:
        found["acts"] = {p.probe_id: opened.acts(p.probe_id).tobytes() for p in opened.prompts}
    with Records.open(run_dir) as records:
        windows = records.strongest(3, 508, "+", parts=("explain",), k=3)
        found["records"] = [(w.value, tuple(w.tokens)) for w in windows]
        found["moments"] = str(records.moments(3, 113, parts=("explain",)))
    found["texts"] = sorted((s.layer, s.neuron, s.pole, s.text) for s in entries(run_dir))
    record = read_pipeline(run_dir)
    assert record is not None
    found["steps"] = sorted((s.name, s.status, s.digest) for s in record.steps)
    return found


def entries(run_dir: Path, set_name: str = "lookup") -> list:
    explanations = Explanations.open(run_dir)
    return [s.entry for n in (113, 508) for s in explanations.of(3, n) if s.entry.set == set_name]
