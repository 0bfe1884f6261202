"""Stage 1 when things go wrong: real kills, full disks and signals."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from dump_faults import (
    KILL_IN_MANIFEST,
    KILL_IN_SECOND_SHARD,
    KILL_WITH_LEFTOVER,
    LEFTOVER,
    SMALL_FILES,
    drop_root,
    hold,
    kill_before_manifest,
    kill_in_journal,
    run_dump,
    start_dump,
)
from dump_runs import flags, write_prompts
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model_dir

from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.__main__ import main as runs_main
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.lock import run_lock
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run

SMALL_SHARDS = ("--shard_size", "8kB")


def new_interpreter(argv: list[str], before: str = "", **kwargs) -> subprocess.CompletedProcess[str]:
    """Run the stage in a Python process of its own; takes seconds, because it imports everything."""
    return subprocess.run(interpreter_command(argv, before), capture_output=True, text=True, timeout=300, **kwargs)


def interpreter_command(argv: list[str], before: str = "") -> list[str]:
    code = f"import sys\n{before}\nfrom neuron_signatures.poc1_dump_activations import main\nsys.exit(main({argv!r}))"
    return [sys.executable, "-c", code]


def assert_same_as_undisturbed(tmp_path, *more) -> None:
    assert main(flags(tmp_path, *more, out="undisturbed")) == 0
    a, b = Run.open(tmp_path / "run", check="sha256"), Run.open(tmp_path / "undisturbed", check="sha256")
    assert [f.sha256 for f in a.manifest.files] == [f.sha256 for f in b.manifest.files]
    assert a.prompts == b.prompts
    assert {p.name for p in a.path.iterdir()} == {p.name for p in b.path.iterdir()}


@pytest.mark.parametrize(
    ("point", "kept"),
    [(KILL_IN_SECOND_SHARD, 1), (kill_in_journal, 1), (KILL_IN_MANIFEST, "all"), (kill_before_manifest, "all")],
    ids=["in-a-shard", "in-the-journal", "in-the-manifest", "before-the-manifest"],
)
def test_a_killed_dump_never_looks_complete_and_resumes(tmp_path, capsys, monkeypatch, point, kept):
    assert run_dump(flags(tmp_path, *SMALL_SHARDS), point).returncode == -signal.SIGKILL
    run_dir = tmp_path / "run"
    assert not (run_dir / "manifest.json").exists()
    with pytest.raises(BadRunError, match="--resume"):
        Run.open(run_dir)
    assert runs_main(["list", str(tmp_path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["name"], r["status"]) for r in rows] == [("run", "stopped")]
    assert main(flags(tmp_path, *SMALL_SHARDS)) == 2
    assert "--resume" in capsys.readouterr().err

    if kept == "all":  # nothing is left to compute: no weights are loaded
        monkeypatch.setattr("neuron_signatures.dump.dump.load_model", pytest.fail)
    assert main(flags(tmp_path, *SMALL_SHARDS, "--resume", "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["shards_kept"] == (summary["shards"] if kept == "all" else kept)
    monkeypatch.undo()
    assert_same_as_undisturbed(tmp_path, *SMALL_SHARDS)


def test_resume_recomputes_a_shard_that_was_damaged_meanwhile(tmp_path, capsys):
    run_dump(flags(tmp_path, *SMALL_SHARDS), kill_before_manifest)
    shard = sorted((tmp_path / "run").glob("activations-*"))[0]
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    assert main(flags(tmp_path, *SMALL_SHARDS, "--resume", "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["shards_kept"] == summary["shards"] - 1
    assert_same_as_undisturbed(tmp_path, *SMALL_SHARDS)


def test_resume_starts_a_new_run_and_leaves_a_complete_one_unchanged(tmp_path, monkeypatch, capsys):
    assert main(flags(tmp_path, "--resume")) == 0
    monkeypatch.setattr("neuron_signatures.dump.dump.load_model", pytest.fail)
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    assert main(flags(tmp_path, "--resume")) == 0
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before
    assert main(flags(tmp_path, "--resume", "--save_dtype", "fp32")) == 2
    assert "save_dtype was 'bf16', is 'fp32'" in capsys.readouterr().err


def test_a_full_disk_gives_the_bytes_needed_and_keeps_earlier_shards(tmp_path, capsys):
    done = run_dump(flags(tmp_path, "--shard_size", "6kB"), SMALL_FILES)  # the longest prompt alone is larger
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "needed" in done.stderr and "free" in done.stderr, done.stderr
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert "manifest.json" not in names and not [n for n in names if n.startswith(".tmp")]
    finished = [n for n in names if n.startswith("activations")]
    assert finished
    for name in finished:
        load_file(tmp_path / "run" / name)
    assert main(flags(tmp_path, "--shard_size", "6kB", "--resume", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["shards_kept"] == len(finished)


def test_a_disk_that_is_too_small_is_refused_at_the_start(tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert main(flags(tmp_path, "--dry_run")) == 1
    assert "NOT ENOUGH" in capsys.readouterr().out
    monkeypatch.setattr("neuron_signatures.dump.dump.load_model", pytest.fail)
    assert main(flags(tmp_path)) == 1
    assert "1.0 kB free" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# Bad prompts and flags are refused before the model loads


@pytest.mark.parametrize(
    ("content", "needles"),
    [
        ('[{"id": "a/b", "text": "x"}]', ["'a/b'", "[A-Za-z0-9]"]),
        ('[{"id": "..", "text": "x"}]', ["'..'"]),
        ('[{"id": "a\\u0000", "text": "x"}]', ["does not match"]),
        ('[{"id": "-a", "text": "x"}]', ["'-a'"]),
        (json.dumps([{"id": "i" * 300, "text": "x"}]), ["300 characters"]),
        ('[{"id": "A", "text": "x"}, {"id": "a", "text": "x"}]', ["differ only in case"]),
        ('[{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]', ["used twice"]),
        ('[{"id": "a", "text": ""}]', ["'a' is empty"]),
        ('[{"id": "a", "text": "<bos>"}]', ["'a'", "no tokens of its own"]),
        (json.dumps([{"id": "a", "text": "Dallas " * 99}]), ["'a'", "context is 64", "--truncate"]),
        ('[{"id": "a"}]', ["'a' needs either text or messages"]),
        ('[{"id": "a", "text": 3}]', ["text is not a string"]),
        ('[{"id": 3, "text": "x"}]', ["prompt 0", "no string id"]),
        ('[{"id": "a", "messages": []}]', ["messages"]),
        ('[{"id": "a", "messages": [{"role": "user", "content": "x"}]}]', ["'a'", "no chat template"]),
        ('[{"id": "a", "text": "x", "w": NaN}]', ["NaN is not JSON"]),
        ('[{"id": "a", "text": "x", "w": 1e999}]', ["1e100 or more"]),
        ('[{"id": "a", "text": "\\ud800"}]', ["lone surrogate"]),
        ('["x"]', ["prompt 0", "not an object"]),
        ("[]", ["holds no prompts"]),
        ("", ["holds no prompts"]),
        ("[" * 100_000, ["not valid JSON"]),
        ('{"id": "a", "text": "x"}\n{"id": "b", "text" "y"}\n', ["line 2 column"]),
        ('[{"id": "a", "text": "x"},\n {"id": "b" "text": "y"}]', ["line 2 column"]),
        (b"\xff\xfe\x00", ["UTF-8"]),
    ],
)
def test_bad_prompts_are_refused_with_one_line_before_the_model_loads(tmp_path, capsys, monkeypatch, content, needles):
    monkeypatch.setattr("neuron_signatures.dump.dump.load_model", pytest.fail)
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(flags(tmp_path, prompts=path)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(n in err for n in needles), err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "needle"),
    [
        ([], "--prompts_json"),
        (["--prompts_json", "nowhere.json"], "nowhere.json: there is no such file"),
        (["--single_prompt", "x", "--prompts_json", "y"], "not allowed with"),
        (["--single_prompt", "x", "--frob"], "--frob"),
        (["--single_prompt", "x", "--batch_size", "0"], "0 is below 1"),
        (["--single_prompt", "x", "--shard_size", "lots"], "not a size"),
        (["--single_prompt", "x", "--save_dtype", "int8"], "int8"),
        (["--single_prompt", "x", "--resume", "--overwrite"], "not allowed with"),
        (["--single_prompt", "x", "--model_name", "./nowhere"], "./nowhere"),
        (["--single_prompt", ""], "is empty"),
    ],
)
def test_bad_flags_give_one_line_and_exit_2(tmp_path, capsys, monkeypatch, given, needle):
    monkeypatch.chdir(tmp_path)
    assert main(given) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and needle in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "code", "needle"),
    [(["--layers", "7"], 2, "0..2"), (["--device", "cuda:7"], 1, "--device"), (["--device", "toaster"], 2, "toaster")],
)
def test_flags_that_do_not_match_the_model_or_the_machine(tmp_path, capsys, given, code, needle):
    assert main(flags(tmp_path, *given)) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and needle in err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_files_is_never_used_as_a_run(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    for mode in ([], ["--overwrite"], ["--resume"]):
        assert main(flags(tmp_path, *mode)) == 2
        assert "holds files but no run" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(flags(tmp_path, out="file")) == 2
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


# Locks, resuming and permissions


def test_a_second_writer_is_refused_and_a_stale_lock_replaced(tmp_path, capsys, caplog):
    writer = start_dump(flags(tmp_path), partial(hold, 1))
    try:
        writer.wait_for("computing")
        for mode in (["--resume"], ["--overwrite"]):
            assert main(flags(tmp_path, *mode)) == 4
            err = capsys.readouterr().err
            assert f"pid {writer.pid}" in err and err.count("\n") == 1
        assert runs_main(["list", str(tmp_path)]) == 0
        assert "writing" in capsys.readouterr().out
    finally:
        writer.process.kill()
        writer.wait()
    assert runs_main(["list", str(tmp_path)]) == 0
    assert "stopped" in capsys.readouterr().out
    assert main(flags(tmp_path, "--resume")) == 0
    assert f"stale lock of host {os.uname().nodename} pid {writer.pid}" in caplog.text
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_lock_does_not_block_readers(tmp_path):
    assert main(flags(tmp_path)) == 0
    with run_lock(tmp_path / "run"):
        assert Run.open(tmp_path / "run").acts(0, layer=0).shape[0] > 1
        assert "being written by" in verify_run(tmp_path / "run").remarks[0]


def test_resume_with_other_settings_is_refused_with_a_diff(tmp_path, capsys, monkeypatch):
    run_dump(flags(tmp_path, *SMALL_SHARDS), KILL_IN_SECOND_SHARD)
    monkeypatch.setattr("neuron_signatures.dump.dump.load_model", pytest.fail)
    files = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.name != ".lock"}
    other = write_prompts(tmp_path / "other.json", ["Dallas", "Austin"])
    for more, prompts, needle in (
        (["--save_dtype", "fp16"], None, "save_dtype was 'bf16', is 'fp16'"),
        (["--layers", "0"], None, "layers was [0, 1, 2], is [0]"),
        (["--no_prepend_bos"], None, "prepend_bos was True, is False"),
        ([], other, "n_prompts was 7, is 2"),
        ([], other, "prompts_sha256 was"),
    ):
        assert main(flags(tmp_path, *SMALL_SHARDS, "--resume", *more, prompts=prompts)) == 2
        err = capsys.readouterr().err
        assert needle in err and err.count("\n") == 1
    assert main([*flags(tmp_path, *SMALL_SHARDS, "--resume"), "--model_name", str(tiny_model_dir("llama"))]) == 2
    assert "weights_fingerprint was" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.name != ".lock"} == files


def test_resume_with_other_weights_of_the_same_name_is_refused(tmp_path, capsys):
    shutil.copytree(tiny_model_dir("gemma2"), tmp_path / "model")
    argv = [*flags(tmp_path, *SMALL_SHARDS), "--model_name", str(tmp_path / "model")]
    run_dump(argv, KILL_IN_SECOND_SHARD)
    change_weights(tmp_path / "model", lambda t: t * 1.01)
    assert main([*argv, "--resume"]) == 2
    assert "weights_fingerprint was" in capsys.readouterr().err


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    key = next(k for k in weights if "layers.1.mlp.up_proj" in k)
    weights[key] = change(weights[key])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.skipif(os.name == "nt", reason="permissions of another kind")
def test_a_folder_without_permission_gives_one_line(tmp_path):
    with tempfile.TemporaryDirectory() as folder:  # not in tmp_path, which only root may enter
        Path(folder).chmod(0o755)
        locked = Path(folder) / "locked"
        locked.mkdir(mode=0o555)
        done = run_dump(flags(tmp_path, out=locked / "run"), drop_root)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1 and "cannot write" in done.stderr and "--out_dir" in done.stderr


# Models and values that cannot be dumped


def test_a_mixture_of_experts_is_refused_before_anything_is_written(tmp_path, capsys):
    assert main(flags(tmp_path, model="mixtral")) == 2
    err = capsys.readouterr().err
    assert "layer 0" in err and "experts" in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_values_that_are_not_finite_are_counted_and_can_fail_a_prompt(tmp_path, capsys, caplog):
    shutil.copytree(tiny_model_dir("gemma2"), tmp_path / "model")

    def poison(weight):
        weight = weight.clone()
        weight[3] = float("nan")  # neuron 3 of layer 1
        return weight

    change_weights(tmp_path / "model", poison)
    argv = [*flags(tmp_path, "--layers", "0,1"), "--model_name", str(tmp_path / "model")]
    assert main(argv) == 0
    run = Run.open(tmp_path / "run")
    assert [p.nonfinite for p in run.prompts] == [p.seq_len for p in run.prompts]
    assert (~np.isfinite(run.acts(0))).sum() == run.prompt(0).seq_len
    assert "p0: " in caplog.text and "NaN or infinite" in caplog.text
    json.loads((tmp_path / "run" / "manifest.json").read_text(), parse_constant=pytest.fail)

    capsys.readouterr()
    assert main([*argv, "--overwrite", "--check_finite", "--json"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary["failed"] == len(run.prompts) and summary["prompts"] == 0
    failed = Run.open(tmp_path / "run")
    assert [f.prompt_id for f in failed.manifest.failed_prompts] == [p.probe_id for p in run.prompts]
    assert runs_main(["verify", str(tmp_path / "run")]) == 0


def test_half_precision_overflow_is_counted(tmp_path):
    shutil.copytree(tiny_model_dir("gemma2"), tmp_path / "model")
    change_weights(tmp_path / "model", lambda w: w * 1e7)
    argv = [*flags(tmp_path, "--layers", "1", "--save_dtype", "fp16"), "--model_name", str(tmp_path / "model")]
    assert main(argv) == 0
    run = Run.open(tmp_path / "run")
    assert run.prompt(0).nonfinite == (~np.isfinite(run.acts(0))).sum() > 0


def test_out_of_memory_halves_the_batch_with_equal_results(tmp_path, monkeypatch, caplog, capsys):
    from neuron_signatures.models.capture import MlpCapture

    real = MlpCapture.run

    def small_memory(most):
        def run(self, input_ids, attention_mask=None, sink=None):
            if input_ids.shape[0] > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(self, input_ids, attention_mask, sink)

        return run

    monkeypatch.setattr(MlpCapture, "run", small_memory(2))
    prompts = write_prompts(tmp_path / "even.json", ["Dallas", "Austin", "in is on", "of of"] * 2)
    fp32 = ("--save_dtype", "fp32")
    assert main(flags(tmp_path, "--batch_size", 7, *fp32, prompts=prompts)) == 0
    assert "out of memory with 4 prompts in a batch; going on with 2" in caplog.text
    monkeypatch.setattr(MlpCapture, "run", small_memory(0))
    assert main(flags(tmp_path, out="never")) == 1
    err = capsys.readouterr().err
    assert "out of memory with one prompt" in err and "needs about" in err
    monkeypatch.undo()
    assert main(flags(tmp_path, *fp32, "--batch_size", 1, prompts=prompts, out="one")) == 0
    for i in range(8):
        got, want = Run.open(tmp_path / "run").tensor(i), Run.open(tmp_path / "one").tensor(i)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5)


def test_the_default_command_without_access_to_gemma_ends_with_one_line(tmp_path):
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_verysecret"}
    done = new_interpreter(["--single_prompt", "The capital of Texas is", "--out_dir", str(tmp_path / "run")], env=env)
    assert done.returncode == 1
    for needle in ("google/gemma-2-2b", "HF_TOKEN", "HF_HUB_OFFLINE", "--model_name demo"):
        assert needle in done.stderr
    assert done.stderr.count("\n") == 1 and "verysecret" not in done.stderr
    assert not (tmp_path / "run").exists()


# Signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_stops_the_dump_with_75_and_it_resumes(tmp_path, capsys, name):
    second_shard = partial(hold, 2, journal=tmp_path / "run" / "dump_journal.jsonl")
    child = start_dump(flags(tmp_path, *SMALL_SHARDS), second_shard)
    child.wait_for("computing")
    os.kill(child.pid, getattr(signal, name))
    stopped = child.wait()
    assert stopped.returncode == 75
    assert f"stopped by {name}" in stopped.stderr and "--resume" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "run" / "manifest.json").exists()
    assert main(flags(tmp_path, *SMALL_SHARDS, "--resume", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["shards_kept"] == 1
    assert_same_as_undisturbed(tmp_path, *SMALL_SHARDS)


# Terminals, pipes and locales


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "cp1252", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "20"},
    ],
)
def test_output_survives_any_terminal_and_locale(tmp_path, env):
    prompts = write_prompts(tmp_path / "odd.json", ["Dallas \u2192 \U0001f920 \x1b[31m \u202e", "\u05d0"])
    full = {**os.environ, **env}
    done = new_interpreter([f for f in flags(tmp_path, prompts=prompts) if f != "--quiet"], env=full)
    assert done.returncode == 0, done.stderr
    show = [sys.executable, "-m", "neuron_signatures.runs"]
    for argv in (["show", str(tmp_path / "run")], ["list", str(tmp_path)], ["verify", str(tmp_path / "run")]):
        out = subprocess.run([*show, *argv], capture_output=True, env=full, timeout=300, check=True)
        assert b"\x1b" not in out.stdout and not out.stderr


def test_a_closed_pipe_gives_no_traceback(tmp_path):
    prompts = write_prompts(tmp_path / "many.json", ["Dallas"] * 3000)
    assert main(flags(tmp_path, prompts=prompts)) == 0
    show = f"{sys.executable} -m neuron_signatures.runs show {tmp_path / 'run'}"
    done = subprocess.run(["bash", "-c", f"{show} | head -1; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and done.stderr == "" and done.returncode == 141


def test_a_progress_bar_appears_only_on_a_terminal(tmp_path):
    argv = [f for f in flags(tmp_path, "--batch_size", 1) if f != "--quiet"]
    assert "tok" not in run_dump(argv).stderr
    import pty

    parent, terminal = pty.openpty()
    dumping = start_dump([*argv, "--overwrite"], stderr=os.ttyname(terminal))
    seen = b""
    while dumping.process.is_alive() or select.select([parent], [], [], 0)[0]:
        if select.select([parent], [], [], 0.1)[0]:
            seen += os.read(parent, 4096)
    os.close(terminal)
    os.close(parent)
    assert dumping.wait().returncode == 0, seen
    assert b"tok/s" in seen


@pytest.mark.parametrize("module", ["poc1_dump_activations", "poc2_analyze_run", "runs", "models"])
def test_help_imports_nothing_heavy(module):
    code = (
        f"import sys, runpy\nsys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('neuron_signatures.{module}', run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'torch', 'transformers', 'transformer_lens', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


# Overwriting, resuming and extreme input


def test_overwrite_refuses_a_folder_that_only_looks_like_a_run(tmp_path, capsys):
    web = tmp_path / "run"
    (web / "records").mkdir(parents=True)
    (web / "manifest.json").write_text('{"name": "an extension of a browser"}')
    (web / "records" / "data.txt").write_text("precious")
    assert main(flags(tmp_path, "--overwrite")) == 2
    assert "holds files but no run" in capsys.readouterr().err
    assert (web / "records" / "data.txt").read_text() == "precious"


def test_a_failed_overwrite_keeps_the_old_run(tmp_path, capsys):
    assert main(flags(tmp_path)) == 0
    (tmp_path / "run" / "analysis").mkdir()
    (tmp_path / "run" / "analysis" / "top_neurons.json").write_text("[]")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert run_dump(flags(tmp_path, "--overwrite", "--shard_size", "6kB"), SMALL_FILES).returncode == 1
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
    killed = run_dump(flags(tmp_path, "--overwrite", *SMALL_SHARDS), KILL_IN_SECOND_SHARD)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run" / ".replaced" / "manifest.json").exists()
    assert main(flags(tmp_path, *SMALL_SHARDS, "--resume")) == 0
    assert_same_as_undisturbed(tmp_path, *SMALL_SHARDS)


def test_a_kill_inside_a_shard_leaves_nothing_behind_after_resume(tmp_path):
    assert run_dump(flags(tmp_path), KILL_WITH_LEFTOVER).returncode == -signal.SIGKILL
    assert (tmp_path / "run" / LEFTOVER).exists()
    assert main(flags(tmp_path, "--resume")) == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"manifest.json", "activations.safetensors"}


def test_resume_of_a_complete_run_checks_its_tensors(tmp_path, capsys):
    assert main(flags(tmp_path)) == 0
    path = tmp_path / "run" / "activations.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert main(flags(tmp_path, "--resume")) == 3
    path.unlink()
    assert main(flags(tmp_path, "--resume")) == 3
    assert "activations.safetensors" in capsys.readouterr().err


def test_resume_removes_a_journal_left_beside_a_manifest(tmp_path):
    assert main(flags(tmp_path)) == 0
    (tmp_path / "run" / "dump_journal.jsonl").write_text("{}\n")
    assert main(flags(tmp_path, "--resume")) == 0
    assert not (tmp_path / "run" / "dump_journal.jsonl").exists()


def test_a_path_that_is_not_utf_8_is_recorded_and_resumed(tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe4")
    argv = [odd if f == str(tmp_path / "run") else f for f in flags(tmp_path, *SMALL_SHARDS)]
    assert run_dump(argv, KILL_IN_SECOND_SHARD).returncode == -signal.SIGKILL
    assert main([*argv, "--resume"]) == 0
    assert any("\\udcff" in flag for flag in Run.open(odd).manifest.flags_given)


@pytest.mark.parametrize(
    ("given", "code", "needle"),
    [
        (["--seed", "9" * 30], 2, "--seed"),
        (["--seed", "-1"], 2, "below 0"),
        (["--shard_size", "9" * 400], 2, "--shard_size"),
        (["--device_map", "somewhere"], 2, "--device_map"),
        (["--truncate", "1"], 2, "no tokens of its own"),
    ],
)
def test_extreme_values_of_flags_give_one_line(tmp_path, capsys, given, code, needle):
    assert main(flags(tmp_path, *given)) == code
    err = capsys.readouterr().err
    assert needle in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_layers_may_be_negative_and_in_any_order(tmp_path):
    assert main(flags(tmp_path, "--layers", "-1,0")) == 0
    assert Run.open(tmp_path / "run").layers == [0, 2]
    assert main(flags(tmp_path, "--layers", "0,2", "--resume")) == 0


def test_resume_needs_a_folder(capsys):
    assert main(["--single_prompt", "x", "--resume"]) == 2
    assert "--out_dir" in capsys.readouterr().err


def test_out_of_memory_on_the_cpu_gives_one_line(tmp_path, monkeypatch, capsys):
    from neuron_signatures.models.capture import MlpCapture

    def run(self, *_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(MlpCapture, "run", run)
    assert main(flags(tmp_path)) == 1
    assert "out of memory with one prompt" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.1, 0.3, 0.6, 1.0, 1.5, 2.5])
def test_a_signal_at_any_moment_exits_with_75_or_0(tmp_path, moment):
    """Also while libraries are imported: an exception would break the import of their C modules."""
    command = interpreter_command(
        flags(tmp_path), before="import neuron_signatures.cli.signals; print('ready', flush=True)"
    )
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode in (0, 75), err
    assert "Traceback" not in err


def test_closed_streams_and_full_devices(tmp_path):
    run = " ".join([sys.executable, "-m", "neuron_signatures.poc1_dump_activations", *flags(tmp_path)])
    closed = subprocess.run(["bash", "-c", f"{run} >&-"], capture_output=True, text=True)
    assert closed.returncode == 0 and "Traceback" not in closed.stderr, closed.stderr
    show = f"{sys.executable} -m neuron_signatures.runs list {tmp_path}"
    full = subprocess.run(["bash", "-c", f"{show} > /dev/full"], capture_output=True, text=True)
    assert full.returncode == 1 and full.stderr.count("\n") == 1 and "No space left" in full.stderr
