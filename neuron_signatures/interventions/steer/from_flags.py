"""From the flags of `--mode steer` to a request with everything resolved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.analysis.attribution.reference import RECORDS
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.interventions.choice import neurons
from neuron_signatures.interventions.choice.neurons import Chosen, choose_neurons
from neuron_signatures.interventions.choice.positions import parse_positions
from neuron_signatures.interventions.setup import set_up
from neuron_signatures.interventions.side_effects.neutral import load_neutral
from neuron_signatures.interventions.steer.directions import load_direction
from neuron_signatures.interventions.steer.request import (
    DEFAULT_ALPHAS,
    DEFAULT_DIRECTION_ALPHAS,
    DirectionUnit,
    FileDirection,
    Generation,
    NeuronDirection,
    Neurons,
    NeuronUnit,
    SteerControls,
    Steered,
    SteeredNeuron,
    SteerRequest,
)
from neuron_signatures.interventions.steer.units import records_stds
from neuron_signatures.models.rerun.checked_prompt import ModelOverrides
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run

_ONE_OF = "--neurons, --from, --neurons_json, --direction or --direction_file"


@dataclass(frozen=True)
class SteerFlags:
    """As given; None where a flag is not."""

    prompt: str
    target: TargetRequest
    neurons: neurons.Request
    direction: str | None
    direction_file: Path | None
    layer: int | None
    alpha: str | None
    unit: str | None
    reference: str | None
    positions: str
    generation: Generation
    n_random: int
    seed: int
    batch: int
    neutral: Path | None
    break_factor: float
    overrides: ModelOverrides


def steer_request(run: Run, flags: SteerFlags) -> SteerRequest:
    """Loads the model. Raises `UsageError` for flags that do not fit together, before that."""
    steered = _steered(run, flags)
    default = DEFAULT_ALPHAS if isinstance(steered, Neurons) else DEFAULT_DIRECTION_ALPHAS
    alphas = default if flags.alpha is None else _numbers(flags.alpha)
    if flags.generation.temperature < 0:
        raise UsageError("must be 0 or above", where=f"--temperature {flags.generation.temperature:g}")
    if not (math.isfinite(flags.break_factor) and flags.break_factor > 0):
        raise UsageError("must be above 0", where=f"--break_factor {flags.break_factor:g}")
    controls = SteerControls(flags.n_random, flags.seed, load_neutral(flags.neutral), batch=flags.batch)
    setup = set_up(run, flags.prompt, flags.overrides)
    if isinstance(steered, FileDirection):
        load_direction(steered.path, int(setup.session.model.hf.get_input_embeddings().weight.shape[1]))
    resolved = resolve_target(setup.session.model, setup.prompt.token_ids, flags.target)
    positions = parse_positions(flags.positions, setup.prompt, last=resolved.target.pos)
    return SteerRequest(
        setup.checked, setup.session, resolved, positions, steered, alphas, flags.generation, controls,
        flags.break_factor,
    )  # fmt: skip


def _steered(run: Run, flags: SteerFlags) -> Steered:
    named = [f for f in (flags.neurons.names, flags.neurons.from_list, flags.neurons.json_file) if f is not None]
    given = [*named, *(f for f in (flags.direction, flags.direction_file) if f is not None)]
    if len(given) != 1:
        what = "nothing to steer" if not given else "more than one thing to steer"
        raise UsageError(what, where="--mode steer", next_step=f"Give one of {_ONE_OF}")
    if (flags.layer is None) == (flags.direction_file is not None):
        what = "a vector needs the layer" if flags.layer is None else "has no effect without --direction_file"
        raise UsageError(what, where="--direction_file" if flags.layer is None else "--layer")
    _check_reference(flags, is_neurons=bool(named))
    if named:
        chosen = tuple(_one(c) for c in choose_neurons(run, flags.neurons))
        return Neurons(chosen, _neuron_unit(flags.unit), None if flags.reference is None else records_stds(run, chosen))
    unit = _direction_unit(flags.unit)
    if flags.direction is not None:
        found = choose_neurons(run, neurons.Request(names=flags.direction))
        if len(found) > 1:
            raise UsageError(f"{len(found)} neurons have no one direction", where=f"--direction {flags.direction}")
        return NeuronDirection(_one(found[0]), unit)
    assert flags.direction_file is not None and flags.layer is not None
    return FileDirection(flags.direction_file, flags.layer, unit)


def _check_reference(flags: SteerFlags, *, is_neurons: bool) -> None:
    """Raise `UsageError` unless the reference is that of the neurons' standard deviations."""
    if flags.reference is None:
        return
    where = f"--reference {flags.reference}"
    if flags.reference != RECORDS:
        what = "steering takes standard deviations from the run (default) or from records"
        raise UsageError(what, where=where, next_step="Use --reference records, or leave it out")
    if not is_neurons:
        raise UsageError("has no effect on a direction", where=where, next_step="Use it with --neurons")
    if flags.unit == "1":
        raise UsageError("has no effect with --unit 1", where=where, next_step="Use --unit std")


def _one(chosen: Chosen) -> SteeredNeuron:
    return SteeredNeuron(chosen.layer, chosen.neuron, -1 if chosen.pole == "-" else 1)


def _neuron_unit(unit: str | None) -> NeuronUnit:
    if unit == "residual":
        raise UsageError("is for directions", where="--unit residual", next_step="Use std or 1")
    return "1" if unit == "1" else "std"


def _direction_unit(unit: str | None) -> DirectionUnit:
    if unit == "std":
        raise UsageError("is for neurons", where="--unit std", next_step="Use residual or 1")
    return "1" if unit == "1" else "residual"


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError as e:
        raise UsageError(f"{text[:60]!r} is not a list of numbers", where="--alpha", next_step="Such as -4,4") from e
    if not all(map(math.isfinite, found)):
        raise UsageError("amounts must be finite", where="--alpha")
    return found
