"""Control edits of the same size: other neurons, other positions, other deltas.

The delta of a cell is its new activation minus the clean one. Its norm, |delta| · ‖w ⊙ W_out[i]‖, is the length of what
the change adds to the residual stream, up to the scale of the norm on the MLP's output (w is that norm's weight in
Gemma-2 and Gemma-3, 1 elsewhere). Controls keep the norms, and all set their cells to clean + delta.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.interventions.changes import Changes, setting
from neuron_signatures.interventions.controls.matched import matched_neurons
from neuron_signatures.models.write_path import write_path

Acts = Float[Tensor, "layer pos neuron"]
Norms = Float[Tensor, "layer neuron"]


@torch.no_grad()
def write_norms(hf: PreTrainedModel, token_ids: Sequence[int]) -> Norms:
    """‖w ⊙ W_out[i]‖ of every neuron, float32 on the CPU. No number depends on the prompt (see `write_path`)."""
    path = write_path(hf, list(token_ids))
    found = []
    for layer, post in enumerate(path.post_mlp):
        rows = path.rows(layer)
        found.append((rows if post is None else post.unscaled(rows.to(post.weight.device))).norm(dim=-1).float().cpu())
    return torch.stack(found)


def deltas(changes: Changes, acts: Acts) -> Float[Tensor, " n"]:
    """New minus clean activation of each cell."""
    return changes.new_values(acts) - changes.at(acts)


def delta_norms(changes: Changes, acts: Acts, norms: Norms) -> Float[Tensor, " n"]:
    """The norm of each cell's delta, never negative."""
    return deltas(changes, acts).abs() * norms[changes.layer, changes.neuron]


def with_deltas(changes: Changes, acts: Acts, delta: Float[Tensor, " n"]) -> Changes:
    """The same cells, set to clean + delta."""
    return setting(changes.layer, changes.pos, changes.neuron, changes.at(acts) + delta)


def random_neurons(changes: Changes, acts: Acts, norms: Norms, rng: np.random.Generator) -> Iterator[Changes]:
    """Sets without end: for each layer and position as many random neurons, with the norms of `changes`.

    Neurons whose output is 0 are not drawn. The sign of each delta is random, because that of a neuron's output
    direction is arbitrary.
    """
    size = delta_norms(changes, acts, norms)
    groups: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(changes.layer.tolist(), changes.pos.tolist(), strict=True)):
        groups.setdefault(key, []).append(row)
    usable = {layer: (norms[layer] > 0).nonzero()[:, 0].numpy() for layer in sorted({k[0] for k in groups})}
    while True:
        neuron = torch.empty_like(changes.neuron)
        for (layer, _), rows in groups.items():
            neuron[rows] = torch.from_numpy(rng.choice(usable[layer], size=len(rows), replace=False))
        drawn = setting(changes.layer, changes.pos, neuron, torch.zeros_like(size))
        sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=len(size))).to(size)
        yield with_deltas(drawn, acts, sign * size / norms[drawn.layer, drawn.neuron])


def other_neurons(changes: Changes, acts: Acts, norms: Norms, rng: np.random.Generator) -> Iterator[Changes]:
    """Sets without end: for each neuron another one of its layer, at the same positions, with the same norms.

    The deltas of a neuron keep their signs relative to each other; their common sign is random. None of the neurons of
    `changes` is drawn, unless a layer has too few others (see `matched_neurons`).
    """
    cells, of = torch.stack([changes.layer, changes.neuron], 1).unique(dim=0, return_inverse=True)
    signed = deltas(changes, acts) * norms[changes.layer, changes.neuron]
    while True:
        drawn = matched_neurons(cells[:, 0], cells[:, 1], norms, rng)[of]
        sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=len(cells))).to(signed)[of]
        new = setting(changes.layer, changes.pos, drawn, torch.zeros_like(signed))
        yield with_deltas(new, acts, sign * signed / norms[changes.layer, drawn])


def scrambled_positions(
    changes: Changes, acts: Acts, positions: Sequence[int], rng: np.random.Generator
) -> Iterator[Changes]:
    """Sets without end: every neuron's deltas at other positions, drawn from `positions`, none at its own."""
    delta = deltas(changes, acts)
    cells: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(changes.layer.tolist(), changes.neuron.tolist(), strict=True)):
        cells.setdefault(key, []).append(row)
    own = {key: changes.pos[rows].tolist() for key, rows in cells.items()}
    assert all(len(set(p) | set(positions)) > 1 for p in own.values()), "no other position"
    while True:
        pos = changes.pos.clone()
        for key, rows in cells.items():
            pos[rows] = torch.tensor(_elsewhere(own[key], positions, rng))
        moved = setting(changes.layer, pos, changes.neuron, torch.zeros_like(delta))
        yield with_deltas(moved, acts, delta)


def n_arrangements(changes: Changes, positions: Sequence[int]) -> int:
    """How many different sets `scrambled_positions` can give, at most 1e9; exact for neurons with up to two cells."""
    places: dict[tuple[int, int], list[int]] = {}
    for layer, neuron, pos in zip(changes.layer.tolist(), changes.neuron.tolist(), changes.pos.tolist(), strict=True):
        places.setdefault((layer, neuron), []).append(pos)
    total = 1
    for own in places.values():
        n = len(set(positions) | set(own))
        if len(own) == 1:
            ways = n - 1
        elif len(own) == 2:
            ways = (n - 2) * (n - 2) + (n - 1)  # the first takes the second's place, or another one
        else:
            ways = max(1, math.perm(n, len(own)) // 3)  # a third or more of all placements move every cell
        total = min(total * ways, 10**9)
    return total


def own_share(changes: Changes, width: int) -> float:
    """The share of a random set, on average, that is in the set itself: `width` neurons per layer."""
    if not len(changes):
        return 0.0
    cells = torch.stack([changes.layer, changes.pos], 1)
    counts = cells.unique(dim=0, return_counts=True)[1].double()
    return float((counts * counts / width).sum() / len(changes))


def permuted_deltas(changes: Changes, acts: Acts, norms: Norms, rng: np.random.Generator) -> Iterator[Changes]:
    """Sets without end: the same cells, with the signed delta norms of the set in random order, never the own one."""
    own = norms[changes.layer, changes.neuron]
    signed = deltas(changes, acts) * own
    while True:
        order = torch.from_numpy(rng.permutation(len(changes)))
        if bool((signed[order] == signed).all()):
            continue
        yield with_deltas(changes, acts, torch.where(own > 0, signed[order] / own, 0.0))


def _elsewhere(own: Sequence[int], positions: Sequence[int], rng: np.random.Generator) -> list[int]:
    """As many distinct positions, none equal to the one in its place."""
    choices = sorted(set(positions) | set(own))
    while True:
        drawn: list[int] = rng.choice(choices, size=len(own), replace=False).tolist()
        if all(a != b for a, b in zip(drawn, own, strict=True)):
            return drawn
