"""Edited copies equal edited passes of the bridge, and predictions equal what is computed from the logits directly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attribution_cases import loaded, problem_of, target_of, token_ids
from intervention_cases import random_changes, session
from tiny_models import ARCHITECTURES

from neuron_signatures.interventions.changes import joined, setting
from neuron_signatures.interventions.copies import FIELDS, Copies, joined_predictions, predictions
from neuron_signatures.models.weights import unembedding

POSITIONS = (2, 5, 8)


def copies_of(name: str, first: int = 2, batch: int = 4) -> Copies:
    return Copies(problem_of(loaded(name).hf, target_of(name), POSITIONS), first=first, batch=batch)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_copies_equal_the_edited_bridge(name):
    """Set, added and scaled cells of all layers at several positions; seven sets in batches of four."""
    copies = copies_of(name)
    problem, own = copies.problem, session(name)
    sets = [random_changes(problem.hf, POSITIONS, n, seed) for seed, n in enumerate((1, 1, 6, 20, 60, 200, 0))]
    passes = list(copies.run(sets))
    assert [len(edited) for _, edited in passes] == [4, 3]
    edited = joined_predictions([e for _, e in passes])
    clean = own.pre_cap_logits(token_ids(), problem.target.pos)
    wanted = joined_predictions([
        predictions(problem, own.pre_cap_logits(token_ids(), problem.target.pos, one.edits())[None], clean)
        for one in sets
    ])  # fmt: skip
    for field in FIELDS:
        found, right = getattr(edited, field), getattr(wanted, field)
        torch.testing.assert_close(found, right, atol=5e-4, rtol=1e-3, msg=lambda m, f=field: f"{f}: {m}")
    assert float((wanted.value[:6] - wanted.value[6]).abs().max()) > 0.05
    assert float(edited.kl[6]) == 0 and float(edited.value[6]) == float(passes[1][0].value[0])


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_patching_with_the_same_values_and_adding_nothing_is_exactly_nothing(name):
    copies = copies_of(name)
    acts = session(name).acts(token_ids())
    cells = random_changes(copies.problem.hf, POSITIONS, 50, 3)
    nothing = replace(cells, factor=torch.ones(50), offset=torch.zeros(50))
    assert list(copies.effects([nothing])) == [0.0]
    patch = setting(cells.layer, cells.pos, cells.neuron, cells.at(acts))
    own, at = session(name), copies.problem.target.pos
    clean = own.pre_cap_logits(token_ids(), at)
    for same in (patch, nothing):
        assert torch.equal(own.pre_cap_logits(token_ids(), at, same.edits()), clean)
    # the values were captured through the bridge, whose attention is another program
    assert abs(next(copies.effects([patch]))) < 1e-4


def test_effects_are_those_of_each_set_alone_and_in_order():
    copies, one_by_one = copies_of("llama"), copies_of("llama", batch=1)
    sets = [random_changes(copies.problem.hf, POSITIONS, 5, seed) for seed in range(9)]
    found = list(copies.effects(sets))
    assert found == pytest.approx(list(one_by_one.effects(sets)), abs=1e-4)
    assert len({round(f, 3) for f in found}) > 5


def test_changes_as_edits_give_the_same_activations():
    """Every cell of every kind has its own value; `joined` keeps the rows."""
    hf = loaded("gpt2").hf
    changes = joined([random_changes(hf, (2,), 40, 1), random_changes(hf, (5, 8), 30, 2)])
    assert len(changes) == 70
    acts = session("gpt2").acts(token_ids())
    found = {}
    for edit in changes.edits():
        (pos,), value = edit.positions, edit.values
        for neuron, v in zip(edit.neurons, value, strict=True):
            old = acts[edit.layer, pos, neuron]
            found[edit.layer, pos, neuron] = {"set": v, "add": old + v, "scale": old * v}[edit.kind]
    rows = zip(changes.layer.tolist(), changes.pos.tolist(), changes.neuron.tolist(), strict=True)
    wanted = dict(zip(rows, changes.new_values(acts).tolist(), strict=True))
    assert found.keys() == wanted.keys()
    assert all(float(found[key]) == pytest.approx(wanted[key], abs=1e-6) for key in wanted)


@pytest.mark.parametrize("function", ["pre_cap_logit", "logit", "logprob"])
@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_predictions_are_those_of_the_logits(name, function):
    """Gemma-2 caps its logits: probabilities, KL and two of the functions are after the cap, differences before."""
    hf = loaded(name).hf
    problem = problem_of(hf, target_of(name, function=function))
    target, foil = problem.target.token_id, problem.target.foil_id
    raw = 20 * torch.randn(4, 384, generator=torch.Generator().manual_seed(0))
    raw[1] = raw[0]
    raw[1, [2, target, target + 3]] = raw[1].max() + 1  # a tie of three
    cap = getattr(hf.config, "final_logit_softcapping", None)
    assert (unembedding(hf).soft_cap is None) == (cap is None) == (name == "gpt2")
    after = raw if cap is None else cap * torch.tanh(raw / cap)
    found = predictions(problem, raw, raw[0])
    p = after.double().softmax(-1)
    of_function = {"pre_cap_logit": raw, "logit": after, "logprob": after.log_softmax(-1)}[function]
    torch.testing.assert_close(found.value, of_function[:, target] - of_function[:, foil])
    torch.testing.assert_close(found.difference, raw[:, target] - raw[:, foil])
    torch.testing.assert_close(found.logit, raw[:, target])
    torch.testing.assert_close(found.foil_logit, raw[:, foil])
    torch.testing.assert_close(found.probability.double(), p[:, target])
    torch.testing.assert_close(found.foil_probability.double(), p[:, foil])
    torch.testing.assert_close(found.logprob.double(), p[:, target].log(), atol=1e-5, rtol=1e-5)
    kl = (p[0] * (p[0].log() - p.log())).sum(-1)
    torch.testing.assert_close(found.kl.double(), kl, atol=1e-5, rtol=1e-4)
    assert float(found.kl[0]) == 0
    for row, logits in enumerate(raw.tolist()):
        order = sorted(range(384), key=lambda i: (-logits[i], i))
        assert int(found.rank[row]) == order.index(target)
        assert int(found.foil_rank[row]) == order.index(foil)
        assert int(found.top_id[row]) == order[0]
    assert int(found.rank[1]) == 1  # the tie goes to the smallest id, 2


def test_without_a_foil_its_fields_are_undefined():
    problem = problem_of(loaded("gpt2").hf, target_of("gpt2", foil=None))
    raw = torch.randn(2, 384, generator=torch.Generator().manual_seed(0))
    found = predictions(problem, raw, raw[0])
    assert found.row(0)["foil_logit"] is None and found.row(0)["foil_probability"] is None
    assert found.row(1)["foil_rank"] == -1
    torch.testing.assert_close(found.value, raw[:, problem.target.token_id])
    torch.testing.assert_close(found.difference, found.value)
