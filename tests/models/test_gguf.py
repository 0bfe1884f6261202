"""GGUF files: their weights and tokens, converted once, whole or not at all; others refused in one line."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf_faults import kill_while_saving, limit_file_size, start_conversion
from tiny_gguf import write_gguf
from tiny_models import build_model

from neuron_signatures.models.gguf import convert as gguf_module
from neuron_signatures.models.gguf.convert import RECORD
from neuron_signatures.models.gguf.place import CACHE_VARIABLE, cache_folder
from neuron_signatures.models.identity import model_identity
from neuron_signatures.models.load import LoadedModel, load_config, load_model, load_tokenizer
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.run import Run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return cache_folder()


def load(file: Path, **changes: str) -> LoadedModel:
    return load_model(ModelSpec(str(file), dtype="fp32", device="cpu", **changes))


def test_the_weights_are_those_of_the_model_that_was_written(tmp_path: Path) -> None:
    model, reference = load(write_gguf(tmp_path / "tiny.gguf")), build_model("llama")
    got = dict(model.hf.named_parameters())
    assert set(got) == {name for name, _ in reference.named_parameters()}
    for name, want in reference.named_parameters():
        assert torch.equal(got[name], want), name
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(model.hf(ids).logits, reference(ids).logits, rtol=1e-5, atol=1e-5)


def test_digits_are_split_as_the_file_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """transformers 5.23 drops this rule: two spaces before a digit would be two tokens, not one."""
    pieces = {}
    for pre in ("smollm", "gpt-2", "somebody's", None):
        caplog.clear()
        tokenizer = load_tokenizer(ModelSpec(str(write_gguf(tmp_path / f"{len(pieces)}.gguf", pre=pre))))
        split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
        pieces[pre] = [text for text, _ in split]
        assert ("GPT-2's is used" in caplog.text) == (pre in ("somebody's", None))
    assert pieces["smollm"] == ["a", "ĠĠ", "1", "2"]
    assert pieces["gpt-2"] == pieces["somebody's"] == pieces[None] == ["a", "Ġ", "Ġ12"]


def test_the_file_is_what_identifies_the_model(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    spec = ModelSpec(str(file), device="cpu")
    identity = model_identity(spec, load_config(spec), load_tokenizer(spec))
    assert identity.weights_fingerprint == f"gguf:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert (identity.quantization, identity.architecture) == ("checkpoint:gguf-F32", "LlamaForCausalLM")


def test_stage_1_takes_a_gguf_file_and_records_it(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    flags = ["--model_name", str(file), "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    assert main([*flags, "--single_prompt", "the capital", "--out_dir", str(tmp_path / "run")]) == 0
    manifest = Run.open(tmp_path / "run").manifest
    assert manifest.model_name == str(file) and manifest.quantization == "checkpoint:gguf-F32"
    assert manifest.weights_fingerprint == f"gguf:{hashlib.sha256(file.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "mamba"}, "architecture mamba is not a dense decoder"),
        ({"architecture": "no-such-thing"}, "architecture no-such-thing cannot be read as a causal language model"),
        ({"architecture": "t5"}, "architecture t5 cannot be read as a causal language model"),
        (
            {"architecture": "qwen2moe", "metadata": {"expert_count": 8}},
            "architecture qwen2moe is a mixture of experts",
        ),
        ({"metadata": {"expert_count": 8}}, "architecture llama is a mixture of experts"),
        ({"metadata": {"split.count": 3}}, "one part of a split GGUF model"),
        # What transformers would leave out, so that the activations were another model's:
        ({"tensors": {"blk.0.attn_q.bias": np.ones(32, "f4")}}, "such as blk.0.attn_q.bias"),
        ({"metadata": {"block_count": 1}}, "such as blk.1."),
        ({"tensors": {"rope_freqs.weight": np.ones(4, "f4")}}, "does not read rope_freqs.weight"),
        ({"metadata": {"rope.scaling.type": "yarn"}}, "does not read llama.rope.scaling.type"),
        ({"metadata": {"logit_scale": 0.5}}, "does not read llama.logit_scale"),
        # Metadata that do not fit the tensors, or make no sense:
        ({"metadata": {"feed_forward_length": 7}}, "values in the file"),
        ({"tensors": {"output_norm.weight": None}}, "values in the file"),
        ({"tensors": {"blk.0.ffn_gate.weight": np.ones((44, 64), "f4")}}, "has shape (44, 64) in the GGUF file"),
        ({"metadata": {"attention.head_count": 0}}, "architecture llama cannot be read"),
        ({"metadata": {"general.file_type": [1, 2]}}, "a int is expected"),
        ({"metadata": {"tokenizer.ggml.bos_token_id": 1_000_000}}, "cannot be converted"),
        ({"metadata": {"tokenizer.chat_template": [1]}}, "cannot be converted"),
    ],
)
def test_what_cannot_be_converted_faithfully_is_refused(
    tmp_path: Path, cache: Path, changes: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", **changes)
    argv = ["--model_name", str(file), "--single_prompt", "a", "--out_dir", str(tmp_path / "run"), "--quiet"]
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and len(err) - len(str(tmp_path)) < 400, err
    assert not (tmp_path / "run").exists() and not list(cache.glob("*[!k]"))


@pytest.mark.parametrize("keep", [0, 3, 30, 400, 9000])
def test_a_damaged_file_is_one_line(tmp_path: Path, cache: Path, keep: int) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(write_gguf(tmp_path / "whole.gguf").read_bytes()[:keep])
    with pytest.raises(UsageError, match="not a readable GGUF file"):
        load_config(ModelSpec(str(file)))
    file.write_bytes(b"\x00" * 100)
    with pytest.raises(UsageError, match="not a readable GGUF file"):
        load_config(ModelSpec(str(file)))


@pytest.mark.parametrize("missing", [5, 60_000])
def test_a_file_that_is_cut_off_is_said_to_be(tmp_path: Path, cache: Path, missing: int) -> None:
    file, whole = tmp_path / "tiny.gguf", write_gguf(tmp_path / "whole.gguf").read_bytes()
    file.write_bytes(whole[:-missing])
    with pytest.raises(EnvironmentProblem, match=rf"cut off: {len(whole) - missing} bytes, {len(whole)} expected"):
        load_config(ModelSpec(str(file)))
    assert not list(cache.glob("*[!k]"))


def test_a_name_of_no_file_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for name, message in (
        ("typo.gguf", "no such GGUF file"),
        ("~nobody-of-this-name/x.gguf", "no such GGUF file"),
        (str(tmp_path / "pipe.gguf"), "not a regular file"),
    ):
        with pytest.raises(UsageError, match=message):
            load_config(ModelSpec(name))


def test_a_file_that_changes_meanwhile_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    real = gguf_module.checked_config

    def change(*given: object) -> object:
        config = real(*given)
        write_gguf(file, tensors={"output_norm.weight": np.zeros(32, "f4")})
        return config

    monkeypatch.setattr(gguf_module, "checked_config", change)
    with pytest.raises(EnvironmentProblem, match="changed while it was converted"):
        load_config(ModelSpec(str(file)))
    assert not list(cache.glob("*[!k]"))


def test_a_full_disk_is_said_of_the_cache(tmp_path: Path, cache: Path) -> None:
    done = start_conversion(write_gguf(tmp_path / "tiny.gguf"), limit_file_size(90_000)).wait()
    assert done.returncode == 1 and f"error: {cache}" in done.stderr and CACHE_VARIABLE in done.stderr
    assert not list(cache.glob("*[!k]"))


def test_a_conversion_is_done_once_and_again_only_when_damaged(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    load(file)
    (folder,) = (f for f in cache.iterdir() if f.is_dir())
    again = ModelSpec(str(file), dtype="bf16", device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(gguf_module.AutoModelForCausalLM, "from_pretrained", pytest.fail)
        load_config(again)
    (folder / RECORD).write_text("[" * 200_000)
    os.utime(file)
    load_config(again)
    for name in ("tokenizer.json", "model.safetensors", RECORD):
        damaged = bytearray((folder / name).read_bytes())
        damaged[-3] ^= 1
        (folder / name).write_bytes(damaged)
        caplog.clear()
        os.utime(file)  # the file is looked at anew when its time of change differs
        load_config(again)
        assert f"{folder} is damaged; converting again" in caplog.text, name


def test_a_killed_conversion_leaves_no_model_and_is_swept(tmp_path: Path, cache: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    assert start_conversion(file, kill_while_saving).wait().returncode == -signal.SIGKILL
    left = [p.name for p in cache.iterdir() if p.is_dir()]
    assert len(left) == 1 and left[0].startswith(".tmp-")
    assert len(load_tokenizer(ModelSpec(str(file)))) > 0
    assert [p.name.startswith(".tmp-") for p in cache.iterdir() if p.is_dir()] == [False]


def test_two_processes_make_one_conversion(tmp_path: Path, cache: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    ended = [child.wait() for child in [start_conversion(file), start_conversion(file)]]
    errors = [child.stderr for child in ended]
    assert [child.returncode for child in ended] == [0, 0], errors
    assert sum(text.count("converting tiny.gguf once") for text in errors) == 1, errors


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(EnvironmentProblem, match=CACHE_VARIABLE):
        load_config(ModelSpec(str(write_gguf(tmp_path / "tiny.gguf"))))


def test_no_room_is_said_before_anything_is_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_module, "free_bytes", lambda folder: 1000)
    with pytest.raises(EnvironmentProblem, match=r"no room to convert tiny\.gguf: .* needed, 1\.0 kB free"):
        load_config(ModelSpec(str(write_gguf(tmp_path / "tiny.gguf"))))
    assert not list(cache.glob("*[!k]"))
