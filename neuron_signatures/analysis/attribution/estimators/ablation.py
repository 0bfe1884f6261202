"""The true effect of ablating neurons: the model runs with their activations replaced by a reference.

`single_ablations` ablates single neurons, many per forward pass; `joint_ablation` ablates sets of neurons, many sets
per forward pass (faithfulness and completeness curves, random controls). Effects are differences of two forward
passes: use a float32 model, because most of them round to 0 in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.reference import refuse_undefined
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.models.batching import BatchSize, Work, run_in_halves, run_in_passes, work_on
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.suffix import Edit, Suffix
from neuron_signatures.runs.errors import UsageError

# ablate: replace the neurons of the set and keep the others; keep: the reverse.
SetMeaning = Literal["ablate", "keep"]
DEFAULT_BATCH = 64
STORED_LAYERS = "A mean needs stored layers: name them with --layers, or use --reference zero or records"


class AblationChunk(NamedTuple):
    """Some of the requested neurons, by their rows in the list, and f(clean) - f(neuron at its reference)."""

    rows: Int[Tensor, " chunk"]
    effects: Float[Tensor, " chunk"]


def every_neuron(hf: PreTrainedModel, *, layers: Sequence[int], positions: Sequence[int]) -> Int[Tensor, "n 3"]:
    """All (layer, pos, neuron) of these layers and positions, in this order."""
    d_mlp = mlp_shape(hf).d_mlp
    return torch.cartesian_prod(torch.tensor(list(layers)), torch.tensor(list(positions)), torch.arange(d_mlp))


@torch.no_grad()
def single_ablations(
    problem: Problem,
    neurons: Int[Tensor, "n 3"],
    *,
    values: Float[Tensor, " n"],
    done: Bool[Tensor, " n"] | None = None,
    batch: int = DEFAULT_BATCH,
) -> Iterator[AblationChunk]:
    """Effects of setting each neuron, alone and at one position, to its entry in `values`.

    `neurons` are rows (layer, pos, neuron), at any position of the prompt; those marked in `done` are skipped, so that
    an interrupted run can resume. One chunk per forward pass, whose first row is the clean prompt. A positive effect
    means that the neuron's activation raises f. Raises `UsageError` for a position after the target position, where
    no neuron has an effect.
    """
    todo = torch.arange(len(neurons)) if done is None else (~done).nonzero()[:, 0]
    assert len(values) == len(neurons)
    _refuse(neurons[todo, 1], values[todo], problem.target)
    size = BatchSize(batch)
    for pos in sorted(set(neurons[todo, 1].tolist())):
        suffix = problem.suffix(first=pos)

        def effects(chunk: Sequence[int], suffix: Suffix = suffix) -> AblationChunk:
            rows = torch.tensor(chunk)
            edit = _single_edit(neurons[rows], values[rows])
            layers = sorted(set(neurons[rows, 0].tolist()))
            f = problem.value(suffix.run(len(rows) + 1, edit, layers, from_layer=layers[0])).float().cpu()
            return AblationChunk(rows, f[0] - f[1:])

        here = todo[neurons[todo, 1] == pos].tolist()
        yield from run_in_halves(effects, here, size=size, unit="ablations", work=lambda _: _work(problem))


@torch.no_grad()
def joint_ablation(
    problem: Problem,
    sets: Iterable[Bool[Tensor, "layer *pos neuron"]],
    *,
    reference: Float[Tensor, "model_layer pos neuron"],
    layers: Sequence[int],
    meaning: SetMeaning = "ablate",
    batch: int = DEFAULT_BATCH,
) -> Iterator[Float[Tensor, " chunk"]]:
    """f, float32, with each set of neurons ablated at the problem's positions, or with all others ablated.

    A set `[layer neuron]` holds at all these positions, a set `[layer pos neuron]` has neurons of its own at each. One
    tensor per forward pass, in the order of the sets, which are taken from the iterator as they are needed. The rows of
    a set are `layers`; neurons of other layers are never ablated. Neurons that are not ablated respond to those that
    are.
    """
    positions, chosen = problem.positions, list(layers)
    _refuse(torch.tensor(positions), reference[chosen], problem.target)
    suffix = problem.suffix(first=min(positions))
    rows, first = suffix.rows(positions), min(chosen)

    def values(members: list[Tensor]) -> Tensor:
        edit = _joint_edit(members, chosen, meaning, reference, rows)
        return problem.value(suffix.run(len(members), edit, chosen, from_layer=first)).float().cpu()

    yield from run_in_passes(values, sets, size=BatchSize(batch), unit="ablations", work=_work(problem))


def _single_edit(neurons: Int[Tensor, "n 3"], values: Float[Tensor, " n"]) -> Edit:
    """Keeps row 0, and sets neuron i of row i + 1 to its value at the suffix's first position."""

    def edit(layer: int, acts: Tensor) -> Tensor:
        rows = (neurons[:, 0] == layer).nonzero()[:, 0]
        index = (rows + 1, torch.zeros_like(rows), neurons[rows, 2])
        return acts.index_put(tuple(i.to(acts.device) for i in index), values[rows].to(acts))

    return edit


def _joint_edit(
    members: Sequence[Bool[Tensor, "layer *pos neuron"]],
    layers: Sequence[int],
    meaning: SetMeaning,
    reference: Float[Tensor, "model_layer pos neuron"],
    rows: Int[Tensor, " pos"],
) -> Edit:
    def edit(layer: int, acts: Tensor) -> Tensor:
        where, own = rows.to(acts.device), layers.index(layer)
        inside = torch.stack([m[own].view(-1, acts.shape[-1]) for m in members]).to(acts.device)
        other, clean = reference[layer].to(acts), acts[:, where]
        edited = torch.where(inside, other, clean) if meaning == "ablate" else torch.where(inside, clean, other)
        return acts.index_copy(1, where, edited)

    return edit


def _refuse(positions: Int[Tensor, " n"], values: Float[Tensor, "..."], target: Target) -> None:
    if len(positions) and int(positions.max()) > target.pos:
        what = f"position {int(positions.max())} comes after the target's, {target.pos}: nothing there has an effect"
        raise UsageError(what, where="ablation")
    refuse_undefined(values, where="ablation", next_step=STORED_LAYERS)


def _work(problem: Problem) -> Work:
    return work_on(problem.hf, "ablation", problem.token_ids)
