"""Doses on tiny models of every architecture, compared with plain passes token by token and with PyTorch hooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
import torch
from attribution_cases import loaded, token_ids
from steer_cases import LENGTH, NEURONS, request, session
from tiny_models import ARCHITECTURES
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.readout import pre_cap_logits
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.interventions.edits import Edit
from neuron_signatures.interventions.side_effects.measure import SideEffectSettings, side_effects_of
from neuron_signatures.interventions.side_effects.neutral import Neutral, NeutralText
from neuron_signatures.interventions.side_effects.perplexity import perplexity
from neuron_signatures.interventions.steer.doses import MeasuredDose, clean_logits_of, measure
from neuron_signatures.interventions.steer.request import Generation, NeuronDirection, Neurons, SteerRequest
from neuron_signatures.interventions.steer.shifted import ShiftedCopies
from neuron_signatures.interventions.steer.stimulus import SteeredDirection, SteeredNeurons, stimulus
from neuron_signatures.interventions.steer.units import residual_norm
from neuron_signatures.models.capture import backbone, decoder_layers, output_projections
from neuron_signatures.models.tokens import encode_text
from neuron_signatures.models.weights import output_weight, unembedding
from neuron_signatures.runs.intervention_records import Dose

ALL = [*ARCHITECTURES, "demo"]
STEERED = Neurons(NEURONS, "1")
DIRECTION = NeuronDirection(NEURONS[0])
SHORT = Neutral((NeutralText("the capital of"), NeutralText("in Dallas and Austin is")), "the capital of Dallas", "s")


def dose(r: SteerRequest, alpha: float) -> MeasuredDose:
    return measure(r, stimulus(None, r), clean_logits_of(r), alpha)


def hidden_by_hook(name: str, ids: Sequence[int], layer: int, rows: Sequence[int], vector: Tensor) -> Tensor:
    """The unembedding's input with a vector added to a decoder layer's output by a plain PyTorch hook."""
    hf = loaded(name).hf

    def add(_: object, args: object, out: Tensor) -> Tensor:
        out = out.clone()
        for row in rows:
            out[0, row] += vector
        return out

    handle = decoder_layers(hf)[layer].register_forward_hook(add)
    try:
        with torch.no_grad():
            return backbone(hf)(input_ids=torch.tensor([list(ids)]), use_cache=False).last_hidden_state[0]
    finally:
        handle.remove()


@pytest.mark.parametrize("name", ALL)
def test_a_direction_equals_a_hook_on_the_decoder_layer(name: str) -> None:
    ids = token_ids(LENGTH)
    vector = torch.randn(loaded(name).hf.get_input_embeddings().weight.shape[1])
    edit = Edit(1, (), (2, 4), "direction", tuple(vector.tolist()))
    want = pre_cap_logits(unembedding(loaded(name).hf), hidden_by_hook(name, ids, 1, (2, 4), vector)[5:6])[0]
    torch.testing.assert_close(session(name).pre_cap_logits(ids, 5, [edit]), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("layer", [0, 1])
def test_shifted_copies_equal_hooks(name: str, layer: int) -> None:
    r = request(name, DIRECTION)
    ids, head = token_ids(LENGTH), unembedding(loaded(name).hf)
    problem = Problem(loaded(name).hf, ids, r.resolved.target, (3, 6))
    vectors = list(torch.randn(3, loaded(name).hf.get_input_embeddings().weight.shape[1]))
    passes = list(ShiftedCopies(problem, layer, (3, 6), batch=2).run(vectors))
    assert [len(edited) for _, edited in passes] == [2, 1]
    got = torch.cat([edited.difference for _, edited in passes])
    target = r.resolved.target
    for value, vector in zip(got, vectors, strict=True):
        logits = pre_cap_logits(head, hidden_by_hook(name, ids, layer, (3, 6), vector)[-1:])[0]
        assert float(value) == pytest.approx(float(logits[target.token_id] - logits[target.foil_id]), abs=1e-4)
    clean = {float(c.difference[0]) for c, _ in passes}
    assert max(clean) - min(clean) < 1e-5
    assert min(clean) == pytest.approx(r.resolved.facts.value, abs=1e-4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("steered", [STEERED, DIRECTION], ids=["neurons", "direction"])
@pytest.mark.parametrize("at", ["all", "prompt"])
def test_generation_equals_token_by_token_passes(name: str, steered, at: str) -> None:
    r = request(name, steered, generation=Generation(max_new_tokens=5, at=at))
    of, ids, eos = stimulus(None, r), token_ids(LENGTH), loaded(name).tokenizer.eos_token_id
    found = dose(r, 1.5)
    want: list[int] = []
    while len(want) < 5 and (not want or want[-1] != eos):
        new = range(LENGTH, LENGTH + len(want)) if at == "all" else ()
        logits = session(name).logits([*ids, *want], of.edits(1.5, (*r.positions, *new)))
        want.append(int(logits[-1].argmax()))
    assert found.new_ids == want


@pytest.mark.parametrize("name", ALL)
def test_amount_zero_is_the_unsteered_model(name: str) -> None:
    r = request(name, STEERED)
    found = dose(r, 0.0)
    facts = r.resolved.facts
    assert found.dose.prediction.kl == 0 and found.dose.null is None
    assert found.dose.prediction.difference == pytest.approx(facts.value, abs=1e-4)
    assert found.dose.prediction.probability == pytest.approx(facts.target.probability, abs=1e-5)
    assert [a.token_id for a in found.dose.prediction.top] == [t.token_id for t in facts.top]
    assert found.new_ids == session(name).generate(token_ids(LENGTH), max_new_tokens=4)


def test_a_prediction_equals_edited_copies_and_the_bridge() -> None:
    r = request("gemma2", STEERED)
    of = stimulus(None, r)
    assert isinstance(of, SteeredNeurons)
    found = dose(r, 2.0).dose.prediction
    problem = Problem(loaded("gemma2").hf, token_ids(LENGTH), r.resolved.target, r.positions)
    ((_, edited),) = list(Copies(problem, first=3).run([of.changes(2.0, r.positions)]))
    row = edited.row(0)
    for field in ("difference", "logprob", "probability", "rank", "kl"):
        assert getattr(found, field) == pytest.approx(row[field], abs=1e-4)
    logprobs = session("gemma2").logits(token_ids(LENGTH), of.edits(2.0, r.positions))[-1].log_softmax(-1)
    assert found.logprob == pytest.approx(float(logprobs[r.resolved.target.token_id]), abs=1e-4)


def test_edits_add_the_signed_steps() -> None:
    edits = stimulus(None, request("gpt2", STEERED)).edits(3.0, (1, 2))
    assert edits == [Edit(1, (3, 60), (1, 2), "add", (3.0, -3.0)), Edit(2, (5,), (1, 2), "add", (3.0,))]


def test_random_neurons_are_added_with_the_norms_of_the_set() -> None:
    r = request("gemma3", STEERED)
    of = stimulus(None, r)
    assert isinstance(of, SteeredNeurons)
    own, drawn = of.changes(2.0, r.positions), next(of.matched(np.random.default_rng(0))).changes(2.0, r.positions)
    assert drawn.factor.tolist() == [1.0] * 6 and drawn.layer.equal(own.layer) and drawn.pos.equal(own.pos)
    assert drawn.neuron[::2].equal(drawn.neuron[1::2]) and drawn.offset[::2].equal(drawn.offset[1::2])
    assert not set(zip(drawn.layer.tolist(), drawn.neuron.tolist(), strict=True)) & {n[:2] for n in NEURONS}
    sizes = drawn.offset.abs() * of.norms[drawn.layer, drawn.neuron]
    torch.testing.assert_close(sizes, own.offset.abs() * of.norms[own.layer, own.neuron])


def test_random_directions_have_the_length_of_the_vector() -> None:
    of = stimulus(None, request("gemma2", DIRECTION))
    assert isinstance(of, SteeredDirection) and of.pool is not None
    drawn = of._drawn(-0.5, np.random.default_rng(0))
    for vector in (next(drawn), next(drawn)):
        assert float(vector.norm()) == pytest.approx(0.5 * float(of.vector.norm()), rel=1e-5)
        cosines = torch.nn.functional.cosine_similarity(of.pool, vector[None]).abs()
        assert float(cosines.max()) == pytest.approx(1, abs=1e-5)
    own = torch.nn.functional.cosine_similarity(of.pool, of.vector[None])
    assert float(own.max()) < 0.99  # the neuron's own direction is none of them
    uniform = dataclasses.replace(of, pool=None)
    vector = next(uniform._drawn(2.0, np.random.default_rng(0)))
    assert float(vector.norm()) == pytest.approx(2 * float(of.vector.norm()), rel=1e-5)


@pytest.mark.parametrize("steered", [STEERED, DIRECTION], ids=["neurons", "direction"])
def test_controls_are_reproducible_and_of_the_amount(steered) -> None:
    r = request("llama", steered)
    one, again, larger = (dose(r, a).dose.null for a in (1.0, 1.0, 4.0))
    assert one is not None and one == again and one.n == 12
    assert larger is not None and larger.std > one.std > 0


@pytest.mark.parametrize("name", ["gemma2", "llama"])
def test_the_unit_of_a_direction_is_the_mean_norm_of_the_residual_stream(name: str) -> None:
    r = request(name, DIRECTION)
    of = stimulus(None, r)
    assert isinstance(of, SteeredDirection)
    ids = token_ids(LENGTH)
    seen: list[Tensor] = []
    handle = decoder_layers(loaded(name).hf)[1].register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        loaded(name).hf(torch.tensor([ids]), use_cache=False)
    handle.remove()
    mean = float(seen[0][0, 1:].norm(dim=-1).mean())
    assert residual_norm(loaded(name), ids, 1) == pytest.approx(mean, rel=1e-5)
    assert float(of.vector.norm()) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("name", ["gemma2", "llama", "gpt2"])
def test_a_raw_direction_is_what_a_unit_of_activation_writes(name: str) -> None:
    """Exactly in models without a norm on the MLP's output, there up to the scale of that norm."""
    of = stimulus(None, request(name, NeuronDirection(NEURONS[1], "1")))
    assert isinstance(of, SteeredDirection)
    vector = -of.vector  # of the negative pole
    row = output_weight(output_projections(loaded(name).hf)[1])[60]
    if name == "gemma2":
        row = row * (1 + decoder_layers(loaded(name).hf)[1].post_feedforward_layernorm.weight)
    torch.testing.assert_close(vector, row, rtol=1e-4, atol=1e-5)


def test_perplexity_of_the_text_is_under_the_clean_model() -> None:
    r = request("qwen2", STEERED)
    found = dose(r, 2.0)
    ids = [*token_ids(LENGTH), *found.new_ids]
    assert found.dose.perplexity == pytest.approx(perplexity(loaded("qwen2"), ids, first=LENGTH))
    none = dataclasses.replace(r, generation=Generation(max_new_tokens=0))
    assert (dose(none, 2.0).dose.perplexity, dose(none, 2.0).dose.text) == (None, "")


@pytest.mark.parametrize("name", ["gemma2", "llama", "gpt_neox"])
def test_side_effects_of_a_direction_equal_the_bridge(name: str) -> None:
    r = request(name, DIRECTION)
    of, model = stimulus(None, r), loaded(name)
    changed = of.elsewhere(0.5, 3, np.random.default_rng(0))
    record = side_effects_of(model, changed, SHORT, SideEffectSettings(True)).record
    assert record.random is not None and record.random.n_sets == 3
    for prompt, found in zip(SHORT.prompts, record.prompts, strict=True):
        ids = encode_text(model.tokenizer, prompt.text, prepend_bos=True)
        clean, edited = (session(name).logits(ids, e)[-1].log_softmax(-1) for e in ((), of.edits(0.5, (len(ids) - 1,))))
        assert found.kl == pytest.approx(float((clean.exp() * (clean - edited)).sum()), abs=2e-5, rel=1e-3)
    ids = encode_text(model.tokenizer, SHORT.held_out, prepend_bos=True)
    logprobs = session(name).logits(ids, of.edits(0.5, tuple(range(1, len(ids))))).log_softmax(-1)
    nll = -torch.stack([logprobs[i, ids[i + 1]] for i in range(len(ids) - 1)]).mean()
    assert record.perplexity_after == pytest.approx(float(nll.exp()), rel=1e-4)


def test_side_effects_of_neurons_add_at_the_last_position() -> None:
    r = request("phi", STEERED)
    of = stimulus(None, r)
    found = side_effects_of(
        loaded("phi"), of.elsewhere(2.0, 2, np.random.default_rng(0)), SHORT, SideEffectSettings(True)
    ).record.prompts[0]
    ids = encode_text(loaded("phi").tokenizer, SHORT.prompts[0].text, prepend_bos=True)
    clean, edited = (session("phi").logits(ids, e)[-1].log_softmax(-1) for e in ((), of.edits(2.0, (len(ids) - 1,))))
    assert found.kl == pytest.approx(float((clean.exp() * (clean - edited)).sum()), abs=2e-5, rel=1e-3)


@pytest.mark.parametrize("steered", [STEERED, DIRECTION], ids=["neurons", "direction"])
def test_value_and_controls_are_of_the_target_function(steered) -> None:
    """Of the log probability: a control that is the change itself has the same effect."""
    r = request("demo", steered)
    facts = resolve_target(loaded("demo"), token_ids(LENGTH), TargetRequest("top1_logit", function="logprob"))
    r = dataclasses.replace(r, resolved=facts)
    zero, one = dose(r, 0.0), dose(r, 1.0)
    assert zero.value == pytest.approx(facts.facts.value, abs=1e-4)
    assert one.value == pytest.approx(one.dose.prediction.logprob, abs=1e-5)
    effects = [o.effect for o in islice(stimulus(None, r).random(1.0, np.random.default_rng(0)), 20)]
    assert all(zero.value + e <= 1e-4 for e in effects)  # no log probability is positive


def test_doses_are_plain_records() -> None:
    found = dose(request("mistral", STEERED, foil=None), 1.0)
    assert MeasuredDose.model_validate_json(found.model_dump_json()) == found
    assert isinstance(found.dose, Dose) and len(found.dose.prediction.top) == 5
    assert isinstance(stimulus(None, request("mistral", STEERED)).changes(1.0, (3,)), Changes)
