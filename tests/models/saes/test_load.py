"""SAEs in folders of sae-lens and of Gemma Scope, and what is refused, in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_saes import (
    D_MODEL,
    D_SAE,
    D_Z,
    HOOKS,
    MODEL,
    N_LAYERS,
    config,
    random_weights,
    write_gemma_scope,
    write_lens,
    write_lens_saes,
)

from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError
from neuron_signatures.runs.files import sha256_file

RELEASE = "gemma-scope-2b-pt"
GEMMA = dataclasses.replace(MODEL, name="google/gemma-2-2b")


def test_a_folder_of_sae_lens_folders(tmp_path):
    sources = saes_of(str(write_lens_saes(tmp_path)), model=MODEL)
    assert [(s.site, s.layer) for s in sources] == [(site, layer) for site in HOOKS for layer in range(N_LAYERS)]
    for source in sources:
        sae, weights = source.load("cpu"), random_weights(source.config.architecture, d_in=source.d_in)
        assert (sae.site, sae.layer, sae.architecture) == (source.site, source.layer, source.config.architecture)
        assert (sae.name, sae.d_in, sae.d_sae) == (source.name, source.d_in, source.d_sae)
        assert source.name == f"{source.site}_{source.layer}" and source.bank.key == f"sae.{source.site}.{source.layer}"
        assert sae.sha256 == sha256_file(tmp_path / source.name / "sae_weights.safetensors")
        assert source.n_bytes == 4 * (sum(t.numel() for t in weights.values()) + D_SAE * ("threshold" not in weights))
        assert all(torch.equal(getattr(sae, key), t) for key, t in weights.items())
    assert {s.d_in for s in sources if s.site == "att"} == {D_Z}


def test_sites_and_layers_select(tmp_path):
    folder = str(write_lens_saes(tmp_path))
    assert [s.name for s in saes_of(folder, model=MODEL, sites=("mlp", "res"), layers=(2, 0))] == [
        "res_0", "res_2", "mlp_0", "mlp_2",
    ]  # fmt: skip
    assert [s.name for s in saes_of(f"{folder}::att_[12]", model=MODEL)] == ["att_1", "att_2"]
    assert [s.name for s in saes_of(f"{folder}/att_1", model=MODEL)] == ["att_1"]


def test_the_flat_config_of_sae_lens_before_version_6(tmp_path):
    old = {
        "d_in": D_Z, "d_sae": D_SAE, "dtype": "torch.float32", "hook_point": "blocks.1.attn.hook_z",
        "hook_point_layer": 1, "model_name": "tiny", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4},
        "normalize_activations": False, "seqpos_slice": [None, None], "finetuning_scaling_factor": False,
    }  # fmt: skip
    write_lens(tmp_path, {**old, "architecture": "standard"}, random_weights("topk", d_in=D_Z))
    sae = saes_of(str(tmp_path), model=MODEL)[0].load("cpu")
    assert (sae.architecture, sae.k, sae.site, sae.layer) == ("topk", 4, "att", 1)
    assert sae.apply_b_dec_to_input  # the default then, and now
    scaled = {**random_weights("topk", d_in=D_Z), "scaling_factor": torch.ones(D_SAE)}
    write_lens(tmp_path, {**old, "architecture": "standard"}, scaled)
    assert saes_of(str(tmp_path), model=MODEL)[0].load("cpu").d_sae == D_SAE
    scaled["scaling_factor"][3] = 2
    write_lens(tmp_path, {**old, "architecture": "standard"}, scaled)
    with pytest.raises(UsageError, match="scaling_factor is not 1"):
        saes_of(str(tmp_path), model=MODEL)[0].load("cpu")


@pytest.mark.parametrize("file", ["params.npz", "params.safetensors"])
def test_the_layout_of_gemma_scope(tmp_path, file):
    """`gemma-scope-2b-pt-SITE/layer_L/width_W/average_l0_N`: JumpReLU, and the bias is not subtracted."""
    for site in HOOKS:
        for layer in range(N_LAYERS):
            width = D_Z if site == "att" else D_MODEL
            write_gemma_scope(tmp_path / f"{RELEASE}-{site}", layer, d_in=width, l0=40 + layer, file=file)
    sources = saes_of(str(tmp_path), model=GEMMA)
    assert [(s.site, s.layer) for s in sources] == [(site, layer) for site in HOOKS for layer in range(N_LAYERS)]
    assert sources[1].name == f"{RELEASE}-res/layer_1/width_16k/average_l0_41"
    for source in sources:
        sae, want = source.load("cpu"), random_weights(d_in=source.d_in, seed=source.layer)
        assert sae.architecture == "jumprelu" and not sae.apply_b_dec_to_input and sae.model_name == "gemma-2-2b"
        assert all(torch.equal(getattr(sae, key), t) for key, t in want.items())
        x = torch.randn(5, sae.d_in, generator=torch.Generator().manual_seed(0))
        pre = x @ want["W_enc"] + want["b_enc"]
        assert torch.allclose(sae.encode(x), torch.where(pre > want["threshold"], pre.relu(), 0), atol=1e-6)
    with pytest.raises(UsageError, match=r"trained on model 'gemma-2-2b', and this model is 'tiny'"):
        saes_of(str(tmp_path), model=MODEL)


def test_gemma_scope_in_the_cache_of_the_hub(tmp_path):
    snapshot = tmp_path / f"models--google--{RELEASE}-mlp" / "snapshots" / "0123abcd"
    write_gemma_scope(snapshot, 1)
    for folder in (tmp_path, snapshot, snapshot / "layer_1"):
        [source] = saes_of(str(folder), model=GEMMA)
        assert (source.site, source.layer, source.config.model_name) == ("mlp", 1, "gemma-2-2b")


def test_lower_case_names_of_newer_files(tmp_path):
    place = write_gemma_scope(tmp_path / "res", 0, file="params.safetensors")
    weights = random_weights()
    save_file({key.replace("W_", "w_"): t for key, t in weights.items()}, place / "params.safetensors")
    [source] = saes_of(str(tmp_path), model=MODEL)
    assert torch.equal(source.load("cpu").W_dec, weights["W_dec"])


def refusal(folder, *, loads: bool = False, error: type[Exception] = UsageError, **options) -> str:
    with pytest.raises(error) as caught:
        sources = saes_of(str(folder), model=options.pop("model", MODEL), **options)
        if loads:
            [source.load("cpu") for source in sources]
    line = str(caught.value)
    assert "\n" not in line and len(line) <= 380
    return line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated"}, "architecture 'gated' is not supported, only standard, jumprelu, topk"),
        ({"architecture": "transcoder"}, "'transcoder' is not supported"),
        ({"architecture": "topk", "k": None}, "k should be a number from 1 to"),
        ({"architecture": "topk", "k": D_SAE + 1}, f"k {D_SAE + 1} is larger than d_sae {D_SAE}"),
        ({"activation_fn": "tanh-relu"}, "activation function 'tanh-relu' is not supported"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations 'layer_norm' is not supported"),
        ({"hook_head_index": 3}, "hook_head_index '3' is not supported"),
        ({"hook_name": "blocks.0.hook_resid_pre"}, "the SAE reads hook 'blocks.0.hook_resid_pre'; supported are"),
        ({"hook_name": "blocks.0.hook_resid_post.x"}, "supported are"),
        ({"hook_name": None}, "names no hook"),
        ({"d_in": "6"}, "d_in should be a number from 1 to"),
        ({"d_sae": 0}, "d_sae should be a number from 1 to"),
        ({"d_sae": 1 << 40}, "d_sae should be a number from 1 to"),
        ({"apply_b_dec_to_input": "no"}, "apply_b_dec_to_input should be true or false"),
        (
            {"model_name": "other"},
            "trained on model 'other', and this model is 'tiny'. Give the SAEs of this model, or",
        ),
        ({"hook_name": "blocks.3.hook_mlp_out"}, "the SAE is of layer 3, and the model has layers 0 to 2"),
        ({"d_sae": D_SAE + 1}, f"has shape [{D_MODEL}, {D_SAE}] instead of [{D_MODEL}, {D_SAE + 1}]"),
    ],
)
def test_configs_that_are_refused(tmp_path, changes, message):
    write_lens(tmp_path, config(**changes), random_weights())
    assert message in refusal(tmp_path)


def test_another_width(tmp_path):
    write_lens(tmp_path, config(d_in=7), random_weights(d_in=7))
    line = refusal(tmp_path, force=True)
    assert "the SAE reads 7 values, and res of model tiny has 6. Give SAEs of tiny" in line


def test_force_lifts_only_the_check_of_the_name(tmp_path):
    write_lens(tmp_path, config(model_name="tiny-instruct"))
    assert "--force_saes" in refusal(tmp_path)
    assert len(saes_of(str(tmp_path), model=MODEL, force=True)) == 1


def test_two_saes_of_one_layer(tmp_path):
    for l0 in (40, 80):
        write_gemma_scope(tmp_path / "res", 1, l0=l0)
    line = refusal(tmp_path)
    assert "two SAEs of res in layer 1: res/layer_1/width_16k/average_l0_40 and" in line and "::PATTERN" in line
    [source] = saes_of(f"{tmp_path}::*_80", model=MODEL)
    assert source.name.endswith("average_l0_80")


def test_what_was_asked_for_must_be_there(tmp_path):
    write_lens(tmp_path / "a", config(layer=1))
    assert "has no SAE of mlp in layers 1" in refusal(tmp_path, sites=("mlp",), layers=(1,))
    assert "has no SAE of mlp. Leave" in refusal(tmp_path, sites=("res", "mlp"))
    assert "has no SAE of res in layers 0, 2." in refusal(tmp_path, layers=(0, 1, 2))
    assert "whose name matches 'b*'" in refusal(f"{tmp_path}::b*")
    (tmp_path / "empty").mkdir()
    assert "has no SAE. Give other" in refusal(tmp_path / "empty")


def test_paths_that_are_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "this is a file, not a folder" in refusal(tmp_path / "file")
    assert "this folder does not exist" in refusal(tmp_path / "none")
    assert "this folder does not exist" in refusal("")


def test_the_site_of_gemma_scope_must_be_known(tmp_path):
    write_gemma_scope(tmp_path / "saes", 0)
    assert "which site it reads is not known" in refusal(tmp_path)


def test_a_release_without_sae_lens(monkeypatch):
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    for spec in ("gemma-scope", "gpt2-small-res-jb"):
        line = refusal(spec, error=EnvironmentProblem)
        assert "sae-lens, which knows releases, is not installed. Run: pip install -r requirements-sae.txt" in line


def weights_of(folder):
    return folder / "sae_weights.safetensors"


def test_damaged_safetensors(tmp_path):
    write_lens(tmp_path, config())
    whole = weights_of(tmp_path).read_bytes()
    for raw in (b"", whole[:5], whole[:100], whole[:-1], whole + b"x", b"\xff" * 8 + whole[8:]):
        weights_of(tmp_path).write_bytes(raw)
        assert "not a whole safetensors file" in refusal(tmp_path)
    weights_of(tmp_path).unlink()
    assert "there is no such file. Check that the folder is complete" in refusal(tmp_path)


def test_other_tensors(tmp_path):
    weights = random_weights()
    cases = [
        ({**weights, "gate": torch.ones(D_SAE)}, "has a tensor 'gate', which a jumprelu SAE does not have"),
        ({k: t for k, t in weights.items() if k != "threshold"}, "has no tensor threshold, which a jumprelu SAE needs"),
        ({**weights, "b_enc": torch.ones(D_SAE, dtype=torch.int32)}, "b_enc should be float16, bfloat16, float32 or"),
        ({**weights, "b_dec": torch.ones(D_MODEL, 1)}, "b_dec has shape [6, 1] instead of [6]"),
    ]
    for tensors, message in cases:
        write_lens(tmp_path, config(), tensors)
        assert message in refusal(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tmp_path, value):
    weights = random_weights()
    weights["W_dec"][3, 2] = value
    write_lens(tmp_path, config(), weights)
    assert "W_dec has values that are not finite" in refusal(tmp_path, loads=True)


def test_damaged_configs(tmp_path):
    write_lens(tmp_path, config())
    for text, message in (("{", "not valid JSON"), ("[]", "not a JSON object"), ("[" * 10**5, "nested deeper")):
        (tmp_path / "cfg.json").write_text(text)
        assert message in refusal(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(config()) + " " * (1 << 24))
    assert "larger than" in refusal(tmp_path)


def test_damaged_npz(tmp_path):
    file = write_gemma_scope(tmp_path / "res", 0) / "params.npz"
    whole = file.read_bytes()
    for raw in (b"", b"PK", whole[:-30], b"x" * 500):
        file.write_bytes(raw)
        assert "not a whole npz file" in refusal(tmp_path)
    damaged = bytearray(whole)
    damaged[300] ^= 255  # in the data of the first array
    file.write_bytes(damaged)
    assert "not a whole npz file: Bad CRC" in refusal(tmp_path, loads=True)


class Trap:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_npz_files_are_never_unpickled(tmp_path):
    trap = Trap()
    trap.path = str(tmp_path / "unpickled")
    file = write_gemma_scope(tmp_path / "res", 0) / "params.npz"
    objects = np.empty((D_MODEL, D_SAE), dtype=object)
    objects[:] = trap
    arrays = {key: t.numpy() for key, t in random_weights().items()}
    np.savez(file, **{**arrays, "W_enc": objects})
    assert "not a whole npz file" in refusal(tmp_path, loads=True)
    np.savez(file, **{**arrays, "other": objects})
    assert "not a whole npz file" in refusal(tmp_path, loads=True)
    assert not (tmp_path / "unpickled").exists()


def test_an_npz_file_that_claims_more_than_it_holds(tmp_path):
    file = write_gemma_scope(tmp_path / "res", 0) / "params.npz"
    with zipfile.ZipFile(file, "w") as archive:
        header = np.lib.format.magic(1, 0)
        text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000, 4000000), }"
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        archive.writestr("W_enc.npy", header + len(text).to_bytes(2, "little") + text + b"0" * 64)
    assert "not a whole npz file: an array of shape [4000000, 4000000]" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_not_waited_for(tmp_path):
    write_lens(tmp_path, config())
    weights_of(tmp_path).unlink()
    os.mkfifo(weights_of(tmp_path))
    assert "not a regular file" in refusal(tmp_path)
