"""Stage 1 on the command line: mistakes found before libraries load, hang-ups, and bit-equal results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from dump_faults import KILL_IN_SECOND_SHARD, hold, run_dump, start_dump
from dump_runs import flags, write_prompts
from forked import run
from paths import DEMO_RUN

from neuron_signatures.cli.command import command
from neuron_signatures.cli.signals import stop_on_signals
from neuron_signatures.dump.prompts import MAX_PROMPT_BYTES, read_prompts
from neuron_signatures.dump.record import manifest_bytes
from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs import manifest_file
from neuron_signatures.runs.__main__ import main as runs_main
from neuron_signatures.runs.errors import ExitCode, UsageError
from neuron_signatures.runs.run import Run

SMALL_SHARDS = ("--shard_size", "8kB")

# Runs each command line, then says whether a model library was imported.
_REFUSE = """
import json, sys
from importlib import import_module
for module, argv in json.loads(sys.argv[1]):
    code = import_module(f"neuron_signatures.{module}").main(argv)
    loaded = sorted({"torch", "transformers", "tokenizers", "safetensors.torch"} & set(sys.modules))
    print(code, loaded, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_mistakes_are_refused_before_a_model_library_is_imported(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    good, same = tmp_path / "good.json", tmp_path / "same.json"
    good.write_text('[{"id": "a", "text": "x"}]')
    same.write_text('[{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]')
    out = ["--out_dir", str(tmp_path / "run"), "--model_name", "demo"]
    dump, rank, demo = "poc1_dump_activations", "poc2_analyze_run", ["--run_dir", str(DEMO_RUN)]
    below, influence = ["--out_dir", str(tmp_path / "file" / "run")], ["--mode", "influence", "--prompt_id", "nope"]
    cases = [
        (dump, ["--prompts_json", str(tmp_path / "pipe"), *out], 2, "pipe: not a regular file"),
        (dump, ["--prompts_json", "/dev/zero", *out], 2, "/dev/zero: not a regular file"),
        (dump, ["--prompts_json", str(tmp_path), *out], 2, "not a regular file"),
        (dump, ["--prompts_json", str(tmp_path / "absent"), *out], 2, "absent: there is no such file"),
        (dump, ["--prompts_json", str(tmp_path / "file"), *out], 2, "not valid JSON"),
        (dump, ["--prompts_json", str(same), *out], 2, "used twice"),
        (dump, [f"@{tmp_path}/pipe"], 2, "cannot read flags from this file (not a regular file)"),
        (dump, ["--prompts_json", str(good), *below], 2, "file: is a file, not a folder"),
        (dump, ["--prompts_json", str(good), *below, "--dry_run"], 2, "file: is a file, not a folder"),
        (dump, ["--prompts_json", str(good), "--out_dir", "a" * 300], 1, "File name too long"),
        (dump, ["--prompts_json", str(good), "--out_dir", str(DEMO_RUN)], 2, "holds a complete run already"),
        (rank, ["--run_dir", str(tmp_path / "absent"), "--mode", "influence"], 3, "absent"),
        (rank, [*demo, *influence], 2, "no prompt 'nope'"),
        (rank, [*demo, "--write_scores", "3", "--prompt_id", "9" * 5000], 2, "no prompt '999"),
        (rank, [*demo, "--write_scores", "3", "--functional_tokens_json", str(tmp_path / "pipe")], 2, "not a regular"),
        (rank, [*demo, "--mode", "signatures", "--concepts_json", "/dev/zero"], 2, "not a regular file"),
    ]  # fmt: skip
    asked = json.dumps([(module, argv) for module, argv, *_ in cases])
    done = subprocess.run([sys.executable, "-c", _REFUSE, asked], capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines() == [f"{code} []" for *_, code, _ in cases], done.stderr
    for line, (*_, needle) in zip(done.stderr.splitlines(), cases, strict=True):
        assert line.startswith("error: ") and needle in line and len(line) <= 400


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        ('[{"id": "a", "text": "x", "n": 12345678901234567890}]', "an integer of 20 digits"),
        ('[{"id": "a", "text": "x", "n": 1e100}]', "1e100 or more"),
        ('[{"id": "a", "text": "x", "n": 123456e95}]', "'a': metadata has a number of 1e100 or more"),
        ('{"id": "a", "text": "x"}\n{"id": "b", "text": "x", "n": 1e100}\n', "line 2: not valid JSON"),
        ('{"id": "a", "text": "x"}\n{"id": "b", "text": "12345678901234567890, "x"}\n', "line 2 column"),
        (json.dumps([{"id": "a", "text": "x", "text2": 0}])[:-1] + ', {"id": "b", "id": "c"}]', "'id' appears twice"),
    ],
)
def test_metadata_that_no_reader_accepts_is_refused(tmp_path, content, needle):
    path = tmp_path / "prompts.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_prompts(path, None, limit=None)
    assert needle in caught.value.line()


def test_accepted_metadata_can_be_read_again(tmp_path):
    metadata = {"n": 10**19 - 1, "x": 9.99e98, "y": -5e-324, "z": 0.00012345678901234567, "deep": [[[{"a": [None]}]]]}
    assert main(flags(tmp_path, prompts=write_prompts(tmp_path / "p.json", ["is"], **metadata))) == 0
    assert Run.open(tmp_path / "run").prompt(0).metadata == metadata


def test_a_size_that_no_reader_accepts_is_refused(tmp_path, capsys):
    assert main(flags(tmp_path, "--shard_size", "9999999999TB")) == 2
    assert "larger than any disk" in capsys.readouterr().err


@pytest.mark.parametrize("chat", [False, True])
def test_a_prompt_over_the_limit_is_refused_before_it_is_tokenized(tmp_path, capsys, monkeypatch, chat):
    monkeypatch.setattr("neuron_signatures.dump.plan.load_tokenizer", pytest.fail)
    text = "é" * (MAX_PROMPT_BYTES // 2) + "a"
    prompt = {"messages": [{"role": "user", "content": text}]} if chat else {"text": text}
    (tmp_path / "long.json").write_text(json.dumps([{"id": "a", **prompt}]))
    assert main(flags(tmp_path, "--truncate", prompts=tmp_path / "long.json")) == 2
    assert f"the limit for one prompt is {MAX_PROMPT_BYTES}" in capsys.readouterr().err


def test_a_manifest_over_the_limit_is_refused_before_the_model_loads(tmp_path, capsys, monkeypatch):
    planned = []
    monkeypatch.setattr(
        "neuron_signatures.dump.dump.check_manifest_size", lambda plan: planned.append(manifest_bytes(plan))
    )
    texts = ["\x01\u202e" * 9, '"\\' * 9, "is in"] * 100
    prompts = write_prompts(tmp_path / "p.json", texts, note="\x02" * 400, é="é" * 99)
    assert main(flags(tmp_path, *SMALL_SHARDS, prompts=prompts)) == 0
    assert (tmp_path / "run" / "manifest.json").stat().st_size <= planned[0]
    monkeypatch.undo()

    monkeypatch.setattr("neuron_signatures.dump.dump.load_model", pytest.fail)
    monkeypatch.setattr(manifest_file, "MAX_BYTES", planned[0] - 1)
    for more in ([], ["--dry_run"]):
        assert main(flags(tmp_path, *SMALL_SHARDS, *more, prompts=prompts, out="other")) == 2
        err = capsys.readouterr().err
        assert "the manifest of 300 prompts" in err and "Split the prompts" in err
    assert not (tmp_path / "other").exists()


# A closed terminal


def _hang_up_twice() -> int:
    @command
    def stage(argv=None):
        with stop_on_signals(resume="run it again"):
            try:
                signal.raise_signal(signal.SIGHUP)
            finally:
                signal.raise_signal(signal.SIGHUP)
        return 0

    code = stage([])
    signal.raise_signal(signal.SIGHUP)  # the last one comes when the stage has ended
    return code


def _ignore_hang_up() -> None:
    from neuron_signatures.dump import dump

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    plan = dump.plan_batches

    def plan_batches(*args, **kwargs):
        signal.raise_signal(signal.SIGHUP)
        return plan(*args, **kwargs)

    dump.plan_batches = plan_batches


hangs_up = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP")


@hangs_up
def test_the_shell_and_the_system_may_both_report_a_closed_terminal():
    done = run(_hang_up_twice)
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.RESUMABLE, 1)
    assert "stopped by SIGHUP; finished work is kept. To continue, run it again" in done.stderr


@hangs_up
def test_under_nohup_a_dump_continues(tmp_path):
    assert run_dump(flags(tmp_path), _ignore_hang_up).returncode == 0
    assert Run.is_complete(tmp_path / "run")


@hangs_up
def test_a_dump_whose_terminal_is_gone_can_be_resumed(tmp_path):
    import pty

    parent, terminal = pty.openpty()
    second_shard = partial(hold, 2, journal=tmp_path / "run" / "dump_journal.jsonl")
    child = start_dump(flags(tmp_path, *SMALL_SHARDS), second_shard, stderr=os.ttyname(terminal))
    seen = b""
    while b"computing" not in seen:
        seen += os.read(parent, 4096)
    os.close(terminal)
    os.close(parent)  # from here on, writing to stderr fails
    os.kill(child.pid, signal.SIGHUP)
    assert child.wait().returncode == 75
    assert main(flags(tmp_path, *SMALL_SHARDS, "--resume")) == 0


@hangs_up
def test_a_hang_up_while_libraries_are_imported(tmp_path):
    code = (
        "import os, signal, sys\n"
        "class HangUp:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGHUP)\n"
        "sys.meta_path.insert(0, HangUp())\n"
        "from neuron_signatures.poc1_dump_activations import main\n"
        f"sys.exit(main({flags(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr.count("\n")) == (75, 1), done.stderr
    assert "stopped by SIGHUP" in done.stderr


# Equal bits


def _stored(folder: Path) -> list[np.ndarray]:
    with Run.open(folder) as opened:
        return [opened.acts(i) for i in range(len(opened.prompts))]


def _same_bits(a: Path, b: Path) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(_stored(a), _stored(b), strict=True))


def test_deterministic_dumps_have_equal_bits_for_any_batch_shard_and_threads(tmp_path, capsys):
    fp32 = ("--save_dtype", "fp32", "--model_name", "demo")
    for name, threads, *more in (
        ("one", 1, "--batch_size", "1"),
        ("eight", 1, "--batch_size", "8"),
        ("det_one", 1, "--batch_size", "1", "--deterministic"),
        ("det_eight", 2, "--batch_size", "8", *SMALL_SHARDS, "--deterministic"),
        ("two_threads", 2),
    ):
        done = run_dump(flags(tmp_path, *fp32, *more, out=name), partial(torch.set_num_threads, threads))
        assert done.returncode == 0, done.stderr
    assert not _same_bits(tmp_path / "one", tmp_path / "eight")  # else the next line would show nothing
    assert _same_bits(tmp_path / "det_one", tmp_path / "det_eight")
    with Run.open(tmp_path / "det_eight") as deterministic, Run.open(tmp_path / "two_threads") as other:
        assert (deterministic.manifest.cpu_threads, other.manifest.cpu_threads) == (1, 2)
        assert deterministic.manifest.flags_resolved["deterministic"] is True
        assert other.manifest.flags_resolved["deterministic"] is None
    assert runs_main(["show", str(tmp_path / "det_eight")]) == 0
    assert "1 CPU thread, deterministic" in capsys.readouterr().out
    assert runs_main(["show", str(tmp_path / "two_threads")]) == 0
    assert "2 CPU threads\n" in capsys.readouterr().out


def _use_an_operation_without_a_deterministic_kernel() -> None:
    from neuron_signatures.dump import dump

    def forward(*_, **__):
        torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))

    dump.run_batch = forward


def test_an_operation_that_is_not_deterministic_ends_with_one_line(tmp_path):
    done = run_dump(flags(tmp_path, "--deterministic"), _use_an_operation_without_a_deterministic_kernel)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "put_ has no deterministic implementation on this device. Use --device cpu" in done.stderr


def test_a_deterministic_dump_is_resumed_as_such(tmp_path, capsys):
    argv = flags(tmp_path, *SMALL_SHARDS)
    assert run_dump([*argv, "--deterministic"], KILL_IN_SECOND_SHARD).returncode == -signal.SIGKILL
    assert main([*argv, "--resume"]) == 2
    assert "deterministic was True, is None" in capsys.readouterr().err
    assert run_dump([*argv, "--resume", "--deterministic"]).returncode == 0
    assert main([*argv, "--resume"]) == 2  # also of a complete run
    assert "deterministic was True, is None" in capsys.readouterr().err
