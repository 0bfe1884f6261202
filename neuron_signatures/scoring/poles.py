"""Which poles of which neurons are explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from neuron_signatures.interventions.choice.neurons import Chosen, Request, choose_neurons
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.run import Run

Poles = Literal["both", "+", "-"]
_SOME = 5


@dataclass(frozen=True)
class NeuronRequest:
    """`named`: the neurons of the flags; None: all whose activations are stored. A name with a sign is that pole only,
    others are of `poles`."""

    named: Request | None = None
    poles: Poles = "both"


def choose_poles(run: Run, records: Records, request: NeuronRequest) -> list[NeuronPole]:
    """By the order of the request, `+` first.

    Raises `UsageError` for unknown neurons, for a neuron whose activations are not stored, and if none are.
    """
    stored = records.sampled_neurons
    if not stored:
        what, next_step = "the records have no sample of chosen neurons", "Make it with poc4_extract_records --neurons"
        raise UsageError(what, where=str(run.path), next_step=next_step)
    if request.named is None:
        chosen: Sequence[Chosen] = [Chosen(*neuron) for neuron in stored]
    elif request.named.every:
        chosen = [Chosen(layer, i) for layer in records.layers for i in range(records.d_mlp)]
    else:
        chosen = choose_neurons(run, request.named)
    _refuse_not_stored(chosen, set(stored), run)
    return [
        NeuronPole(c.layer, c.neuron, pole) for c in chosen for pole in POLES if pole in _poles_of(c, request.poles)
    ]


def neighbours_in_list(poles: Sequence[NeuronPole], request: NeuronRequest) -> dict[NeuronPole, tuple[NeuronPole, ...]]:
    """The same pole of the neurons before and after each one in the ranked list; empty if they are from no list."""
    if request.named is None or request.named.from_list is None:
        return {}
    found: dict[NeuronPole, tuple[NeuronPole, ...]] = {}
    for pole in POLES:
        same = [at for at in poles if at.pole == pole]
        found |= {at: (*same[max(0, i - 1) : i], *same[i + 1 : i + 2]) for i, at in enumerate(same)}
    return found


def _poles_of(chosen: Chosen, poles: Poles) -> str:
    return chosen.pole or ("+-" if poles == "both" else poles)


def _refuse_not_stored(chosen: Sequence[Chosen], stored: set[tuple[int, int]], run: Run) -> None:
    missing = [c for c in chosen if c[:2] not in stored]
    if not missing:
        return
    some = ", ".join(f"L{c.layer}N{c.neuron}" for c in missing[:_SOME])
    more = f" and {len(missing) - _SOME:,} others" if len(missing) > _SOME else ""
    names = ",".join(f"L{c.layer}N{c.neuron}" for c in missing[:_SOME])
    raise UsageError(
        f"the activations of {some}{more} are not stored", where=str(run.path),
        next_step=f"Store them: poc4_extract_records --run_dir {run.path} --neurons {names}, or leave them out",
    )  # fmt: skip
