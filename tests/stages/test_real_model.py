"""Everything on a real language model: SmolLM2-135M-Instruct from its package (`make real`)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from paths import ROOT
from transformers import AutoModelForCausalLM

from neuron_signatures.analysis.attribution.estimators.dla import direct_logit_attribution
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.models import packaged
from neuron_signatures.models.capture import MlpCapture, output_projections
from neuron_signatures.models.load import LoadedModel, load_model, to_bridge
from neuron_signatures.models.packaged import find_packaged
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.models.tokens import encode_chat, encode_text, token_strings
from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.poc2_analyze_run import main as analyze
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run

pytestmark = pytest.mark.real

SMOLLM2 = ModelSpec("smollm2", dtype="fp32", device="cpu")
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TEXT = "The Eiffel Tower stands in the city of Paris, and  12 ships sail on the river"
# Probability of the capital after "The capital of X is" without BOS, greedy, as measured independently.
CAPITALS = {
    "France": ("Paris", 0.77), "Germany": ("Berlin", 0.80), "Japan": ("Tokyo", 0.70), "Greece": ("Athens", 0.66),
    "England": ("London", 0.59), "China": ("Beijing", 0.54), "Sweden": ("Stockholm", 0.47),
    "Portugal": ("Lisbon", 0.47), "Kenya": ("Nairobi", 0.45), "Austria": ("Vienna", 0.42), "Italy": ("Rome", 0.38),
    "Russia": ("Moscow", 0.38), "Spain": ("Madrid", 0.38), "Cuba": ("Havana", 0.28), "Canada": ("Ottawa", 0.25),
    "Norway": ("Oslo", 0.21), "Ireland": ("Dublin", 0.17),
}  # fmt: skip


@cache
def smollm2() -> LoadedModel:
    """The model, for tests that leave it as it is."""
    return load_model(SMOLLM2)


def captured(model: LoadedModel, ids: list[int]) -> list[torch.Tensor]:
    with MlpCapture(model.hf) as capture:
        return [acts.clone() for acts in capture.run(torch.tensor([ids]))]


def test_its_tokens_are_those_of_the_published_tokenizer() -> None:
    """Every digit alone, spaces before a digit together, no BOS of its own."""
    tokenizer = smollm2().tokenizer
    ids = encode_text(tokenizer, "x  12\n", prepend_bos=False)
    assert ids == tokenizer("x  12\n")["input_ids"]
    assert token_strings(tokenizer, ids) == ["x", "  ", "1", "2", "\n"]
    assert tokenizer.bos_token == "<|im_start|>"
    chat = token_strings(tokenizer, encode_chat(tokenizer, [{"role": "user", "content": "Hello"}]))
    assert "".join(chat).endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")


def test_activations_equal_plain_transformers_bit_for_bit() -> None:
    """Against the GGUF file read by transformers itself, without the converted folder."""
    file = find_packaged(packaged.SMOLLM2)
    plain = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    ids = encode_text(smollm2().tokenizer, TEXT, prepend_bos=True)
    seen: dict[int, torch.Tensor] = {}
    for layer, projection in enumerate(output_projections(plain)):
        projection.register_forward_pre_hook(lambda _, args, layer=layer: seen.__setitem__(layer, args[0].clone()))
    with torch.no_grad():
        logits = plain(torch.tensor([ids])).logits
        assert torch.equal(smollm2().hf(torch.tensor([ids])).logits, logits)
    for layer, acts in enumerate(captured(smollm2(), ids)):
        assert torch.equal(acts, seen[layer]), layer


def test_activations_equal_the_bridges_hook_post() -> None:
    other = load_model(SMOLLM2)
    ids = encode_text(other.tokenizer, TEXT, prepend_bos=True)
    as_loaded = captured(other, ids)
    bridge = to_bridge(other)
    with torch.no_grad():
        _, kept = bridge.run_with_cache(torch.tensor([ids]))
    for layer, acts in enumerate(as_loaded):
        want = kept[f"blocks.{layer}.mlp.hook_post"].view(acts.shape)
        assert (acts - want).norm() <= 1e-5 * want.norm(), layer


@pytest.mark.parametrize("foil", [None, " London"])
def test_dla_is_complete(foil: str | None) -> None:
    tokenizer = smollm2().tokenizer
    ids = encode_text(tokenizer, "The capital of France is", prepend_bos=True)
    request = TargetRequest("next_token", token=" Paris", foil=foil)
    target = resolve_target(smollm2(), ids, request).target
    completeness = direct_logit_attribution(Problem(smollm2().hf, ids, target, (target.pos,))).completeness
    assert completeness.relative_error is not None and completeness.relative_error <= 1e-5


def test_it_knows_the_capitals() -> None:
    """All 17 are the likeliest next token without BOS, with the probabilities that were measured elsewhere."""
    model = smollm2()
    for country, (capital, probability) in CAPITALS.items():
        ids = encode_text(model.tokenizer, f"The capital of {country} is", prepend_bos=False)
        (want,) = encode_text(model.tokenizer, f" {capital}", prepend_bos=False)
        with torch.no_grad():
            probabilities = model.hf(torch.tensor([ids])).logits[0, -1].softmax(-1)
        assert int(probabilities.argmax()) == want, country
        assert float(probabilities[want]) == pytest.approx(probability, abs=0.006), country


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dump of `make demo-real`."""
    path = tmp_path_factory.mktemp("real") / "run"
    flags = ["--model_name", "smollm2", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    prompts = ["--prompts_json", str(ROOT / "docs" / "probe_prompts_real.json")]
    assert dump([*flags, *prompts, "--out_dir", str(path)]) == 0
    return path


def test_stage_1_records_the_model_by_name_and_checksum(run_dir: Path) -> None:
    run = Run.open(run_dir)
    m = run.manifest
    assert (m.model_name, m.weights_fingerprint) == ("smollm2", f"gguf:{SHA256}")
    assert (m.architecture, m.quantization, m.n_layers, m.d_mlp) == (
        "LlamaForCausalLM", "checkpoint:gguf-Q4_1", 30, 1536,
    )  # fmt: skip
    assert (m.bos_policy, m.tokenizer_adds_bos, m.n_prompts) == ("prepended", False, 40)
    assert verify_run(run_dir).faults == []
    prompt = run.prompt("capital_France")
    want = np.stack([acts[0].numpy() for acts in captured(smollm2(), prompt.token_ids)])
    np.testing.assert_allclose(run.acts("capital_France"), want, rtol=2**-8, atol=1e-3)


def test_the_first_position_is_massive_without_bos() -> None:
    """The reason for leaving it out of statistics."""
    ids = encode_text(smollm2().tokenizer, "The capital of France is Paris", prepend_bos=False)
    norm = np.sqrt(sum((acts[0].numpy().astype(np.float64) ** 2).sum(axis=1) for acts in captured(smollm2(), ids)))
    assert norm[0] > 3000 and norm[1:].max() < 300


def test_stage_2_analyzes_it(run_dir: Path) -> None:
    """Influence on " Paris" against " London": rows are finite, and the parts of dla add up to the difference."""
    analysis = run_dir / "analysis"
    assert analyze(["--run_dir", str(run_dir), "--quiet"]) == 0
    assert analyze(["--run_dir", str(run_dir), "--quiet", "--mode", "signatures"]) == 0
    target = ["--target_mode", "next_token", "--target_token", " Paris", "--foil_token", " London"]
    influence = ["--run_dir", str(run_dir), "--quiet", "--mode", "influence", "--prompt_id", "capital_France", *target]
    assert analyze([*influence, "--influence_metric", "dla,act_grad", "--device", "cpu"]) == 0
    peaks = pd.read_parquet(analysis / "neurons_aggregated.parquet")
    assert len(peaks) == 30 * 1536 and np.isfinite(peaks["mean_peak_abs"]).all()
    signatures = json.loads((analysis / "signatures_meta.json").read_text())
    n, null = signatures["class_counts"]["say_x"], signatures["null"]["other_prompts"]
    assert n > 100 and null["n_draws"] == 20 and null["classes"]["say_x"]["mean"] < 0.05 * n
    assert len(pd.read_parquet(analysis / "signatures.parquet")) == 2 * len(peaks)
    for metric in ("dla", "act_grad"):
        (table,) = analysis.glob(f"influence_capital_France_{metric}_next_token_*.parquet")
        assert np.isfinite(pd.read_parquet(table)[["influence", "influence_centred"]]).all(axis=None)
        record = json.loads(table.with_name(f"{table.stem}_meta.json").read_text())
        assert (record["reference"], record["reference_tokens"]) == ("mean", 413)
        assert record["target"]["token"]["token"] == " Paris" and record["target"]["foil"]["token"] == " London"
    (meta,) = analysis.glob("influence_capital_France_dla_*_meta.json")
    assert json.loads(meta.read_text())["completeness"]["relative_error"] <= 1e-5


def test_sets_are_not_scored_where_ablating_every_neuron_raises_the_target(run_dir: Path) -> None:
    """At the last position alone, the neurons at their mean leave a higher logit of " Paris" than at their values."""
    target = ["--prompt_id", "capital_France", "--target_mode", "next_token", "--target_token", " Paris"]
    flags = ["--influence_metric", "dla,ablation", "--top_from", "dla:20", "--validate", "--device", "cpu"]
    assert analyze(["--run_dir", str(run_dir), "--quiet", "--mode", "influence", *target, *flags]) == 0
    (stem,) = [p.stem for p in (run_dir / "analysis").glob("validation_*.json") if not p.stem.endswith("_meta")]
    record = json.loads((run_dir / "analysis" / f"{stem}.json").read_text())
    assert record["m_empty"] > record["m_full"] and not record["sets_scored"]
    assert record["winner_sets"] is None and all(m["curve"] == m["controls"] == [] for m in record["metrics"])
