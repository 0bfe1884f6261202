"""Planted neurons as a run: what follows is the ordinary path."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuron_signatures.runs.records.names import PARTS, NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.scoring.lookup.rule import rule_of
from neuron_signatures.scoring.planted.neurons import plant
from neuron_signatures.scoring.planted.passages import demo_passages
from neuron_signatures.scoring.planted.records import write_planted
from neuron_signatures.scoring.texts import uniform_texts


def test_planted_neurons_become_records_with_all_parts_and_their_rules_are_found(tmp_path: Path) -> None:
    passages = demo_passages(800, seed=0)
    neurons = plant(passages, "token", 2, seed=0)
    write_planted(tmp_path / "run", passages, neurons)
    with Records.open(tmp_path / "run") as records:
        assert records.sampled_neurons == [(0, 0), (0, 1)]
        for n, neuron in enumerate(neurons):
            at = NeuronPole(0, n, "+")
            assert [[*neuron.rule.tokens]] == getattr(rule_of(records, at), "ngrams", None)
            texts = {text.tokens: text for part in PARTS for text in uniform_texts(records, at, parts=(part,))}
            assert len(texts) == len(passages.tokens)
            for tokens, acts in zip(passages.tokens, neuron.acts, strict=True):
                np.testing.assert_array_equal(texts[tokens].acts, acts)
        assert all(uniform_texts(records, NeuronPole(0, 0, "+"), parts=(part,)) for part in PARTS)
