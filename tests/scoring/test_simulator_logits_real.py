"""The simulator logits with the real model, SmolLM2-135M-Instruct from its package (`make real`)."""

from __future__ import annotations

import numpy as np
import pytest
from scored_texts import text
from simulating import Bench, failures
from tiny_chat import Spec

from neuron_signatures.llm.local import LocalClient
from neuron_signatures.scoring.simulators.logits import LogitsSimulator
from neuron_signatures.scoring.simulators.top_logprobs import TopLogprobsSimulator

pytestmark = pytest.mark.real

TEXTS = [
    text("It rained and snowed all day in the hills", [0, 5, 0, 5, 0, 0, 0, 0, 0]),
    text("Tom and Ida left the station before noon", [0] * 8, window=1),
]


def bench(tmp_path) -> Bench:
    return Bench(tmp_path, lambda: LocalClient(Spec("smollm2", dtype="fp32")))


def test_it_predicts_different_numbers_at_different_tokens(tmp_path):
    """What this says about explanations is measured by scripts/simulate_real.py; here only that it works."""
    found, usage = bench(tmp_path).simulate(LogitsSimulator, "words for rain and snow", TEXTS)
    assert failures(found) == ["ok", "ok"]
    for window, of in zip(found, TEXTS, strict=True):
        assert window.values.shape == (len(of.tokens),)
        assert (window.values >= 0).all() and (window.values <= 9).all() and np.ptp(window.values) > 0.1
    without, _ = bench(tmp_path).simulate(LogitsSimulator, "", TEXTS)
    assert failures(without) == ["ok", "ok"] and not np.allclose(without[0].values, found[0].values, atol=1e-3)
    assert 500 < usage.prompt_tokens < 700 and usage.answered_by.startswith("smollm2@gguf:")


def test_its_candidates_for_single_questions_have_digits(tmp_path):
    found, _ = bench(tmp_path).simulate(TopLogprobsSimulator, "words for rain and snow", [TEXTS[1]])
    assert failures(found) == ["ok"] and np.isfinite(found[0].values).all()
