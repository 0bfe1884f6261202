"""Edges of SmolLM2 sum to what they lead into."""

from __future__ import annotations

import pytest
import torch

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.circuits.tracing import incoming, relevance, total_effects
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.models.load import load_model
from neuron_signatures.models.spec import SMOLLM2_MODEL, ModelSpec
from neuron_signatures.models.tokens import encode_text

pytestmark = pytest.mark.real


def test_edges_into_the_strongest_neurons_and_into_paris_are_complete():
    model = load_model(ModelSpec(SMOLLM2_MODEL, dtype="fp32", device="cpu"), quiet=True)
    ids = encode_text(model.tokenizer, "The capital of France is", prepend_bos=True)
    paris, london = (encode_text(model.tokenizer, t, prepend_bos=False)[0] for t in (" Paris", " London"))
    last = len(ids) - 1
    target = Target(last, paris, london, "pre_cap_logit", "next_token")
    problem = Problem(model.hf, ids, target, tuple(range(len(ids))))
    reference = torch.zeros(30, len(ids), 1536)
    scores = relevance(problem, reference)
    order = scores.neurons.abs().flatten().argsort(descending=True)[:40]
    strongest = [NeuronAt(*(int(i) for i in torch.unravel_index(at, scores.neurons.shape))) for at in order]
    found = incoming(problem, [None, *strongest], strongest, reference)
    sums = found.neurons.sum(1) + found.embeddings.sum(1) + found.rest.sum((1, 2)) + found.constant
    assert bool(((sums - found.value).abs() <= 1e-4 * found.absolute).all())
    assert float(scores.embeddings.sum()) == pytest.approx(float(found.value[0]), rel=1e-4)
    assert NeuronAt(29, last, 864) in strongest
    effects = total_effects(problem, [None], [NeuronAt(29, last, 864)], reference)
    assert float(effects.neurons[0, 0]) < -1, "L29N864 works against Paris"
