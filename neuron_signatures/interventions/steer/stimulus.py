"""What is steered, ready for any amount: its edits on the bridge, random ones of the same size, and on other texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.interventions.changes import Changes
from neuron_signatures.interventions.controls.matched import enough_neurons, matched_neurons
from neuron_signatures.interventions.controls.nulls import Outcome, outcomes
from neuron_signatures.interventions.controls.random_sets import Norms, write_norms
from neuron_signatures.interventions.copies import Copies, Predictions
from neuron_signatures.interventions.edits import Edit
from neuron_signatures.interventions.side_effects.elsewhere import ChangedNeurons, Elsewhere
from neuron_signatures.interventions.steer.directions import (
    drawn_directions,
    load_direction,
    output_direction,
    output_directions,
    random_directions,
)
from neuron_signatures.interventions.steer.request import NeuronDirection, Neurons, SteeredNeuron, SteerRequest
from neuron_signatures.interventions.steer.shifted import ShiftedCopies, shifted
from neuron_signatures.interventions.steer.units import FEW_TOKENS, neuron_stds, residual_norm
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.runs.run import Run


@runtime_checkable
class Stimulus(Protocol):
    """Something that can be steered. `what`, `unit` and `what_is_random` say in words what it is, what the amount 1
    is, and what it is compared with."""

    @property
    def what(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def what_is_random(self) -> str: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def edits(self, alpha: float, positions: tuple[int, ...]) -> list[Edit]:
        """The edits of this amount at these positions, for the bridge."""

    def random(self, alpha: float, rng: np.random.Generator) -> Iterator[Outcome]:
        """Outcomes at the target position, without end, of random ones of the same size at the request's positions."""

    def elsewhere(self, alpha: float, n_random: int, rng: np.random.Generator) -> Elsewhere: ...


def stimulus(run: Run | None, request: SteerRequest) -> Stimulus:
    """What the request steers. `run` is read for standard deviations only, and may be None where none are asked for.

    Raises `UsageError` for a neuron without a standard deviation, or a bad file.
    """
    r = request
    model, ids = r.checked.model, list(r.checked.prompt.token_ids)
    problem = Problem(model.hf, ids, r.resolved.target, r.positions)
    if isinstance(r.steered, Neurons):
        return _neurons(run, r, r.steered, problem)
    if isinstance(r.steered, NeuronDirection):
        n = r.steered.neuron
        of_layer = output_directions(model, n.layer, ids)
        layer, vector, pool = n.layer, output_direction(of_layer, n), _others(of_layer, n.neuron)
        what = f"the output direction of {neuron_text(n)} at the output of layer {layer}"
    else:
        layer, vector = r.steered.layer, load_direction(r.steered.path, r.d_model)
        what, pool = f"the vector in {r.steered.path.name} at the output of layer {layer}", None
    length = float(vector.norm())
    mean = residual_norm(model, ids, layer)
    unit = f"the vector itself, of norm {length:.4g} ({length / mean:.3g} of the mean norm of the residual stream)"
    if r.steered.unit == "residual":
        vector = vector * (mean / length)
        unit = f"the mean norm of the residual stream there in this prompt, {mean:.4g}"
    return SteeredDirection(what, unit, (), problem, layer, vector, r.controls.batch, pool)


def _neurons(run: Run | None, request: SteerRequest, steered: Neurons, problem: Problem) -> SteeredNeurons:
    neurons = steered.neurons
    sizes, unit = [1.0] * len(neurons), "1, in units of activation"
    warnings: tuple[str, ...] = ()
    if steered.unit == "std":
        sizes, over, n = _stds(run, steered)
        unit = f"the neuron's standard deviation over {over}"
        if len(neurons) <= 3:
            unit += f" ({', '.join(f'{s:.3g}' for s in sizes)})"
        few = f"standard deviations over as few as {n} tokens are rough"
        warnings = (few,) if n < FEW_TOKENS else ()
    steps = torch.tensor([n.sign * s for n, s in zip(neurons, sizes, strict=True)])
    what = neuron_text(neurons[0]) if len(neurons) == 1 else f"{len(neurons)} neurons"
    norms = write_norms(problem.hf, problem.token_ids)
    return SteeredNeurons(
        what, unit, warnings, request.checked.model, problem, neurons, steps, norms,
        request.controls.batch,
    )  # fmt: skip


def _stds(run: Run | None, steered: Neurons) -> tuple[list[float], str, int]:
    """The standard deviations, what they are over, and of how many tokens."""
    if found := steered.records:
        return list(found.values), found.source.text(found.n_tokens), found.n_tokens
    assert run is not None
    return neuron_stds(run, steered.neurons), "the run", sum(p.seq_len - 1 for p in run.prompts)


@dataclass(frozen=True)
class SteeredNeurons:
    """Adds amount·step to the activation of each neuron."""

    what: str
    unit: str
    warnings: tuple[str, ...]
    model: LoadedModel
    problem: Problem
    neurons: tuple[SteeredNeuron, ...]
    steps: Float[Tensor, " n"]
    norms: Norms
    batch: int
    what_is_random: str = "random neurons"

    def edits(self, alpha: float, positions: tuple[int, ...]) -> list[Edit]:
        by_layer: dict[int, list[int]] = {}
        for i, n in enumerate(self.neurons):
            by_layer.setdefault(n.layer, []).append(i)
        return [
            Edit(
                layer,
                tuple(self.neurons[i].neuron for i in rows),
                positions,
                "add",
                tuple((alpha * self.steps[rows]).tolist()),
            )
            for layer, rows in sorted(by_layer.items())
        ]

    def changes(self, alpha: float, positions: tuple[int, ...]) -> Changes:
        """The same additions as cells."""
        cells = [(n.layer, p, n.neuron) for n in self.neurons for p in positions]
        layer, pos, neuron = torch.tensor(cells).T
        offset = (alpha * self.steps).repeat_interleave(len(positions))
        return Changes(layer, pos, neuron, torch.ones_like(offset), offset)

    def random(self, alpha: float, rng: np.random.Generator) -> Iterator[Outcome]:
        copies = Copies(self.problem, first=min(self.problem.positions), batch=self.batch)
        sets = (s.changes(alpha, self.problem.positions) for s in self.matched(rng))
        return outcomes(copies.run(sets), self.problem.target.token_id)

    def matched(self, rng: np.random.Generator) -> Iterator[SteeredNeurons]:
        """Without end, as many other neurons of the same layers, with steps of the same norms and of random sign.

        Each stands for one neuron at every position, so that what it does at several positions adds up alike. There is
        none if a layer has too few neurons.
        """
        layer, neuron = (torch.tensor([n[i] for n in self.neurons]) for i in (0, 1))
        sizes = self.steps.abs() * self.norms[layer, neuron]
        while enough_neurons(layer, self.norms):
            drawn = matched_neurons(layer, neuron, self.norms, rng)
            sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=len(drawn))).to(sizes)
            steered = tuple(SteeredNeuron(n.layer, i, 1) for n, i in zip(self.neurons, drawn.tolist(), strict=True))
            yield replace(self, neurons=steered, steps=sign * sizes / self.norms[layer, drawn])

    def elsewhere(self, alpha: float, n_random: int, rng: np.random.Generator) -> Elsewhere:
        last = self.problem.positions[-1:]
        return ChangedNeurons(self.model, self.changes(alpha, last), self.norms, n_random, rng, self.batch)


@dataclass(frozen=True)
class SteeredDirection:
    """Adds amount·vector to the output of a layer.

    The controls have the same length: output directions of other neurons of the layer for that of a neuron (`pool`),
    uniformly drawn directions for a vector from a file. Output directions have larger effects than uniform ones in some
    models, so that uniform ones would make most neurons look special.
    """

    what: str
    unit: str
    warnings: tuple[str, ...]
    problem: Problem
    layer: int
    vector: Float[Tensor, " d_model"]
    batch: int
    pool: Float[Tensor, "some d_model"] | None = None

    @property
    def what_is_random(self) -> str:
        return "random directions" if self.pool is None else "output directions of random neurons of the layer"

    def edits(self, alpha: float, positions: tuple[int, ...]) -> list[Edit]:
        return [Edit(self.layer, (), positions, "direction", tuple((alpha * self.vector).tolist()))]

    def random(self, alpha: float, rng: np.random.Generator) -> Iterator[Outcome]:
        copies = ShiftedCopies(self.problem, self.layer, self.problem.positions, batch=self.batch)
        return outcomes(copies.run(self._drawn(alpha, rng)), self.problem.target.token_id)

    def elsewhere(self, alpha: float, n_random: int, rng: np.random.Generator) -> Elsewhere:
        drawn = self._drawn(alpha, rng)
        vectors = [alpha * self.vector, *(next(drawn) for _ in range(n_random))]
        return _ShiftedElsewhere(self, vectors)

    def _drawn(self, alpha: float, rng: np.random.Generator) -> Iterator[Float[Tensor, " d_model"]]:
        vector = alpha * self.vector
        return random_directions(vector, rng) if self.pool is None else drawn_directions(self.pool, vector, rng)


@dataclass(frozen=True)
class _ShiftedElsewhere:
    """The direction, and random ones, on other texts."""

    of: SteeredDirection
    vectors: list[Float[Tensor, " d_model"]]

    @property
    def n_random(self) -> int:
        return len(self.vectors) - 1

    def passes(
        self, problem: Problem, acts: Float[Tensor, "layer neuron"]
    ) -> Iterator[tuple[Predictions, Predictions]]:
        return ShiftedCopies(problem, self.of.layer, (problem.target.pos,), batch=self.of.batch).run(self.vectors)

    def everywhere(self) -> AbstractContextManager[None]:
        return shifted(self.of.problem.hf, self.of.layer, self.vectors[0], None)


def _others(directions: Float[Tensor, "neuron d_model"], neuron: int) -> Float[Tensor, "some d_model"]:
    """The directions that are not zero, without that of `neuron`."""
    keep = directions.norm(dim=-1) > 0
    keep[neuron] = False
    return directions[keep]


def neuron_text(n: SteeredNeuron) -> str:
    """`L4N178`, with a `-` for its negative pole."""
    return f"L{n.layer}N{n.neuron}{'-' if n.sign < 0 else ''}"
