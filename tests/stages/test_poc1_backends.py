"""Stage 1 through TransformerLens: the same activations, recorded as such, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from dump_faults import KILL_IN_SECOND_SHARD, run_dump
from dump_runs import TEXTS, flags
from tiny_models import ARCHITECTURES, CONFIGS, N_LAYERS, build_tokenizer, tiny_model_dir
from transformers import AutoConfig, AutoModelForCausalLM

from neuron_signatures.models.faults import quiet_libraries
from neuron_signatures.poc1_dump_activations import main
from neuron_signatures.runs.__main__ import main as runs_main
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run

BRIDGE = ("--backend", "transformer_lens")
EXACT = ("--save_dtype", "fp32")


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_both_backends_store_the_same_activations(tmp_path, model):
    """One batch of all prompts has padding; single prompts have none."""
    assert main(flags(tmp_path, *EXACT, "--batch_size", 1, model=model, out="plain")) == 0
    assert main(flags(tmp_path, *EXACT, *BRIDGE, "--batch_size", 7, model=model, out="padded")) == 0
    assert main(flags(tmp_path, *EXACT, *BRIDGE, "--batch_size", 1, "--layers", "0,2", model=model, out="some")) == 0
    plain, padded, some = (Run.open(tmp_path / name) for name in ("plain", "padded", "some"))
    for i in range(len(TEXTS)):
        np.testing.assert_allclose(padded.acts(i), plain.acts(i), rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(some.acts(i), plain.acts(i)[[0, 2]], rtol=1e-4, atol=2e-5)
    assert plain.prompts == padded.prompts and some.layers == [0, 2]
    assert verify_run(padded.path).faults == []


def test_the_manifest_records_the_backend(tmp_path, capsys):
    assert main(flags(tmp_path, *BRIDGE, "--limit", 1, model="llama")) == 0
    run = Run.open(tmp_path / "run")
    m = run.manifest
    assert (m.backend, m.attn_implementation) == ("transformer_lens", "eager")
    assert m.flags_resolved["backend"] == "transformer_lens"
    assert "transformer-lens" in m.versions
    assert runs_main(["show", str(run.path)]) == 0
    assert "eager attention, backend transformer_lens" in capsys.readouterr().out
    assert main(flags(tmp_path, "--limit", 1, model="llama", out="plain")) == 0
    assert Run.open(tmp_path / "plain").manifest.backend == "transformers"


def test_a_run_that_does_not_record_the_backend_was_made_by_transformers(tmp_path, capsys):
    """Format 2 had no such field at first."""
    assert main(flags(tmp_path, "--limit", 1)) == 0
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["backend"], manifest["flags_resolved"]["backend"]
    path.write_text(json.dumps(manifest))
    assert Run.open(path.parent).manifest.backend == "transformers"
    assert main(flags(tmp_path, "--limit", 1, "--resume")) == 0
    assert main(flags(tmp_path, "--limit", 1, "--resume", *BRIDGE)) == 2
    assert "backend was 'transformers', is 'transformer_lens'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_dump_is_resumed_with_its_own_backend_only(tmp_path, capsys):
    argv = flags(tmp_path, "--shard_size", "8kB")
    run_dump([*argv, *BRIDGE], KILL_IN_SECOND_SHARD)
    assert main([*argv, "--resume"]) == 2
    assert "backend was 'transformer_lens', is 'transformers'" in capsys.readouterr().err
    assert main([*argv, "--resume", *BRIDGE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards_kept"] == 1
    assert Run.open(tmp_path / "run", check="sha256").manifest.backend == "transformer_lens"


def test_a_stopped_dump_of_an_earlier_version_is_resumed(tmp_path, capsys):
    argv = flags(tmp_path, "--shard_size", "8kB")
    run_dump(argv, KILL_IN_SECOND_SHARD)
    journal = tmp_path / "run" / "dump_journal.jsonl"
    header, *rest = journal.read_text().splitlines()
    fields = json.loads(header)
    del fields["settings"]["backend"]
    journal.write_text("\n".join([json.dumps(fields), *rest]) + "\n")
    assert main([*argv, "--resume", *BRIDGE]) == 2
    assert "backend was 'transformers', is 'transformer_lens'" in capsys.readouterr().err
    assert main([*argv, "--resume"]) == 0


@pytest.mark.parametrize("more", [("--quantization", "8bit"), ("--quantization", "4bit"), ("--device_map", "auto")])
def test_what_the_bridge_does_not_support_is_refused_before_loading(tmp_path, capsys, monkeypatch, more):
    monkeypatch.setattr("neuron_signatures.models.load.load_config", pytest.fail)
    assert main(flags(tmp_path, *BRIDGE, *more)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"{' '.join(more)}: not supported by --backend transformer_lens" in err
    assert not (tmp_path / "run").exists()


def test_a_quantised_checkpoint_is_refused_before_loading(tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model_dir("llama").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    assert main([*flags(tmp_path, *BRIDGE), "--model_name", str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "quantised (gptq)" in err


def test_a_model_that_only_transformer_lens_adapts(tmp_path, capsys):
    folder = tmp_path / "model"
    save_model(folder, "modernbert-decoder", cls_token_id=0, sep_token_id=1, pad_token_id=0)
    argv = [*flags(tmp_path, *EXACT), "--model_name", str(folder)]
    assert main(argv) == 2
    assert "its text decoder is not recognised" in capsys.readouterr().err
    assert main([*argv, *BRIDGE, "--dry_run"]) == 0
    assert main([*argv, *BRIDGE]) == 0
    hf, seen = AutoModelForCausalLM.from_pretrained(folder), {}
    for layer, block in enumerate(hf.model.layers):
        block.mlp.Wo.register_forward_pre_hook(lambda _, args, layer=layer: seen.__setitem__(layer, args[0]))
    run = Run.open(tmp_path / "run")
    for i, prompt in enumerate(run.prompts):
        with torch.no_grad():
            hf.eval()(torch.tensor([prompt.token_ids]))
        want = torch.stack([seen[layer].view(prompt.seq_len, -1) for layer in range(N_LAYERS)])
        np.testing.assert_allclose(run.acts(i), want.numpy(), rtol=1e-4, atol=2e-5)


def test_a_bridge_that_computes_something_else_is_refused(tmp_path, capsys):
    """transformer-lens 3.9 rotates the queries and keys of Cohere in another way than transformers."""
    folder = tmp_path / "model"
    save_model(folder, "cohere", initializer_range=0.3)
    assert main([*flags(tmp_path, *BRIDGE), "--model_name", str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "logits of its TransformerBridge differ" in err
    assert not (tmp_path / "run").exists()


def save_model(folder, name, **more) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **{**CONFIGS["llama"], **more})
    with quiet_libraries():
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    build_tokenizer("llama").save_pretrained(folder)
