"""The choice of cells to patch: scores against finite differences, and the path against edited passes of the bridge."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from attribution_cases import in_float64, plain_value, setting, token_ids
from intervention_cases import CHICAGO, DALLAS, OAKLAND, demo_prompt, prompt_of_ids, session

from neuron_signatures.analysis.attribution.estimators.gradients import act_grad
from neuron_signatures.interventions.copies import FIELDS, predictions
from neuron_signatures.interventions.swap.pairs import Pair, Prompts, make_pair
from neuron_signatures.interventions.swap.select import Growing, Limits, Path, cell_scores, greedy
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.progress import silent

NAMES = ("gpt2", "gemma2", "gemma3", "llama", "phi", "gpt_neox")
NO_BAR = silent("", 0)


def tiny_pair(name: str) -> Pair:
    """Two prompts that differ at positions 4 and 5, whose answers are 7 and 20."""
    ids = token_ids()
    source = [*ids[:4], 11, 12, *ids[6:]]
    return make_pair(Prompts(session(name)), prompt_of_ids(ids), prompt_of_ids(source), id="tiny", where="test",
                     answers=(7, 20))  # fmt: skip


def demo_pair(source: str = OAKLAND, roles: tuple[str, ...] | None = ("entity", "last")) -> Pair:
    prompts = Prompts(session("demo"))
    return make_pair(prompts, demo_prompt(DALLAS), demo_prompt(source), id="demo", where="test", roles=roles)


def empty() -> torch.Tensor:
    return torch.empty(0, 3, dtype=torch.long)


@pytest.fixture(scope="module")
def path() -> Path:
    return greedy(demo_pair(), Limits(100, None, 16), NO_BAR)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_the_slope_at_the_patched_state_times_the_missing_delta(name):
    """In float64, with six cells patched in two layers."""
    pair = tiny_pair(name)
    hf = in_float64(name)
    pair = replace(pair, problem=replace(pair.problem, hf=hf))
    patched = torch.tensor([[0, 0, 3], [0, 1, 8], [0, 1, 9], [1, 0, 3], [1, 1, 40], [2, 0, 5]])
    changes = pair.patch(patched)
    scores = cell_scores(pair, pair.suffix(), changes)
    assert scores.shape == pair.source_acts.shape
    cells = list(zip(changes.layer.tolist(), changes.pos.tolist(), changes.neuron.tolist(), changes.offset.tolist(),
                     strict=True))  # fmt: skip
    target, h = pair.problem.target, 0.01  # some norms compute in float32 whatever the model's dtype
    largest = scores.abs().flatten().topk(4).indices
    for at in [*largest.tolist(), *range(100, scores.numel(), 97)]:
        layer, role, neuron = (int(i) for i in torch.unravel_index(torch.tensor(at), scores.shape))
        if [layer, role, neuron] in patched.tolist():
            continue
        pos = pair.problem.positions[role]
        now = value_at(pair, cells, layer, pos, neuron)
        up, down = (plain_value(hf, target, setting([*cells, (layer, pos, neuron, now + d)])) for d in (h, -h))
        wanted = (float(pair.source_acts[layer, role, neuron]) - now) * (up - down) / (2 * h)
        assert float(scores[layer, role, neuron]) == pytest.approx(wanted, abs=1e-4, rel=0.01)
    assert float(scores.abs().max()) > 0.01
    for layer, role, neuron in patched.tolist():
        assert abs(float(scores[layer, role, neuron])) < 1e-6  # nothing is missing


def value_at(pair: Pair, cells, layer, pos, neuron) -> float:
    """The activation with the other cells patched."""
    seen = []
    edit = setting(cells)

    def keep(at, acts):
        acts = edit(at, acts)
        if at == layer:
            seen.append(float(acts[0, pos, neuron]))
        return acts

    plain_value(pair.problem.hf, pair.problem.target, keep)
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_the_clean_prompt_are_those_of_act_grad(name):
    pair = tiny_pair(name)
    clean = pair.destination.acts[:, list(pair.problem.positions)]
    grads = act_grad(pair.problem).per_act
    scores = cell_scores(pair, pair.suffix(), pair.patch(empty()))
    torch.testing.assert_close(scores, (pair.source_acts - clean) * grads, atol=1e-4, rtol=1e-3)


def test_the_first_block_is_the_top_of_the_scores_at_the_clean_prompt():
    pair = demo_pair()
    scores = cell_scores(pair, pair.suffix(), pair.patch(empty()))
    top = scores.flatten().topk(8)
    growing = Growing([pair], Limits(100, 8, 16))
    next(growing.blocks())
    found = scores[growing.cells.unbind(1)]
    torch.testing.assert_close(found, top.values)
    torch.testing.assert_close(growing.scores[0], top.values)
    # the second block is at the patched state
    then = cell_scores(pair, pair.suffix(), pair.patch(growing.cells))
    then[growing.cells.unbind(1)] = -torch.inf
    *_, second = islice(growing.blocks(), 1)
    assert second is None and growing.k == 16
    torch.testing.assert_close(growing.scores[1], then.flatten().topk(8).values)
    assert not torch.allclose(growing.scores[1], scores.flatten().topk(16).values[8:])


def test_the_path_predicts_what_edited_passes_of_the_bridge_predict(path):
    pair, own = demo_pair(), session("demo")
    assert len({tuple(c) for c in path.cells.tolist()}) == len(path) >= 16
    ids, at = pair.destination.prompt.token_ids, pair.problem.target.pos
    clean = own.pre_cap_logits(ids, at)
    for k in (1, 2, 5, 10, len(path)):
        logits = own.pre_cap_logits(ids, at, pair.patch(path.cells[:k]).edits())
        wanted = predictions(pair.problem, logits[None], clean)
        for field in FIELDS:
            found, right = getattr(path.predictions, field)[k - 1 : k], getattr(wanted, field)
            torch.testing.assert_close(found, right, atol=1e-3, rtol=1e-3, msg=lambda m, f=field: f"{f}: {m}")


def test_the_smallest_path_is_the_first_prefix_that_flips(path):
    pair = demo_pair()
    k = path.smallest(pair.source_answer)
    tops = path.predictions.top_id.tolist()
    assert k == tops.index(pair.source_answer) + 1 > 1
    assert path.smallest(pair.destination_answer) == 1 and path.smallest(0) is None
    assert len(path) >= max(16, 2 * k)


def test_limits_end_a_path():
    assert len(greedy(demo_pair(), Limits(7, None, 16), NO_BAR)) == 7
    assert len(greedy(demo_pair(), Limits(100, 5, 16), NO_BAR, at_least=53)) >= 53


def test_all_positions_are_those_after_the_shared_start():
    pair = demo_pair(roles=None)
    assert pair.roles == ("entity", "last") and pair.first == 7
    assert demo_pair(roles=("last",)).source_acts.shape[1] == 1


def test_patching_every_layer_at_every_place_gives_the_answer_of_the_source():
    pair = demo_pair()
    shape = pair.source_acts.shape
    every = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    ((_, edited),) = pair.copies(4).run([pair.patch(every)])
    assert int(edited.top_id[0]) == pair.source_answer


def test_a_pair_needs_two_answers():
    own = Prompts(session("demo"))
    with pytest.raises(UsageError, match="the answer to both prompts is"):
        make_pair(own, demo_prompt(DALLAS), demo_prompt(DALLAS.replace("Dallas", "Houston")), id="x", where="test")
    assert demo_pair(CHICAGO).source_answer not in (demo_pair().source_answer, demo_pair().destination_answer)
