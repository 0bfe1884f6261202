"""sae-lens computes the same with the SAEs of the demo model and with random ones; names and shapes of Gemma Scope."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from tiny_saes import D_SAE, MODEL, config, random_weights, write_lens
from torch import Tensor

from neuron_signatures.demo import saes_dir
from neuron_signatures.models.saes.fit import SaeModel
from neuron_signatures.models.saes.load import saes_of
from neuron_signatures.models.saes.releases import GEMMA_SCOPE_RELEASES, sae_from_lens
from neuron_signatures.models.saes.sae import Sae
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError

pytestmark = pytest.mark.sae

DEMO = SaeModel("demo", 5, 128, 128)
GEMMA = SaeModel("google/gemma-2-2b", 26, 2304, 2048)
TOLERANCE = 1e-5


def from_disk(folder):
    from sae_lens import SAE

    return SAE.load_from_disk(folder, device="cpu")


def assert_equal(ours: Sae, theirs, x: Tensor) -> None:
    """`x` has flat heads; sae-lens wants them apart (two heads here)."""
    apart = x.unflatten(-1, (2, -1)) if ours.site == "att" else x
    f = theirs.encode(apart)
    torch.testing.assert_close(ours.encode(x), f, rtol=TOLERANCE, atol=TOLERANCE)
    assert 0 < (f > 0).float().mean() < 1
    decoded = theirs.decode(f)
    decoded = decoded.flatten(-2) if ours.site == "att" else decoded
    torch.testing.assert_close(ours.decode(f), decoded, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("site", ["res", "att", "mlp"])
def test_the_saes_of_the_demo_model(site):
    sources = saes_of("demo", model=DEMO, sites=(site,))
    assert [s.layer for s in sources] == list(range(5))
    for source in sources:
        ours, theirs = source.load("cpu"), from_disk(saes_dir() / source.name)
        assert theirs.cfg.metadata.hook_name.startswith(f"blocks.{source.layer}.")
        x = ours.b_dec + torch.randn(40, ours.d_in, generator=torch.Generator().manual_seed(source.layer))
        assert_equal(ours, theirs, x)
        converted = sae_from_lens(theirs, name="x", source="x")
        assert torch.equal(converted.encode(x), ours.encode(x))


@pytest.mark.parametrize("site", ["res", "att", "mlp"])
@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_random_saes(tmp_path, architecture, site):
    cfg = config(architecture, site, 1)
    write_lens(tmp_path, cfg, random_weights(architecture, d_in=cfg["d_in"]))
    ours, theirs = saes_of(str(tmp_path), model=MODEL)[0].load("cpu"), from_disk(tmp_path)
    x = torch.randn(4, 9, ours.d_in, generator=torch.Generator().manual_seed(0))
    assert_equal(ours, theirs, x)
    theirs.save_model(tmp_path / "again")
    again = saes_of(str(tmp_path / "again"), model=MODEL)[0].load("cpu")
    assert torch.equal(again.W_dec, ours.W_dec) and again.architecture == architecture


def test_features_scaled_by_the_decoder(tmp_path):
    write_lens(tmp_path, config("topk", rescale_acts_by_decoder_norm=True))
    ours, theirs = saes_of(str(tmp_path), model=MODEL)[0].load("cpu"), from_disk(tmp_path)
    assert_equal(ours, theirs, torch.randn(30, ours.d_in, generator=torch.Generator().manual_seed(0)))
    converted = sae_from_lens(theirs, name="x", source="x")
    assert torch.equal(converted.W_enc, ours.W_enc)


def test_the_flat_config_of_older_versions(tmp_path):
    cfg = {
        "architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "d_in": 6,
        "d_sae": D_SAE, "dtype": "float32", "hook_name": "blocks.1.hook_mlp_out", "model_name": "tiny",
    }  # fmt: skip
    write_lens(tmp_path, cfg, random_weights("topk"))
    ours = saes_of(str(tmp_path), model=MODEL)[0].load("cpu")
    assert_equal(ours, from_disk(tmp_path), torch.randn(30, 6, generator=torch.Generator().manual_seed(0)))


def test_gemma_scope_has_three_sites_of_26_layers():
    """Known without a download: names, hooks, widths."""
    sources = saes_of("gemma-scope", model=GEMMA)
    assert [(s.site, s.layer) for s in sources] == [(site, n) for site in ("res", "att", "mlp") for n in range(26)]
    assert {(s.site, s.d_in, s.d_sae, s.config.architecture) for s in sources} == {
        ("res", 2304, 16384, "jumprelu"), ("att", 2048, 16384, "jumprelu"), ("mlp", 2304, 16384, "jumprelu"),
    }  # fmt: skip
    assert sources[7].name == "gemma-scope-2b-pt-res-canonical/layer_7/width_16k/canonical"
    assert not any(s.config.apply_b_dec_to_input for s in sources)
    for release in GEMMA_SCOPE_RELEASES:
        [one] = saes_of(f"{release}::layer_3/width_16k/*", model=GEMMA)
        assert one.layer == 3
    [wide] = saes_of("gemma-scope::layer_3/width_65k/canonical", model=GEMMA, sites=("res",))
    assert wide.d_sae == 65536


def test_a_download_of_gemma_scope(tmp_path, monkeypatch):
    """From the cache of the Hub, laid out as huggingface_hub does: mostly zeros, so that the file is small."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    [source] = saes_of("gemma-scope", model=GEMMA, sites=("att",), layers=(0,))
    with pytest.raises(EnvironmentProblem, match="sae-lens cannot load it") as caught:
        source.load("cpu")
    assert "\n" not in str(caught.value)
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    path = get_pretrained_saes_directory()["gemma-scope-2b-pt-att-canonical"].saes_map["layer_0/width_16k/canonical"]
    repo = tmp_path / "models--google--gemma-scope-2b-pt-att"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    folder = repo / "snapshots" / ("0" * 40) / path
    folder.mkdir(parents=True)
    weights = {
        "W_enc": np.zeros((2048, 16384), np.float32),
        "W_dec": np.zeros((16384, 2048), np.float32),
        "b_enc": np.zeros(16384, np.float32),
        "b_dec": np.zeros(2048, np.float32),
        "threshold": np.ones(16384, np.float32),
    }
    weights["W_enc"][5, 7], weights["W_dec"][7, 9], weights["b_dec"][2] = 2, 3, 4
    np.savez_compressed(folder / "params.npz", **weights)
    through_lens = source.load("cpu")
    from_folder = saes_of(str(tmp_path), model=GEMMA)[0].load("cpu")
    x = torch.zeros(2048)
    x[5] = 1
    for sae in (through_lens, from_folder):
        assert (sae.site, sae.layer, sae.architecture, sae.apply_b_dec_to_input) == ("att", 0, "jumprelu", False)
        f = sae.encode(x)
        assert f.nonzero().tolist() == [[7]] and f[7] == 2
        out = sae.decode(f)
        assert out.nonzero().flatten().tolist() == [2, 9] and (out[2], out[9]) == (4, 6)


def test_other_models_and_unknown_releases():
    with pytest.raises(UsageError, match="has 128"):
        saes_of("gemma-scope", model=DEMO, layers=(0,))
    with pytest.raises(UsageError, match=r"neither a folder nor a release of sae-lens.* Did you mean gemma-scope-2b-"):
        saes_of("gemma-scope-2b-pt-res-canonicl", model=GEMMA)
    with pytest.raises(UsageError, match=r"reads hook 'hook_embed'.*::PATTERN"):
        saes_of("gemma-scope-2b-pt-res", model=GEMMA)
    with pytest.raises(UsageError, match="two SAEs of res in layer 0"):
        saes_of("gemma-scope-2b-pt-res::layer_0/*", model=GEMMA)


def test_sae_lens_is_imported_only_for_releases(tmp_path):
    """In a new process: the other tests have imported it."""
    import subprocess

    write_lens(tmp_path, config())
    code = (
        "import sys; from neuron_signatures.models.saes.fit import SaeModel; "
        "from neuron_signatures.models.saes.load import saes_of; "
        f"saes_of({json.dumps(str(tmp_path))}, model=SaeModel('tiny', 3, 6, 8))[0].load('cpu'); "
        "print('sae_lens' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
