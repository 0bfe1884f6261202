"""Which recorded neurons an analysis is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int64

from neuron_signatures.interventions.choice.neurons import Request, choose_neurons
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.layer_numbers import parse_layers
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

Pairs = Int64[np.ndarray, "_ 2"]
"""Layer and neuron, ascending."""

MANY: Final = 20_000
"""Neurons above which an analysis does not take all of them without being told to."""


@dataclass(frozen=True)
class NeuronChoice:
    """The flags: at most one of names, list and `every`; `layers` such as `0,3-5`."""

    names: str | None = None
    from_list: str | None = None
    every: bool = False
    top_k: int = 100
    layers: str | None = None


class Choice(NamedTuple):
    """The chosen neurons, all recorded neurons of the chosen layers, and what chose them."""

    chosen: Pairs
    recorded: Pairs
    by: str


def choose(run: Run, records: Records, choice: NeuronChoice) -> Choice:
    """The neurons that the flags name; without them those whose activations are stored, else all if they are few.

    Raises `UsageError` for a layer or neuron that is not recorded, and where all neurons would be too many.
    """
    layers = _recorded_layers(records, choice.layers)
    recorded = np.array([(layer, n) for layer in layers for n in range(records.d_mlp)], np.int64)
    by = _named_by(choice)
    if choice.names is not None or choice.from_list is not None:
        request = Request(names=choice.names, from_list=choice.from_list, top_k=choice.top_k)
        found = sorted((n.layer, n.neuron) for n in choose_neurons(run, request))
        other = next((at for at in found if at[0] not in layers), None)
        if other is not None:
            what = f"L{other[0]}N{other[1]} is not in a recorded layer"
            step = "Name neurons of recorded layers" + (", or change --layers" if choice.layers else "")
            raise UsageError(what, where=by, next_step=step)
        return Choice(np.array(found, np.int64), recorded, by)
    if choice.every:
        return Choice(recorded, recorded, by)
    sampled = sorted(at for at in records.sampled_neurons if at[0] in layers)
    if sampled:
        return Choice(np.array(sampled, np.int64), recorded, "the sampled neurons")
    if len(recorded) > MANY:
        what = f"{len(recorded):,} neurons are recorded and none was chosen"
        raise UsageError(what, where=str(run.path), next_step="Give --neurons, --from, --layers or --all")
    return Choice(recorded, recorded, "all recorded neurons")


def _recorded_layers(records: Records, text: str | None) -> list[int]:
    from neuron_signatures.corpus_analysis.passes import refuse_other_layers

    if text is None:
        return list(records.layers)
    layers = parse_layers(text, records.meta.n_layers)
    refuse_other_layers(records, layers)
    return layers


def _named_by(choice: NeuronChoice) -> str:
    if choice.names is not None:
        return "--neurons"
    return f"--from {choice.from_list}" if choice.from_list is not None else "--all"
