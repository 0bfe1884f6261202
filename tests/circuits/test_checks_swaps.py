"""Swaps of groups between prompts: against plain forward passes, and on the demo model."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import loaded
from intervention_cases import DALLAS, OAKLAND, demo_prompt, plain_logits
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.settings import SwapSettings
from neuron_signatures.circuits.checks.swaps import Swap, SwapPrompt, swap_group
from neuron_signatures.circuits.graph.candidates import strongest
from neuron_signatures.circuits.groups.align import align
from neuron_signatures.circuits.tracing.relevance import relevance
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.models.rerun.checked_prompt import recompute

CITY, LAST = 7, 8


def prompt(text: str) -> SwapPrompt:
    ids = demo_prompt(text).token_ids
    return SwapPrompt(
        text, ids, int(plain_logits(loaded("demo").hf, [ids])[0, -1].argmax()), recompute(loaded("demo"), ids)
    )


def swap(
    members: list[NeuronAt], values: StoredValues | None = None, *, n_random: int = 12, text: str = OAKLAND
) -> Swap:
    here, other = prompt(DALLAS), prompt(text)
    hf = loaded("demo").hf
    return swap_group(
        hf, here, other, align(here.token_ids, other.token_ids), "group", members, SwapSettings(n_random, 0, 8),
        norms=write_norms(hf, list(here.token_ids)), values=values or StoredValues(),
    )  # fmt: skip


def some(layers: range, positions: tuple[int, ...], step: int = 1) -> list[NeuronAt]:
    return [NeuronAt(layer, pos, i) for layer in layers for pos in positions for i in range(0, 512, step)]


def test_a_swap_is_that_of_a_plain_forward_pass() -> None:
    members = some(range(1, 4), (LAST,), step=3)
    here, other = prompt(DALLAS), prompt(OAKLAND)

    def edit(layer: int, acts: Tensor) -> Tensor:
        acts = acts.clone()
        acts[0, LAST, ::3] = other.acts[layer, LAST, ::3]
        return acts

    hf = loaded("demo").hf
    clean = plain_logits(hf, [here.token_ids])[0, -1]
    edited = plain_logits(hf, [here.token_ids], {i: lambda acts, i=i: edit(i, acts) for i in range(1, 4)})[0, -1]
    pair = [other.answer_id, here.answer_id]
    cap = hf.config.final_logit_softcapping
    change = cap * ((edited / cap).atanh() - (clean / cap).atanh())[pair]  # of the logits before the soft cap
    found = swap(members)
    assert found.moved == pytest.approx(float(change @ torch.tensor([1.0, -1.0])), abs=1e-2)
    assert (found.before_id, found.after_id) == (int(clean.argmax()), int(edited.argmax()))
    assert found.n_neurons == len(members)


def test_the_answer_follows_the_neurons_of_the_city_and_not_random_ones() -> None:
    here, other = prompt(DALLAS), prompt(OAKLAND)
    target = Target(LAST, here.answer_id, other.answer_id, "pre_cap_logit", "next_token")
    problem = Problem(loaded("demo").hf, here.token_ids, target, tuple(range(LAST + 1)))
    found = swap(strongest(relevance(problem, other.acts).neurons, 90))
    assert found.flipped and found.after_id == prompt(OAKLAND).answer_id
    assert found.random is not None and found.random.n == 12
    assert found.random_flip_share is not None and found.random_flip_share <= 0.1
    assert found.random.mean + 3 * found.random.sd < found.moved
    assert found.random.p == pytest.approx(1 / 13)


def test_neurons_without_a_counterpart_are_left_out() -> None:
    here, other = prompt(DALLAS), prompt(OAKLAND)
    hf, members = loaded("demo").hf, some(range(1), (CITY, LAST), step=100)
    found = swap_group(
        hf, here, other, [(LAST, LAST)], "group", members, SwapSettings(2), values=StoredValues(),
        norms=write_norms(hf, list(here.token_ids)),
    )  # fmt: skip
    assert found.n_neurons == len(members) // 2


def test_nothing_to_patch_moves_nothing() -> None:
    found = swap([])
    assert (found.n_neurons, found.moved, found.flipped) == (0, 0.0, False)
    assert found.random is None and found.random_flip_share is None


def test_random_groups_that_were_measured_are_not_measured_again() -> None:
    members, values = some(range(2), (LAST,), step=9), StoredValues()
    first = swap(members, values)
    n = values.count
    assert swap(members, values) == first and values.count == n == 24
    longer = swap(members, values, n_random=14)
    assert longer.random is not None and longer.random.n == 14
