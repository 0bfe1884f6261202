"""What is collected equals a brute-force computation from the tensors that transformer-lens gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skills_runs import DEMO, SmallSource

from neuron_signatures.models.load import load_model, to_bridge
from neuron_signatures.models.tokens import encode_text
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.reader import Skills

HOOKS = {"res": "hook_resid_post", "att": "attn.hook_z", "mlp": "hook_mlp_out", "neuron": "mlp.hook_post"}
BANKS = [("sae", "res", 0), ("sae", "att", 2), ("sae", "mlp", 4), ("sae", "res", 1), ("neurons", "neuron", 3)]
TEXTS = [0, 17, 63, 90, 131, 159]


@pytest.fixture(scope="module")
def skills(collected: Path) -> Iterator[Skills]:
    with Skills.open(collected) as found:
        yield found


@pytest.fixture(scope="module")
def bridge():
    model = load_model(DEMO)
    return to_bridge(model), model.tokenizer


@pytest.fixture(scope="module")
def cached(skills: Skills, bridge) -> dict[int, tuple[list[int], dict]]:
    """Token ids and cache of some texts, each run alone."""
    found = {}
    for number in TEXTS:
        ids = encode_text(bridge[1], skills.texts["content"][number], prepend_bos=True)[:64]
        _, cache = bridge[0].run_with_cache(torch.tensor([ids]))
        found[number] = (ids, cache)
    return found


def units_of(bank: Bank, cache: dict) -> np.ndarray:
    """Activations [position, column] without the first position, from the definition of the autoencoder."""
    x = cache[f"blocks.{bank.layer}.{HOOKS[bank.site]}"][0].flatten(1).float()[1:]
    if bank.source == "neurons":
        return torch.cat([x.clamp(min=0), (-x).clamp(min=0)], dim=1).numpy()
    sae = SmallSource(bank.site, bank.layer, x.shape[1], ("jumprelu", "standard", "topk")[bank.layer % 3]).load("cpu")
    pre = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
    if sae.threshold is not None:
        return (pre * (pre > sae.threshold)).numpy()
    if sae.k is None:
        return pre.clamp(min=0).numpy()
    kept = pre.topk(sae.k)
    return torch.zeros_like(pre).scatter(1, kept.indices, kept.values).clamp(min=0).numpy()


def dense(matrix) -> np.ndarray:
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


@pytest.mark.parametrize(("source", "site", "layer"), BANKS)
def test_total_peak_and_topk(source, site, layer, skills: Skills, cached) -> None:
    bank = skills.bank(source, site, layer)
    stats = skills.stats(bank)
    for number, (ids, cache) in cached.items():
        acts = units_of(bank, cache)
        assert stats.n_tokens[number] == len(ids) - 1 == len(acts)
        np.testing.assert_allclose(dense(stats.total)[number], acts.sum(0), rtol=1e-4, atol=2e-3)
        np.testing.assert_allclose(dense(stats.peak)[number], acts.max(0), rtol=1e-4, atol=2e-4)
        counts = np.zeros(bank.width)
        for row in acts:
            counts[[u for u in np.argsort(-row)[:3] if row[u] > 0]] += 1
        assert np.abs(dense(stats.topk)[number] - counts).sum() <= 2  # ties
        np.testing.assert_allclose(dense(stats.mean)[number], acts.mean(0), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(("source", "site", "layer"), BANKS)
def test_the_sample_holds_all_units_at_its_tokens(source, site, layer, skills: Skills, cached) -> None:
    bank, sample = skills.bank(source, site, layer), skills.sample
    stored = dense(skills.sampled_acts(bank))
    assert stored.shape == (500, bank.width) and (np.diff(sample.text) >= 0).all()
    n = 0
    for token, (text, pos) in enumerate(zip(sample.text, sample.position, strict=True)):
        if text in cached:
            ids, cache = cached[text]
            assert ids[pos] == sample.token_id[token] and pos >= 1
            np.testing.assert_allclose(stored[token], units_of(bank, cache)[pos - 1], rtol=2e-3, atol=2e-3)
            n += 1
    assert n > 3


def test_thresholds(skills: Skills) -> None:
    """A neuron's pole fires above its own quantile in the sample, a feature above 0."""
    bank = skills.bank("neurons", "neuron", 2)
    acts, threshold = skills.sampled_acts(bank), skills.stats(bank).threshold
    np.testing.assert_allclose(threshold, np.quantile(acts.astype(np.float32), 0.99, axis=0), rtol=1e-6)
    assert (acts > threshold).mean(0).max() <= 0.0101 and (threshold > 0).mean() > 0.9
    assert not skills.stats(skills.bank("sae", "res", 2)).threshold.any()


@pytest.mark.parametrize(("source", "site", "layer"), BANKS)
def test_the_strongest_units_at_every_token(source, site, layer, skills: Skills, cached, collected: Path) -> None:
    bank = skills.bank(source, site, layer)
    table = pd.read_parquet(collected / "skills" / "features.parquet")
    rows = table[(table["source"] == source) & (table["site"] == site) & (table["layer"] == layer)]
    for number, (ids, cache) in cached.items():
        acts, of_text = units_of(bank, cache), rows[rows["text"] == number]
        label = skills.texts.loc[number]
        assert (of_text["class"] == label["class"]).all() and (of_text["skill"] == label["skill"]).all()
        assert (of_text.groupby("position").size() <= 3).all()
        assert list(of_text["token_id"]) == [ids[p] for p in of_text["position"]]
        values = acts[of_text["position"].to_numpy() - 1, of_text["feature"].to_numpy()]
        np.testing.assert_allclose(of_text["value"], values, rtol=1e-3, atol=2e-4)
        for pos, at in of_text.groupby("position"):
            np.testing.assert_allclose(np.sort(acts[pos - 1])[-len(at) :][::-1], at["value"], rtol=1e-3, atol=2e-4)


def test_gates(skills: Skills, bridge, collected: Path) -> None:
    """L0, FVU and dead share over all tokens, by their definitions."""
    gates = pd.read_parquet(collected / "skills" / "gates.parquet").set_index(["site", "layer"])
    assert list(gates["passed"]) == [True] * 15 and list(gates["n_tokens"].unique()) == [skills.meta.n_tokens]
    wanted = {("res", 2): [], ("mlp", 0): []}
    for content in skills.texts["content"]:
        ids = encode_text(bridge[1], content, prepend_bos=True)[:64]
        _, cache = bridge[0].run_with_cache(torch.tensor([ids]))
        for (site, layer), found in wanted.items():
            found.append(cache[f"blocks.{layer}.{HOOKS[site]}"][0, 1:])
    for (site, layer), found in wanted.items():
        x = torch.cat(found).double()
        sae = SmallSource(site, layer, x.shape[1], ("jumprelu", "standard", "topk")[layer % 3]).load("cpu")
        acts = torch.from_numpy(units_of(skills.bank("sae", site, layer), _as_cache(site, layer, x))).double()
        residual = x - (acts @ sae.W_dec.double() + sae.b_dec)
        row = gates.loc[(site, layer)]
        assert row["fvu"] == pytest.approx(float(residual.square().sum() / (x - x.mean(0)).square().sum()), rel=1e-3)
        assert row["l0"] == pytest.approx(float((acts > 0).sum(1).double().mean()), rel=1e-3)
        assert row["dead_share"] == pytest.approx(float((~(acts > 0).any(0)).double().mean()), abs=0.005)


def _as_cache(site: str, layer: int, x: torch.Tensor) -> dict:
    """A cache with these tokens after one that does not count."""
    return {f"blocks.{layer}.{HOOKS[site]}": torch.cat([x[:1], x])[None].float()}
