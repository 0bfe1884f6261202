"""The null of an intervention: edits of other neurons of the same layers, at the same positions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np
import torch

from neuron_signatures.api.live import Controls, InterveneRequest
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.controls.matched import matched_neurons
from neuron_signatures.interventions.controls.nulls import Outcome, null
from neuron_signatures.interventions.controls.random_sets import other_neurons
from neuron_signatures.interventions.copies import Copies
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.server.held import Held, Stop
from neuron_signatures.server.live.edits import CheckedEdit, changes_of
from neuron_signatures.server.live.stopping import check, checked

MAX_DRAWN_CELLS: Final = 20_000_000
"""Changed activations of all draws together."""


def measure(
    held: Held, request: InterveneRequest, ids: Sequence[int], edits: Sequence[CheckedEdit], copies: Copies,
    changes: Changes, effect: float, stop: Stop,
) -> Controls:  # fmt: skip
    """`effect` against the effects of `request.controls` draws of other neurons (see `InterveneRequest`).

    None of the edited neurons is drawn, and no neuron whose output weight is 0. Raises `UsageError` for a layer without
    as many others, and for the same edit if there is only one other set.
    """
    neurons = torch.stack([changes.layer, changes.neuron], 1).unique(dim=0)
    _refuse_few_others(held, neurons, request)
    if len(changes) * request.controls > MAX_DRAWN_CELLS:
        what = f"{request.controls} draws of {len(changes):,} edited activations are more than {MAX_DRAWN_CELLS:,}"
        raise UsageError(what, where="controls", next_step="Ask for fewer controls, or give positions")
    check(stop)
    rng = np.random.default_rng([request.seed, 1])  # as stage 3: the same seed draws the same neurons
    if request.controls_by == "delta":
        acts = recompute(held.model, ids[: copies.problem.target.pos + 1])
        sets = other_neurons(changes, acts, held.norms, rng)
    else:
        sets = _same_edits(held, edits, neurons, copies.problem.target.pos, rng)
    passes = checked(copies.run(islice(sets, request.controls)), stop)
    effects = [e for clean, edited in passes for e in (edited.value - clean.value).tolist()]
    if not all(map(math.isfinite, effects)):
        return Controls(by=request.controls_by, n=len(effects), mean=None, std=None, largest=None, p=None)
    found = null("", effect, [Outcome(e, False) for e in effects], n=len(effects), two_sided=True, sequential=False)
    return Controls(
        by=request.controls_by, n=found.n, mean=found.mean, std=found.std, low=found.low, high=found.high,
        largest=found.most, exceeded=found.exceeded, p=found.p,
    )  # fmt: skip


def _same_edits(
    held: Held, edits: Sequence[CheckedEdit], neurons: torch.Tensor, last: int, rng: np.random.Generator
) -> Iterator[Changes]:
    """Sets without end: the same edits, each neuron replaced by a random other one of its layer."""
    layer, neuron = neurons.T
    substitutes = torch.zeros(tuple(held.shape), dtype=torch.long)
    while True:
        substitutes[layer, neuron] = matched_neurons(layer, neuron, held.norms, rng)
        yield changes_of(edits, held.shape.d_mlp, last, substitutes)


def _refuse_few_others(held: Held, neurons: torch.Tensor, request: InterveneRequest) -> None:
    layers, counts = neurons[:, 0].unique(return_counts=True)
    own = torch.zeros(tuple(held.shape), dtype=torch.bool)
    own[tuple(neurons.T)] = True
    others = ((held.norms[layers] > 0) & ~own[layers]).sum(1)
    next_step, n_sets = "Edit fewer neurons of a layer, or use controls: 0", 1
    for layer, n, free in zip(layers.tolist(), counts.tolist(), others.tolist(), strict=True):
        if free < n:
            what = f"{n} neurons of layer {layer} are edited, and {free} others could stand for them"
            raise UsageError(what, where="controls", next_step=next_step)
        n_sets *= math.comb(free, n)
    if request.controls_by == "edit" and n_sets == 1:
        what = "only one other set of as many neurons exists, so all draws would be equal"
        raise UsageError(what, where="controls", next_step=next_step)
