"""How much work it is to steer, before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass

from neuron_signatures.runs.files import human_seconds
from neuron_signatures.skills.steer.measure import Measure
from neuron_signatures.skills.steer.run import Prepared
from neuron_signatures.skills.steer.texts import neutral_texts

_TRIED = 8


@dataclass(frozen=True)
class Forecast:
    """Changes and texts by half, and the seconds that a change takes."""

    n_units: int
    n_find: int
    n_held_out: int
    find_texts: int
    held_out_texts: int
    neutral_texts: int
    seconds: float
    device: str

    def line(self) -> str:
        find = f"{self.n_find:,} changes on {self.find_texts} texts of find, " if self.n_find else ""
        return (
            f"forecast: {self.n_units} specific units: {find}{self.n_held_out:,} changes (controls included) on "
            f"{self.held_out_texts} held-out and {self.neutral_texts} neutral texts: about "
            f"{human_seconds(self.seconds)} on {self.device}"
        )


def forecast(prepared: Prepared) -> Forecast:
    """Measures some changes of each bank, to know their time."""
    plan, request = prepared.plan, prepared.request
    groups = plan.groups(controls=True)
    own = sum(len(g.changes) for g in plan.groups(controls=False)) if request.dose is None else 0
    neutral = neutral_texts(request.neutral, prepared.encoding, n_prompts=request.n_neutral)
    measure = Measure(prepared.model, prepared.held_out.ids, neutral, rows=request.rows)
    seconds = 0.0
    for group in groups:
        some = group.changes[:_TRIED]
        measure.responses(plan.weights[group.bank], some[:1])
        start = time.perf_counter()
        measure.responses(plan.weights[group.bank], some)
        seconds += (time.perf_counter() - start) / len(some) * len(group.changes)
    n = sum(len(g.changes) for g in groups)
    share = prepared.find.n_tokens / prepared.held_out.n_tokens
    return Forecast(
        len(plan.units), own, n, len(prepared.find.ids), len(prepared.held_out.ids), len(neutral.prompts) + 1,
        seconds * (1 + share * own / n), str(prepared.model.device),
    )  # fmt: skip
