"""Stage 7, `--mode collect`, as a command: resume, other settings, gates, faults, forecast, verify and show."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from skills_runs import FLAGS, collect_main, collect_small

from neuron_signatures.runs import __main__ as runs_main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.names import is_part
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.skills.collect import batches

SMALL = ["--texts", "demo", "--n_texts", "12", "--saes", "demo", "--layers", "1,3", "--batch_size", "4"]
"""Twelve texts of each class, two layers."""
SMALL_PARTS = "from neuron_signatures.skills.collect import batches; batches.PART_TOKENS = 150"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PART_TOKENS", 150)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted command with several parts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "PART_TOKENS", 150)
        assert collect_main("--out_dir", str(run), *SMALL) == 0
    return run


def files(run: Path) -> dict[str, bytes]:
    """What the results are; the record holds times."""
    return {p.name: p.read_bytes() for p in (run / "skills").iterdir() if p.suffix in (".parquet", ".safetensors")}


def refused(capsys, *flags: str, code: int = 2) -> str:
    assert collect_main(*flags) == code
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in line
    return line


def test_several_parts_are_read_as_one(whole: Path) -> None:
    with Skills.open(whole) as skills:
        assert skills.meta.n_parts > 3 and len(skills.texts) == 48
        assert {b.key for b in skills.banks} == {
            *(f"sae.{site}.{layer}" for site in ("res", "att", "mlp") for layer in (1, 3)),
            "neurons.neuron.1", "neurons.neuron.3",
        }  # fmt: skip
        stats = skills.stats(skills.banks[0])
        assert stats.total.shape == (48, 512) and (stats.topk.sum(1) <= 3 * stats.n_tokens).all()
    assert sorted(n for n in files(whole) if not is_part(n)) == [
        "features.parquet", "gates.parquet", "texts.parquet", "token_sample.safetensors",
    ]  # fmt: skip


def test_a_killed_command_resumes_with_the_same_bits(whole: Path, tmp_path: Path, capsys) -> None:
    """kill -9 at random moments of the pass, until a command ends by itself."""
    run, rng, killed = tmp_path / "run", random.Random(0), 0
    program = (
        f"import sys; {SMALL_PARTS}; sys.path.insert(0, 'tests'); import slow_collect; sys.exit(slow_collect.main())"
    )
    for attempt in range(8):
        more = ["--resume"] if attempt else []
        command = [sys.executable, "-c", program, *FLAGS, "--out_dir", str(run), *SMALL, *more]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert process.stderr is not None
        wanted = rng.randrange(1, 5) + (12 if attempt == 0 else 0)  # 12 batches are the sample, which is run once
        for line in process.stderr:
            wanted -= line.startswith("batch")
            if not wanted:
                time.sleep(rng.random() * 0.05)
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
        code = process.wait()
        process.stderr.close()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert not (run / "skills" / "collect_meta.json").exists()
        if attempt == 0:
            assert "--resume" in refused(capsys, "--run_dir", str(run), *SMALL)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batches, "PART_TOKENS", 150)
            assert collect_main("--run_dir", str(run), *SMALL, "--resume") == 0
    assert killed >= 2
    assert files(run) == files(whole)
    assert not [p for p in (run / "skills").iterdir() if p.name.startswith(("collect_unfinished", ".tmp"))]


def test_a_finished_command_is_not_repeated_and_others_are_refused(whole: Path, capsys) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in (whole / "skills").iterdir()}
    assert collect_main("--run_dir", str(whole), *SMALL) == 0
    assert {p.name: p.stat().st_mtime_ns for p in (whole / "skills").iterdir()} == before
    line = refused(capsys, "--run_dir", str(whole), *SMALL, "--top_k", "5")
    assert "top_k was 3, is 5" in line and "--overwrite" in line
    assert "holds a run already" in refused(capsys, "--out_dir", str(whole), *SMALL)


def test_overwrite_replaces(tmp_path: Path, small_parts: None) -> None:
    run = tmp_path / "run"
    flags = ["--texts", "demo", "--sources", "neurons", "--layers", "1"]
    assert collect_main("--out_dir", str(run), *flags, "--n_texts", "20") == 0
    many = len([n for n in files(run) if is_part(n)])
    assert collect_main("--run_dir", str(run), *flags, "--n_texts", "3", "--overwrite") == 0
    with Skills.open(run) as skills:
        assert len(skills.texts) == 12 and skills.meta.n_parts < many
    assert len([n for n in files(run) if is_part(n)]) == skills.meta.n_parts
    assert runs_main.main(["verify", str(run)]) == 0


def test_an_autoencoder_of_another_tensor_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = {"n_per_class": 10, "layers": (1,), "sites": ("res",)}
    with pytest.raises(
        UsageError, match=r"res_1: leaves .* of the variance of res of layer 1 unexplained, more than 1"
    ):
        collect_small(run, scale=-1.0, **small)
    assert not (run / "skills" / "collect_meta.json").exists()
    summary = collect_small(run, scale=-1.0, force=True, resume=True, **small)
    assert [gate.passed for gate in summary.gates.values()] == [False]
    assert any("FVU above 1" in warning for warning in summary.warnings)
    assert any("above 1" in line for line in summary.lines())


def test_a_refused_autoencoder_costs_nothing_that_the_run_has(tmp_path: Path) -> None:
    run, small = tmp_path / "run", {"n_per_class": 10, "layers": (1,), "sites": ("res",)}
    collect_small(run, **small)
    before = {p.name: p.read_bytes() for p in (run / "skills").iterdir()}
    with pytest.raises(UsageError, match="more than 1"):
        collect_small(run, scale=-1.0, overwrite=True, **small)
    assert {p.name: p.read_bytes() for p in (run / "skills").iterdir()} == before


def test_messages(tmp_path: Path, capsys) -> None:
    new = ["--out_dir", str(tmp_path / "run")]
    assert "needs labelled texts" in refused(capsys, *new)
    assert "no such file" in refused(capsys, *new, "--texts", str(tmp_path / "none.jsonl"))
    assert "the model has 0..4" in refused(capsys, *new, "--texts", "demo", "--layers", "9")
    assert "no units of 'pca'" in refused(capsys, *new, "--texts", "demo", "--sources", "pca")
    assert "Give --saes" in refused(capsys, *new, "--texts", "demo", "--sources", "sae")
    assert "256 positions" in refused(capsys, *new, "--texts", "demo", "--max_length", "300")
    assert "leaves fewer than 2" in refused(capsys, *new, "--texts", "demo", "--skip_first", "63")
    assert "no class 'x'" in refused(capsys, *new, "--texts", "demo", "--classes", "x")
    assert "--run_dir is an existing run" in refused(capsys, "--texts", "demo")
    assert not (tmp_path / "run").exists()


def test_short_and_long_texts(tmp_path: Path, capsys) -> None:
    """A text of one token is left out; a line of ten megabytes is cut."""
    rows = [{"text": t, "class": c} for c in ("one", "two") for t in (f"The capital of {c} is here.", f"{c} and more.")]
    rows += [{"text": "The", "class": "one"}, {"text": "Austin is the capital. " * 450_000, "class": "two"}]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "run"
    assert collect_main("--out_dir", str(run), "--texts", str(path), "--layers", "0", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["n_texts"], found["n_too_short"], found["n_truncated"]) == (5, 1, 1)
    with Skills.open(run) as skills:
        assert skills.texts["content"].str.len().max() < 5000 and skills.texts["truncated"].sum() == 1
        assert skills.texts["n_tokens"].max() == 63 and set(skills.texts["skill"]) == {""}


def test_the_forecast(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert collect_main("--out_dir", str(run), *SMALL, "--dry_run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_texts"] == 48 and found["n_banks"] == 8 and found["fits"] and not run.exists()
    assert collect_main("--out_dir", str(run), *SMALL) == 0
    size = sum(p.stat().st_size for p in (run / "skills").iterdir())
    assert 0.3 < found["disk_bytes"] / size < 3


def test_verify_and_show(whole: Path, capsys) -> None:
    assert runs_main.main(["verify", str(whole)]) == 0
    assert "remark" not in capsys.readouterr().out
    assert runs_main.main(["show", str(whole)]) == 0
    shown = capsys.readouterr().out
    assert "48 texts of 4 classes: sae, neurons in 8 banks" in shown and "only skills" in shown
    assert runs_main.main(["list", str(whole.parent)]) == 0
    assert "skills (48 texts" in capsys.readouterr().out


def test_a_stopped_command_is_known(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM during the pass: exit 75, and verify and show say that it can be resumed."""
    from neuron_signatures.skills.collect import stage

    run, real = tmp_path / "run", stage.run_part
    monkeypatch.setattr(batches, "PART_TOKENS", 150)

    def stopped(*args: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "run_part", stopped)
    assert collect_main("--out_dir", str(run), *SMALL) == 75
    monkeypatch.setattr(stage, "run_part", real)
    capsys.readouterr()
    assert runs_main.main(["verify", str(run)]) == 0
    assert "--resume continues" in capsys.readouterr().out
    assert runs_main.main(["show", str(run)]) == 0
    assert "stopped; --resume continues it" in capsys.readouterr().out
    line = refused(capsys, "--run_dir", str(run), *SMALL, "--quantile", "0.9", "--resume")
    assert "quantile was 0.99, is 0.9" in line
    assert collect_main("--run_dir", str(run), *SMALL, "--resume") == 0
