"""What is said before and after the weights are loaded."""

from __future__ import annotations

import io
import json
import logging
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model_dir

from neuron_signatures.models import memory
from neuron_signatures.models.info import model_info, weights_bytes
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs import host_memory
from neuron_signatures.runs.files import human_bytes

DLA = ["--mode", "influence", "--device", "cpu"]
IG = [*DLA, "--influence_metric", "ig", "--reference", "zero", "--ig_steps", "1", "--ig_max_steps", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A bf16 run of a tiny model."""
    folder = tmp_path_factory.mktemp("loading")
    shutil.copytree(tiny_model_dir("llama"), folder / "model")
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps([{"id": "a", "text": "the capital of Dallas"}]))
    argv = ["--model_name", str(folder / "model"), "--prompts_json", str(prompts), "--out_dir", str(folder / "run")]
    assert dump([*argv, "--device", "cpu", "--model_dtype", "bf16", "--quiet"]) == 0
    return folder / "run"


@pytest.fixture
def sizes(made) -> dict[str, str]:
    info = model_info(ModelSpec(name=str(made.parent / "model")))
    return {dtype: human_bytes(weights_bytes(info, dtype)) for dtype in ("bf16", "fp32")}  # type: ignore[arg-type]


def said(made: Path, capsys, *flags: str) -> list[str]:
    """The lines on stderr about loading."""
    assert main(["--run_dir", str(made), *flags]) == 0
    lines = capsys.readouterr().err.splitlines()
    return [x for x in lines if ("load" in x or "weights" in x) and not x.startswith("forecast")]


def test_size_precision_and_device_are_named_before_and_the_time_after(made, capsys, sizes):
    first, last = said(made, capsys, *DLA)
    assert first == f"loading {made.parent / 'model'} on cpu: {sizes['bf16']} of weights in bf16"
    assert last.startswith("loaded in ") and last.endswith(" s")


def test_fp32_for_differences_is_explained_with_both_sizes(made, capsys, sizes):
    first, _ = said(made, capsys, *IG)
    assert first.endswith(
        f"{sizes['fp32']} of weights in fp32 instead of {sizes['bf16']} in bf16, because differences of forward passes "
        "are reported (--model_dtype bf16 is smaller, but coarse)"
    )
    first, _ = said(made, capsys, *DLA, "--model_dtype", "fp32")  # the user's choice needs no reason
    assert first.endswith(f"{sizes['fp32']} of weights in fp32")


def test_weights_that_do_not_fit_into_memory_give_a_warning(made, capsys, sizes, tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(host_memory, "MEMINFO", meminfo)
    meminfo.write_text("MemTotal: 9999999 kB\nMemAvailable:       3 kB\n")
    warning = f"the weights need {{}}, but cpu has {human_bytes(3072)} free: "
    _, found, _ = said(made, capsys, *IG)
    assert found == f"{warning.format(sizes['fp32'])}use --model_dtype bf16 ({sizes['bf16']}), or free some memory"
    assert said(made, capsys, *DLA)[1] == f"{warning.format(sizes['bf16'])}free some memory"
    assert said(made, capsys, *IG, "--quiet") == [found]
    for text in ("MemAvailable: 99999999 kB\n", "MemAvailable:\n", "MemTotal: 3 kB\n", "MemAvailable: x kB\n"):
        meminfo.write_text(text)
        assert len(said(made, capsys, *IG)) == 2
    meminfo.unlink()
    assert len(said(made, capsys, *IG)) == 2


def test_free_memory_of_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: (10 if torch.device("cuda", 1) == d or d == 1 else 3, 99))
    assert memory.free_memory(torch.device("cuda", 1), several=False) == 10
    assert memory.free_memory(torch.device("cuda"), several=True) == 13
    assert memory.free_memory(torch.device("mps"), several=False) is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_bar_of_the_weights(made, monkeypatch, caplog):
    for flags, shown in (([], True), (["--quiet"], False)):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(["--run_dir", str(made), *DLA, *flags]) == 0
        assert ("Loading weights" in terminal.getvalue()) == shown
    logging.getLogger("neuron_signatures").handlers.clear()  # those of the closed terminal
