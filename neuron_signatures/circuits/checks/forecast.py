"""What tests and ablations take: forward passes of one copy of a prompt, and the time of one."""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple

import torch

from neuron_signatures.analysis.attribution.estimators.ablation import joint_ablation
from neuron_signatures.circuits.case import PreparedCase
from neuron_signatures.circuits.checks.copies import copies_within
from neuron_signatures.circuits.checks.curves import n_sets
from neuron_signatures.circuits.checks.settings import CheckSettings
from neuron_signatures.runs.files import counted, human_seconds

_COPIES: Final = 16


class CheckForecast(NamedTuple):
    """Passes of the tests of `n_circuits`, and of the ablations of `--measure` in each circuit that is traced. Groups
    are known after the trace only: theirs are per group."""

    n_circuits: int
    passes: int
    """Of all circuits: sets, swaps of all neurons of a circuit, and the common neurons in each prompt."""
    group_passes: int
    """On top, for each group of each circuit."""
    measure_passes: int
    """Of all circuits, at most."""
    pass_seconds: float

    def lines(self) -> list[str]:
        found = []
        if self.n_circuits:
            groups = f", and {self._text(self.group_passes)} for each group" if self.group_passes else ""
            found.append(f"tests of {counted(self.n_circuits, 'circuit')}: {self._text(self.passes)}{groups}")
        if self.measure_passes:
            found.append(f"ablations: at most {self._text(self.measure_passes)}")
        return found

    def fields(self) -> dict[str, Any]:
        return self._asdict()

    def _text(self, passes: int) -> str:
        return f"{passes:,} forward passes (about {human_seconds(passes * self.pass_seconds)})"


def forecast_checks(
    case: PreparedCase, settings: CheckSettings | None, *, n_cases: int, n_tested: int, n_traced: int, measure: int,
    max_memory: int,
) -> CheckForecast | None:  # fmt: skip
    """For `n_tested` of `n_cases` that are like this case, and `n_traced` with `measure` ablations; None if there is
    nothing to be run. Runs a few passes."""
    passes = group = 0
    if settings is not None and n_tested:
        others = min(settings.n_others, n_cases - 1)
        group = others * (2 + settings.swaps.n_random)
        sizes = [k for k in settings.curves.sizes if k <= case.references.numel()]
        passes = n_tested * (n_sets(sizes, settings.curves, with_circuit=True) + group)
        if n_cases > 1:
            passes += n_cases * n_sets((), settings.curves, with_circuit=True)
    ablations = 2 * measure * n_traced  # the strongest neurons, and the sources of the strongest edges
    if not passes + ablations:
        return None
    return CheckForecast(n_tested if passes else 0, passes, group, ablations, _pass_seconds(case, max_memory))


def _pass_seconds(case: PreparedCase, max_memory: int) -> float:
    """Of one copy in a pass of several."""
    n = min(_COPIES, copies_within(case.model.hf, len(case.problem.token_ids), max_memory))
    sets = torch.rand((1 + n, *case.references.shape), generator=torch.Generator().manual_seed(0)) < 0.5
    taken = []
    for some in (sets[:1], sets[:1], sets):  # the first is a warm-up
        start = time.perf_counter()
        for _ in joint_ablation(
            case.problem, some, reference=case.references, layers=range(len(case.references)), batch=len(some)
        ):
            pass
        taken.append(time.perf_counter() - start)
    return max(0.0, taken[2] - taken[1]) / n
