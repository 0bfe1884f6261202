"""Stages that load a model which fits into the free memory only when it is quantised."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dump_faults import KILL_IN_SECOND_SHARD, run_dump
from pipeline_cases import RANKED, plan, write_config
from record_stage import extract, write_corpus
from skills_runs import collect_main

from neuron_signatures import poc1_dump_activations, poc2_analyze_run, poc8_weights
from neuron_signatures.models import fit
from neuron_signatures.runs.manifest import Manifest
from neuron_signatures.runs.run import Run

pytest.importorskip("bitsandbytes")

MODEL = ["--model_name", "demo", "--model_dtype", "fp32", "--device", "cpu"]
PROMPT = ["--single_prompt", "The capital of the state containing Dallas is"]
PLENTY = 1 << 40
FOR_8BIT_DUMP, FOR_8BIT = 9_000_000, 18_500_000
"""Free bytes with which a dump of one prompt, and the other stages, have to quantise the demo model. It needs 9.3 and
20.0 MB in fp32, 5.6 and 16.8 MB in 8bit."""


def set_free(monkeypatch: pytest.MonkeyPatch, n: int | None) -> None:
    monkeypatch.setattr(fit, "free_memory", lambda device, *, several: n)


def kill_with_free(n: int) -> None:
    """In a child process: kill it in the second shard, with `n` bytes free at its beginning."""
    fit.free_memory = lambda device, *, several: n
    KILL_IN_SECOND_SHARD()


def manifest(run: Path) -> Manifest:
    with Run.open(run) as opened:
        return opened.manifest


def dump(out: Path, *more: str, source: list[str] = PROMPT) -> int:
    return poc1_dump_activations.main([*MODEL, *source, "--out_dir", str(out), "--quiet", *more])


def test_a_dump_that_does_not_fit_is_quantised_and_says_so(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    set_free(monkeypatch, FOR_8BIT_DUMP)
    assert dump(tmp_path / "run") == 0
    line = "the weights need 6.4 MB in fp32 (9.3 MB with loading and a forward pass), 9.0 MB are free: loading in 8bit"
    err = capsys.readouterr().err
    assert err == f"{line} (5.6 MB); --quantization none forbids it\n"
    m = manifest(tmp_path / "run")
    assert m.quantization == m.flags_resolved["quantization"] == "8bit"
    assert m.flags_resolved["quantization_reason"] == f"{line} (5.6 MB)"

    # stages that load the model of the run again choose nothing
    set_free(monkeypatch, 1)
    flags = ["--mode", "influence", "--influence_metric", "dla", "--target_mode", "next_token", "--quiet"]
    assert poc2_analyze_run.main(["--run_dir", str(tmp_path / "run"), *flags, "--target_token", " Austin"]) == 0


def test_quantization_none_forbids_it(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    set_free(monkeypatch, FOR_8BIT_DUMP)
    assert dump(tmp_path / "run", "--quantization", "none") == 0
    m = manifest(tmp_path / "run")
    assert (m.quantization, m.flags_resolved.get("quantization_reason")) == ("none", None)
    assert "free" not in capsys.readouterr().err


def test_transformer_lens_gets_no_quantisation(tmp_path: Path, monkeypatch: Any) -> None:
    set_free(monkeypatch, FOR_8BIT_DUMP)
    assert dump(tmp_path / "run", "--backend", "transformer_lens") == 0
    assert manifest(tmp_path / "run").quantization == "none"


@pytest.mark.parametrize("free", [PLENTY, None])
def test_a_model_that_fits_is_not_quantised(tmp_path: Path, monkeypatch: Any, capsys: Any, free: int | None) -> None:
    set_free(monkeypatch, free)
    assert dump(tmp_path / "run", "--dry_run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["quantization"] == "none"


def test_the_forecast_says_what_would_be_chosen(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    set_free(monkeypatch, FOR_8BIT_DUMP)
    assert dump(tmp_path / "run", "--dry_run") == 0
    found = capsys.readouterr()
    assert "2.7 MB weights in 8bit (chosen to fit)" in found.out and "loading in 8bit" in found.err
    assert dump(tmp_path / "run", "--dry_run", "--json") == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["quantization"] == "8bit" and "9.0 MB are free" in fields["quantization_reason"]
    assert not (tmp_path / "run").exists()


def test_what_fits_in_no_form_goes_on_with_a_warning(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    set_free(monkeypatch, 1_000_000)
    assert dump(tmp_path / "run") == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "1.0 MB are free, and 4bit needs" in err
    assert manifest(tmp_path / "run").quantization == "none"


def test_without_bitsandbytes_it_is_one_line(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    set_free(monkeypatch, FOR_8BIT_DUMP)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert dump(tmp_path / "run") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "pip install bitsandbytes" in err and "--quantization none" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("first", "then", "kept"), [(FOR_8BIT_DUMP, PLENTY, "8bit"), (PLENTY, FOR_8BIT_DUMP, "none")], ids=["8bit", "none"]
)
def test_a_resumed_dump_keeps_its_quantisation(
    tmp_path: Path, monkeypatch: Any, capsys: Any, first: int, then: int, kept: str
) -> None:
    texts = [{"id": f"p{i}", "text": "The capital of the state containing Dallas is"} for i in range(3)]
    (tmp_path / "prompts.json").write_text(json.dumps(texts))
    source = ["--prompts_json", str(tmp_path / "prompts.json")]
    out, shards = tmp_path / "run", ["--shard_size", "50kB"]
    argv = [*MODEL, *source, "--out_dir", str(out), "--quiet", *shards]
    assert run_dump(argv, partial(kill_with_free, first)).returncode == -signal.SIGKILL
    set_free(monkeypatch, then)
    other = "none" if kept == "8bit" else "8bit"
    assert dump(out, "--resume", *shards, "--quantization", other, source=source) == 2
    assert f"quantization was '{kept}', is '{other}'" in capsys.readouterr().err
    assert dump(out, "--resume", *shards, source=source) == 0
    m = manifest(out)
    assert m.quantization == kept and len(m.files) == 3
    assert ("quantization_reason" in m.flags_resolved) is (kept == "8bit")
    # complete already
    assert dump(out, "--resume", *shards, source=source) == 0
    assert dump(out, "--resume", *shards, "--quantization", kept, source=source) == 0


def test_records_of_a_new_run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    set_free(monkeypatch, FOR_8BIT)
    out = tmp_path / "run"
    corpus = ["--corpus", str(write_corpus(tmp_path / "texts.jsonl")), "--sequence_length", "16", "--neurons", "L1N3"]
    argv = ["--out_dir", str(out), *MODEL, *corpus, "--quiet"]
    assert extract(*argv, "--dry_run") in (0, 1)
    assert "loading in 8bit" in capsys.readouterr().err
    assert extract(*argv) == 0
    m = manifest(out)
    assert m.quantization == m.flags_resolved["quantization"] == "8bit"
    assert "18.5 MB are free" in m.flags_resolved["quantization_reason"]
    set_free(monkeypatch, PLENTY)
    assert extract(*argv, "--resume") == 0
    assert manifest(out) == m


def test_skills_of_a_new_run(tmp_path: Path, monkeypatch: Any) -> None:
    set_free(monkeypatch, FOR_8BIT)
    texts = ["--texts", "demo", "--n_texts", "4", "--layers", "1", "--sample_tokens", "100"]
    assert collect_main("--out_dir", str(tmp_path / "run"), *texts) == 0
    assert manifest(tmp_path / "run").quantization == "8bit"
    set_free(monkeypatch, PLENTY)
    assert collect_main("--out_dir", str(tmp_path / "run"), *texts, "--overwrite") == 0
    assert collect_main("--run_dir", str(tmp_path / "run"), *texts, "--quantization", "4bit") == 2


def test_weights_of_a_new_run(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Without --model_dtype they are loaded as published, so that is what has to fit."""
    set_free(monkeypatch, FOR_8BIT)
    argv = ["--model_name", "demo", "--device", "cpu", "--n_random", "100", "--n_permuted", "100", "--quiet"]
    assert poc8_weights.main(["--out_dir", str(tmp_path / "run"), *argv]) == 0
    assert "in fp32 (20.0 MB" in capsys.readouterr().err
    m = manifest(tmp_path / "run")
    assert (m.quantization, m.model_dtype) == ("8bit", "fp32")
    assert "quantization_reason" in m.flags_resolved


def test_a_pipeline_does_not_change_with_the_free_memory(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """The default is no setting of a step; `auto` is one, the same every day."""
    path = write_config(tmp_path, RANKED)
    before = plan(path, capsys)
    set_free(monkeypatch, 1)
    assert plan(path, capsys) == before
    text = path.read_text().replace("[model]\n", '[model]\nquantization = "auto"\n')
    assert 'quantization = "auto"' in text
    path.write_text(text)
    assert plan(path, capsys).keys() == before.keys()
