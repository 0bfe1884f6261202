"""Each neuron of an effect changed alone, with random neurons of its layer as the control."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neuron_signatures.interventions.choice.neurons import Chosen
from neuron_signatures.interventions.controls.measure import ControlledSet, Settings, random_null
from neuron_signatures.interventions.controls.random_sets import delta_norms, deltas
from neuron_signatures.interventions.copies import FIELDS, Copies
from neuron_signatures.interventions.kept import Kept
from neuron_signatures.runs.intervention_records import Null
from neuron_signatures.runs.progress import Bar

if TYPE_CHECKING:
    from neuron_signatures.interventions.effect.run import Planned


class Single(NamedTuple):
    """One neuron. `act` and `value` are those of its cell with the largest delta, `delta_norm` is over all its cells.

    Effects are edited minus clean, of the same pass. `value_effect` is that of the target function. `null` is None
    where no controls were measured.
    """

    neuron: Chosen
    n_cells: int
    act: float
    value: float
    delta_norm: float
    value_effect: float
    difference: float
    logprob: float
    probability: float
    rank_before: int
    rank_after: int
    kl: float
    null: Null | None


def measure_singles(
    planned: Planned, copies: Copies, norms: Float[Tensor, "layer neuron"], settings: Settings, kept: Kept, bar: Bar,
    *, most_tested: int,
) -> list[Single]:  # fmt: skip
    """All neurons that have a cell, in the order of the list; the first `most_tested` with a sequential null."""
    cells, acts = planned.cells, planned.acts
    own = sorted(set(cells.of_neuron))
    rows: list[list[float | None]] = kept.rows("singles")  # the clean values, then the edited ones
    bar.skip(len(rows))
    for clean, edited in copies.run(cells.single(i, acts) for i in islice(own, len(rows), None)):
        before = [float(getattr(clean, f)[0]) for f in FIELDS]
        columns = [getattr(edited, f).double().tolist() for f in FIELDS]
        rows += [[*_plain(before), *_plain(after)] for after in zip(*columns, strict=True)]
        kept.changed()
        bar.advance(len(edited))
    found = []
    for n, (i, row) in enumerate(zip(own, rows, strict=True)):
        single = _single(planned, i, row, norms)
        if n < most_tested and single.delta_norm > 0:
            one = ControlledSet(f"single {i}", cells.single(i, acts), acts, norms)
            known = random_null(one, copies, single.value_effect, settings, kept, bar, sequential=True)
            single = single._replace(null=known)
        found.append(single)
    return found


def _plain(values: list[float] | tuple[float, ...]) -> list[float | None]:
    return [None if v != v else v for v in values]


def _single(planned: Planned, i: int, row: list[float | None], norms: Float[Tensor, "layer neuron"]) -> Single:
    changes = planned.cells.single(i, planned.acts)
    delta = deltas(changes, planned.acts)
    largest = int(delta.abs().argmax())
    halves = (row[: len(FIELDS)], row[len(FIELDS) :])
    before, after = ({f: x for f, x in zip(FIELDS, half, strict=True) if x is not None} for half in halves)
    sizes = delta_norms(changes, planned.acts, norms)
    return Single(
        neuron=planned.chosen[i],
        n_cells=len(changes),
        act=float(changes.at(planned.acts)[largest]),
        value=float(changes.new_values(planned.acts)[largest]),
        delta_norm=float(torch.linalg.vector_norm(sizes)),
        value_effect=after["value"] - before["value"],
        difference=after["difference"] - before["difference"],
        logprob=after["logprob"] - before["logprob"],
        probability=after["probability"] - before["probability"],
        rank_before=int(before["rank"]),
        rank_after=int(after["rank"]),
        kl=after["kl"],
        null=None,
    )
