"""The training program: complete folders, reproducible weights, resuming, and the evaluation."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from paths import ROOT
from safetensors.torch import load_file

SCRIPTS = ROOT / "scripts"
FLAGS = ["--steps", "6", "--n_documents", "600"]

pytestmark = pytest.mark.slow


def _program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _torch_settings_stay_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_an_interrupted_training_resumes_to_the_same_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = _program("train_demo_model")
    assert program.main([*FLAGS, "--out", str(tmp_path / "whole")]) == 0

    real, calls = program.train_step, []

    def failing(*args: object) -> float:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(program, "train_step", failing)
    with pytest.raises(KeyboardInterrupt):
        program.main([*FLAGS, "--out", str(tmp_path / "broken")])
    monkeypatch.setattr(program, "train_step", real)
    assert program.main([*FLAGS, "--out", str(tmp_path / "broken"), "--resume"]) == 0

    whole, broken = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "broken"))
    assert whole.keys() == broken.keys() and all(torch.equal(whole[key], broken[key]) for key in whole)
    record = json.loads((tmp_path / "broken" / "model" / "training.json").read_text())
    assert record["steps"] == 6 and [row["step"] for row in record["loss_curve"]] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "broken" / "checkpoints" / "step-000002" / "tokenizer.json").is_file()
    assert not (tmp_path / program.STATE_FILE).exists()


def test_resuming_with_other_flags_or_without_a_state_is_refused(tmp_path: Path) -> None:
    program = _program("train_demo_model")
    config = program.Config(seed=0, steps=6, threads=1, n_documents=10)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(SystemExit, match="no saved state"):
        program.load_state(model, optimizer, config)
    program.save_state(model, optimizer, config, program.Progress())
    other = program.Config(seed=1, steps=6, threads=1, n_documents=10)
    with pytest.raises(SystemExit, match="give the same flags"):
        program.load_state(model, optimizer, other)


def test_the_evaluation_prints_json_and_fails_below_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    program = _program("eval_demo_model")
    from neuron_signatures.demo import checkpoint_dirs

    first = next(iter(checkpoint_dirs().values()))
    assert program.main(["--model", str(first), "--json"]) == 1
    early = json.loads(capsys.readouterr().out)
    assert program.main(["--json"]) == 0
    final = json.loads(capsys.readouterr().out)
    assert [a["bar"] for a in final["accuracies"]] == [0.98, 0.98, 0.95, None, None, None]
    assert all(final["skill_losses"][skill] < loss for skill, loss in early["skill_losses"].items())


def test_the_evaluation_of_a_missing_folder_says_where(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no model there"):
        _program("eval_demo_model").main(["--model", str(tmp_path / "nowhere")])
