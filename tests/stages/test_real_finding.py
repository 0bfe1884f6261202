"""The finding of docs/real-model.md and the README: L29N864 of SmolLM2-135M is about French, and lowers it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import ablate_neuron
import numpy as np
import pytest
from paths import ROOT

from neuron_signatures.poc1_dump_activations import main as dump
from neuron_signatures.runs.run import Run

pytestmark = pytest.mark.real

PROMPTS = ROOT / "docs" / "probe_prompts_france.json"
LAYER, NEURON, ABOVE = 29, 864, 2.0
PAGE = (ROOT / "docs" / "real-model.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("france") / "run"
    flags = ["--model_name", "smollm2", "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    assert dump([*flags, "--prompts_json", str(PROMPTS), "--out_dir", str(path)]) == 0
    return path


def test_it_is_active_only_where_something_is_french_and_misses_half_of_that(run_dir: Path) -> None:
    run, tokens, active, prompts = Run.open(run_dir), Counter[str](), Counter[str](), Counter[str]()
    kinds = {p["id"]: p["kind"] for p in json.loads(PROMPTS.read_text(encoding="utf-8"))}
    for prompt in run.prompts:
        acts, kind = run.acts(prompt, layer=LAYER, neuron=NEURON)[1:], kinds[prompt.probe_id]
        tokens[kind] += len(acts)
        active[kind] += int((acts > ABOVE).sum())
        prompts[kind] += bool((acts > ABOVE).any())
    french = ("france", "french_hint", "near")
    assert +prompts == Counter(dict(zip(french, (5, 8, 7), strict=True)))
    assert active.total() == 48 and tokens.total() == 684
    assert sum(n for kind, n in tokens.items() if kind not in french) == 420
    for kind, name in zip(french, ("name France", "hint at France", "near misses"), strict=True):
        assert f"| {name} | 12 | {prompts[kind]} | {active[kind]} of {tokens[kind]} |" in PAGE


def test_its_ablation_raises_french_more_than_that_of_any_other_neuron_of_its_layer(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On prompts that hint at France without naming it; the numbers are those of the page."""
    flags = ["--neuron", f"L{LAYER}N{NEURON}", "--prompts", "kind=french_hint", "--tokens", " French"]
    assert ablate_neuron.main(["--run_dir", str(run_dir), *flags]) == 0
    out = capsys.readouterr().out
    assert out.strip().endswith("0 at least as far from 0")
    line = re.compile(r"  ·French +(\S+) +null: mean (\S+), standard deviation (\S+), (\S+) to (\S+);")
    np.testing.assert_allclose(
        [float(x) for x in line.search(out).groups()],  # type: ignore[union-attr]
        [float(x) for x in line.search(PAGE).groups()],  # type: ignore[union-attr]
        atol=2e-3,
    )
