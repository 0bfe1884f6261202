"""Swaps of groups: a group's activations replaced by those of another prompt. Does the answer follow?

The null are random groups: for each neuron another one of its layer, none of the group, at the same positions, whose
change writes a vector of the same length (|Δa| · ‖w ⊙ W_out[i]‖, see `interventions.controls.random_sets`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.validation.stored_values import StoredValues
from neuron_signatures.circuits.checks.chance import Chance, chance
from neuron_signatures.circuits.checks.settings import SwapSettings
from neuron_signatures.circuits.types import NeuronAt
from neuron_signatures.interventions.changes import Changes, setting
from neuron_signatures.interventions.controls.matched import enough_neurons
from neuron_signatures.interventions.controls.random_sets import other_neurons
from neuron_signatures.interventions.copies import Copies

_ROUNDING = 1e-5
"""Effects that differ by less, in logits, count as equal."""


@dataclass(frozen=True)
class SwapPrompt:
    """A prompt and its answer, the token that its circuit explains. `acts` are at all its positions."""

    prompt_id: str
    token_ids: tuple[int, ...]
    answer_id: int
    acts: Float[Tensor, "layer pos neuron"]


@dataclass(frozen=True)
class Swap:
    """One group patched from one prompt. `n_neurons` are those at a position that has a counterpart there.

    `before_id` and `after_id` are the most likely tokens; `flipped`: it has become the other prompt's answer. `moved`
    is the change of the logit of the other prompt's answer minus this one's. Chance is None if there are no random
    groups: nothing is patched, or the group has almost whole layers.
    """

    group: str
    other: str
    n_neurons: int
    before_id: int
    after_id: int
    answer_id: int
    flipped: bool
    moved: float
    random: Chance | None
    random_flip_share: float | None


def swap_group(
    hf: PreTrainedModel,
    here: SwapPrompt,
    other: SwapPrompt,
    pairs: Sequence[tuple[int, int]],
    group: str,
    members: Sequence[NeuronAt],
    settings: SwapSettings,
    *,
    norms: Float[Tensor, "layer neuron"],
    values: StoredValues,
    advance: Callable[[int], Any] = lambda _: None,
) -> Swap:
    """Patch the `members` in the prompt `here` from the prompt `other`, and as many random groups.

    `pairs` are aligned positions (here, other); `norms` those of `write_norms`. The answer is read after the last token
    of `here`. Raises `EnvironmentProblem` if one copy does not fit into memory.
    """
    counterpart = dict(pairs)
    kept = [m for m in members if m.pos in counterpart]
    last = len(here.token_ids) - 1
    target = Target(last, other.answer_id, here.answer_id, "pre_cap_logit", "next_token")
    problem = Problem(hf, here.token_ids, target, tuple(range(last + 1)))
    changes = _patch(kept, counterpart, other)
    copies = Copies(problem, first=min((m.pos for m in kept), default=last), batch=settings.batch)
    clean, edited = next(copies.run([changes]))
    moved = float(edited.value[0] - clean.value[0])
    outcomes = values.of(f"{group} from {other.prompt_id}")
    if kept and enough_neurons(changes.layer, norms):
        _draw(copies, changes, here, norms, settings, outcomes, values, advance)
    effects, flips = outcomes[0::2], outcomes[1::2]
    return Swap(
        group, other.prompt_id, len(kept), int(clean.top_id[0]), int(edited.top_id[0]), other.answer_id,
        int(edited.top_id[0]) == other.answer_id, moved, chance(moved, effects, tolerance=_ROUNDING),
        float(np.mean(flips)) if flips else None,
    )  # fmt: skip


def _patch(members: Sequence[NeuronAt], counterpart: dict[int, int], other: SwapPrompt) -> Changes:
    rows = torch.tensor([tuple(m) for m in members], dtype=torch.long).reshape(-1, 3)
    there = torch.tensor([counterpart[m.pos] for m in members], dtype=torch.long)
    layer, pos, neuron = rows.unbind(1)
    return setting(layer, pos, neuron, other.acts[layer, there, neuron])


def _draw(
    copies: Copies,
    changes: Changes,
    here: SwapPrompt,
    norms: Float[Tensor, "layer neuron"],
    settings: SwapSettings,
    outcomes: list[float],
    values: StoredValues,
    advance: Callable[[int], Any],
) -> None:
    """Append effect and flip of each random group that is not there yet."""
    rng = np.random.default_rng(settings.seed)
    groups = islice(other_neurons(changes, here.acts, norms, rng), len(outcomes) // 2, settings.n_random)
    answer = copies.problem.target.token_id
    for clean, edited in copies.run(groups):
        for effect, top in zip((edited.value - clean.value).tolist(), edited.top_id.tolist(), strict=True):
            outcomes += [effect, float(top == answer)]
        values.changed()
        advance(len(edited))
