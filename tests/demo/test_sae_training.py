"""The script that trains the demo model's SAEs: files, settings, repeatability."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
import train_demo_saes as script

from neuron_signatures.models.saes.fit import SaeModel
from neuron_signatures.models.saes.load import saes_of

FLAGS = ("--steps", "2", "--features", "24", "--k_res", "4", "--k_att", "4", "--k_mlp", "4", "--eval_documents", "8")


@pytest.fixture(autouse=True)
def _torch_settings_stay_here() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_short_training_writes_saes_and_repeats_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "BUFFER", 1024)
    monkeypatch.setattr(script, "FOR_SCALE", 512)
    for folder in ("a", "b"):
        assert script.main([*FLAGS, "--out", str(tmp_path / folder)]) == 0
    model = SaeModel("demo", 5, 128, 128)
    first, second = ([s.load("cpu") for s in saes_of(str(tmp_path / f), model=model)] for f in ("a", "b"))
    assert len(first) == 15 and {sae.d_sae for sae in first} == {24}
    assert all(torch.equal(a.W_enc, b.W_enc) and a.sha256 == b.sha256 for a, b in zip(first, second, strict=True))
    record = json.loads((tmp_path / "a" / "training.json").read_text())
    assert record["tokens_seen"] == 2 * 512 and set(record["quality"]) == {sae.name for sae in first}
    assert capsys.readouterr().out.count("| mlp_L4 | 24 |") == 2


def test_the_shipped_saes_were_made_with_the_defaults():
    args = script.parse_args([])
    record = json.loads((args.out / "training.json").read_text())
    assert {key: record[key] for key in ("seed", "steps", "features", "k_res", "k_att", "k_mlp")} == {
        "seed": args.seed, "steps": args.steps, "features": args.features, "k_res": args.k_res, "k_att": args.k_att,
        "k_mlp": args.k_mlp,
    }  # fmt: skip
