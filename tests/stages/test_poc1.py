"""Stage 1 end to end on tiny models: the stored activations are those of the model, for any batch size."""

from __future__ import annotations

import functools
import json
import shutil

import numpy as np
import pytest
import torch
from dump_runs import TEXTS, flags, write_prompts
from tiny_models import ARCHITECTURES, D_MLP, N_LAYERS, tiny_model_dir
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from neuron_signatures.dump.batches import plan_batches
from neuron_signatures.models.capture import output_projections
from neuron_signatures.models.tokens import encode_text
from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.layer_numbers import parse_layers
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.shards import plan_shards
from neuron_signatures.runs.verify import verify_run


@functools.cache
def reference_acts(model: str, text: str) -> np.ndarray:
    """The inputs of the output projections in a forward pass of the whole Hugging Face model."""
    hf, tokenizer = reference_model(model)
    ids = encode_text(tokenizer, text, prepend_bos=True)
    seen: dict[int, torch.Tensor] = {}
    handles = [
        module.register_forward_pre_hook(lambda _, args, layer=layer: seen.__setitem__(layer, args[0]))
        for layer, module in enumerate(output_projections(hf))
    ]
    with torch.no_grad():
        hf(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.stack([seen[layer].reshape(len(ids), -1) for layer in range(N_LAYERS)]).numpy()


@functools.cache
def reference_model(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = tiny_model_dir(model)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_batch_size_1_equals_a_forward_hook_bit_for_bit_and_batches_agree(tmp_path, model):
    assert main(flags(tmp_path, "--save_dtype", "fp32", "--batch_size", 1, model=model, out="one")) == 0
    assert main(flags(tmp_path, "--save_dtype", "fp32", model=model, out="fitted")) == 0
    assert main(flags(tmp_path, "--save_dtype", "fp32", "--batch_size", 7, model=model, out="seven")) == 0
    one, fitted, seven = (Run.open(tmp_path / name) for name in ("one", "fitted", "seven"))
    assert [p.probe_id for p in seven.prompts] == [f"p{i}" for i in range(len(TEXTS))]
    for i, text in enumerate(TEXTS):
        np.testing.assert_array_equal(one.acts(i), reference_acts(model, text))
        np.testing.assert_allclose(fitted.acts(i), one.acts(i), rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(seven.acts(i), one.acts(i), rtol=1e-4, atol=2e-5)


def test_the_manifest_records_model_prompts_and_settings(tmp_path, capsys):
    prompts = write_prompts(tmp_path / "prompts.json", kind="probe", concepts=["Dallas", "Austin"])
    assert main(flags(tmp_path, "--shard_size", "20kB", "--seed", 3, "--json", prompts=prompts)) == 0
    summary = json.loads(capsys.readouterr().out)
    run = Run.open(tmp_path / "run", check="sha256")
    m = run.manifest
    assert (m.format_version, m.n_layers, m.d_mlp, m.seed) == (2, N_LAYERS, D_MLP, 3)
    assert m.hook_name == "blocks.{layer}.mlp.hook_post"
    assert m.weights_fingerprint and m.tokenizer_sha256 and m.versions["torch"] == torch.__version__
    assert m.attn_implementation == "eager" and m.bos_policy == "prepended"
    assert m.flags_given[:2] == ["--model_name", str(tiny_model_dir("gemma2"))]
    assert len(m.files) > 1 and m.activations_file is None
    first = m.prompts[0]
    assert first.text == TEXTS[0] and "".join(first.tokens) == "<bos>" + TEXTS[0]
    assert first.tokens[0] == "<bos>" and " capital" in first.tokens
    assert first.metadata == {"kind": "probe", "concepts": ["Dallas", "Austin"]}
    assert all(p.activation_tensor_key == p.probe_id for p in m.prompts)
    assert summary == {
        **summary, "run": str(tmp_path / "run"), "prompts": len(TEXTS), "failed": 0, "tokens": m.n_tokens,
        "bytes": run.nbytes(), "shards": len(m.files), "shards_kept": 0,
    }  # fmt: skip
    assert not list((tmp_path / "run").glob(".*")) and not (tmp_path / "run" / "dump_journal.jsonl").exists()


def test_tokens_in_the_environment_are_not_in_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret")
    assert main(flags(tmp_path)) == 0
    assert "verysecret" not in (tmp_path / "run" / "manifest.json").read_text()


@pytest.mark.parametrize("save_format", ["safetensors", "pt"])
@pytest.mark.parametrize("save_dtype", ["bf16", "fp16", "fp32"])
def test_formats_and_dtypes_hold_the_same_numbers(tmp_path, save_format, save_dtype):
    more = ("--save_format", save_format, "--save_dtype", save_dtype, "--shard_size", "15kB")
    assert main(flags(tmp_path, *more)) == 0
    run = Run.open(tmp_path / "run", check="sha256")
    torch_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[save_dtype]
    for i, text in enumerate(TEXTS):
        want = torch.from_numpy(reference_acts("gemma2", text)).to(torch_dtype).float()
        np.testing.assert_allclose(run.acts(i), want.numpy(), rtol=1e-2 if save_dtype == "bf16" else 2e-3, atol=1e-4)
    assert verify_run(run.path).faults == []


def test_chosen_layers_are_stored_under_their_own_numbers(tmp_path):
    assert main(flags(tmp_path, "--save_dtype", "fp32", "--batch_size", 1, "--layers", "0,2", "--limit", 2)) == 0
    run = Run.open(tmp_path / "run")
    assert run.layers == [0, 2] and len(run.prompts) == 2 and run.manifest.n_layers == N_LAYERS
    want = reference_acts("gemma2", TEXTS[0])
    np.testing.assert_array_equal(run.acts(0, layer=2), want[2])
    np.testing.assert_array_equal(run.acts(0, layer=2, neuron=5), want[2, :, 5])
    with pytest.raises(UsageError, match="layer 1 is not stored"):
        run.acts(0, layer=1)


def test_bos_is_prepended_by_default(tmp_path):
    assert main(flags(tmp_path, out="with")) == 0
    assert main(flags(tmp_path, "--no_prepend_bos", out="without")) == 0
    with_bos, without = Run.open(tmp_path / "with"), Run.open(tmp_path / "without")
    assert with_bos.prompt(0).token_ids == [with_bos.manifest.bos_token_id, *without.prompt(0).token_ids]
    assert (without.manifest.bos_policy, without.manifest.prepend_bos) == ("off", False)


@pytest.mark.parametrize(
    ("model", "bos", "adds", "policy", "notice"),
    [
        (
            "gpt2",
            "prepend",
            False,
            "prepended",
            "<|endoftext|> is put in front of every text (--bos tokenizer leaves",
        ),
        ("gpt2", "tokenizer", False, "off", "texts begin without <|endoftext|>"),
        ("gpt2", "off", False, "off", ""),
        ("qwen2", "prepend", False, "none", "the tokenizer has no BOS"),
        ("gemma2", "prepend", True, "prepended", ""),
        ("gemma2", "tokenizer", True, "prepended", ""),
    ],
)
def test_bos_of_the_tokenizer_is_reported_and_recorded(tmp_path, capsys, model, bos, adds, policy, notice):
    argv = [f for f in flags(tmp_path, "--bos", bos, model=model) if f != "--quiet"]
    assert main(argv) == 0
    err = capsys.readouterr().err
    assert (notice in err) if notice else ("BOS" not in err)
    m = Run.open(tmp_path / "run").manifest
    assert (m.tokenizer_adds_bos, m.bos_policy, m.prepend_bos) == (adds, policy, policy != "off")
    assert m.flags_resolved["bos"] == bos


def test_truncation_is_recorded_per_prompt(tmp_path):
    prompts = write_prompts(tmp_path / "long.json", ["Dallas " * 80, "is"])
    assert main(flags(tmp_path, "--truncate", prompts=prompts, out="context")) == 0
    assert main(flags(tmp_path, "--truncate", 5, prompts=prompts, out="five")) == 0
    assert [p.seq_len for p in Run.open(tmp_path / "context").prompts] == [64, 3]
    five = Run.open(tmp_path / "five").prompts
    assert [(p.seq_len, p.truncated_from is not None) for p in five] == [(5, True), (3, False)]
    assert five[0].truncated_from > 64


def test_json_lines_and_chats(tmp_path, monkeypatch):
    path = tmp_path / "prompts.jsonl"
    chat = [{"role": "user", "content": "Dallas"}]
    lines = [{"id": "a", "text": "in\u2028on"}, {"id": "b", "messages": chat, "topic": "x"}]
    path.write_text("\n".join(json.dumps(x, ensure_ascii=False) for x in lines) + "\n\n", encoding="utf-8")
    template = "{{ bos_token }}{% for m in messages %}{{ m.role }} {{ m.content }}{% endfor %}"
    monkeypatch.setattr("transformers.PreTrainedTokenizerBase.chat_template", template, raising=False)
    tokenizer_with_template(tmp_path, template)
    model = ["--model_name", str(tmp_path / "chatty"), "--model_dtype", "fp32", "--quiet"]
    assert main([*model, "--prompts_json", str(path), "--out_dir", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    assert run.prompt("b").text == "<bos>user Dallas"
    assert run.prompt("b").metadata == {"topic": "x", "messages": chat}
    assert "\u2028" in run.prompt("a").text


def tokenizer_with_template(tmp_path, template):
    shutil.copytree(tiny_model_dir("gemma2"), tmp_path / "chatty")
    (tmp_path / "chatty" / "chat_template.jinja").write_text(template)


def test_a_dry_run_prints_sizes_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("neuron_signatures.dump.dump.load_model", pytest.fail)
    assert main(flags(tmp_path, "--dry_run", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    assert main(flags(tmp_path)) == 0
    run = Run.open(tmp_path / "run")
    lengths = [p.seq_len for p in run.prompts]
    assert found["tokens"] == sum(lengths) and found["prompts"] == len(lengths)
    assert (found["tokens_min"], found["tokens_max"]) == (min(lengths), max(lengths))
    assert found["disk_bytes"] == sum(run.tensor(i).nbytes for i in range(len(lengths)))
    assert 0 < run.nbytes() - found["disk_bytes"] < 4096  # the header
    assert main(flags(tmp_path, "--dry_run", out="other")) == 0
    assert "nothing was written" in capsys.readouterr().out


def test_flags_from_a_file_and_with_hyphens(tmp_path, capsys):
    prompts = write_prompts(tmp_path / "prompts.json")
    (tmp_path / "flags").write_text(f"--model-name {tiny_model_dir('gemma2')}  # tiny\n--model-dtype fp32 --quiet\n")
    assert main([f"@{tmp_path / 'flags'}", "--prompts-json", str(prompts), "--out-dir", str(tmp_path / "run")]) == 0
    out = ["--out_dir", str(tmp_path / "mail"), f"@{tmp_path / 'flags'}"]
    assert main(["--single_prompt", "@Dallas", *out]) == 0
    assert Run.open(tmp_path / "mail").prompt(0).text == "@Dallas"
    assert main(["@nowhere"]) == 2
    assert "@nowhere: cannot read flags" in capsys.readouterr().err


def test_default_folders_have_unique_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ["--model_name", str(tiny_model_dir("gemma2")), "--model_dtype", "fp32", "--quiet"]
    for _ in range(2):
        assert main([*model, "--single_prompt", "Dallas"]) == 0
    names = sorted(p.name for p in (tmp_path / "runs").iterdir())
    assert len(names) == 2 and all(n.startswith("poc1_2") for n in names)


def test_overwrite_replaces_a_run_and_its_results_only(tmp_path, capsys):
    assert main(flags(tmp_path, "--shard_size", "15kB")) == 0
    (tmp_path / "run" / "analysis").mkdir()
    (tmp_path / "run" / "analysis" / "top_neurons.json").write_text("[]")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert main(flags(tmp_path)) == 2
    assert "holds a complete run already" in capsys.readouterr().err
    assert main(flags(tmp_path, "--overwrite", "--limit", 1)) == 0
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {"manifest.json", "activations.safetensors", "notes.txt"}
    assert len(Run.open(tmp_path / "run", check="sha256").prompts) == 1


def test_layers_shards_and_batches_of_a_plan():
    assert parse_layers(None, 3) == [0, 1, 2]
    assert parse_layers("4,0-2,1,-1", 8) == [0, 1, 2, 4, 7]
    for wrong in ("8", "3-1", "x", "", "0-9", "1-", "-9"):
        with pytest.raises(UsageError, match="--layers"):
            parse_layers(wrong, 8)
    assert plan_shards([3, 3, 3, 9, 1], 6) == [[0, 1], [2], [3], [4]]
    assert plan_shards([], 6) == []
    lengths = [5, 3, 5, 9, 3, 3, 20]
    batches = list(plan_batches(lengths, max_tokens=12, max_prompts=None))
    assert batches == [[1, 4, 5], [0, 2], [3], [6]]  # 20 exceeds 12 and runs alone
    assert [len(b) for b in plan_batches(lengths, max_tokens=1000, max_prompts=1)] == [1] * 7
    mixed = list(plan_batches([4] * 9 + [5] * 9, max_tokens=1000, max_prompts=None))
    assert [len(b) for b in mixed] == [9, 9]  # enough of one length: no padding
    assert len(list(plan_batches([4, 5, 5], max_tokens=1000, max_prompts=None))) == 1
