"""Planted neurons with one rule and with two are told apart, random ones are not: a small part of the benchmark."""

from __future__ import annotations

from pathlib import Path

import bench_meanings
import pytest
from record_stage import extract

from neuron_signatures.runs.records.corpus import Corpus


@pytest.mark.slow
def test_planted_neurons_with_one_rule_and_with_two_are_told_apart(tmp_path: Path) -> None:
    flags = ["--model_name", "demo", "--corpus", "demo", "--max_tokens", "40000", "--index_only", "--quiet"]
    assert extract("--out_dir", str(tmp_path / "run"), *flags) == 0
    with Corpus.open(tmp_path / "run") as corpus:
        neurons = bench_meanings.planted_neurons(corpus, 20, seed=3)
        found = bench_meanings.compare(corpus, neurons, "tokens", seed=3)
    assert sum(n.n_rules == 1 for n in neurons) == sum(n.n_rules == 2 for n in neurons) == 20
    assert min(found.planted) >= 0.9
    assert all(abs(auroc - 0.5) < 0.2 for auroc in found.random)
