"""The work of `--mode steer`: all amounts, the controls, the side effects, and the files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuron_signatures.interventions.controls.verdicts import MAX_P
from neuron_signatures.interventions.side_effects.measure import Found as FoundElsewhere
from neuron_signatures.interventions.side_effects.measure import SideEffectSettings, side_effects_of
from neuron_signatures.interventions.steer.doses import MeasuredDose, clean_logits_of, measure
from neuron_signatures.interventions.steer.naming import identity_of, stem_of
from neuron_signatures.interventions.steer.request import SteerRequest, check_request
from neuron_signatures.interventions.steer.response import Breaks, breaks, effects_found, response
from neuron_signatures.interventions.steer.stimulus import Stimulus, stimulus
from neuron_signatures.interventions.steer.verdict import verdict
from neuron_signatures.interventions.steer.writing import Measured, write_steer
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.partial import Partial
from neuron_signatures.runs.progress import ProgressOf, silent
from neuron_signatures.runs.results import INTERVENTIONS, open_results, partial_name
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

_PARTIAL_BYTES = 1 << 26


@dataclass(frozen=True)
class SteerOutcome:
    """What was measured, and the files `stem.*` with their record (the content of `stem.json`)."""

    request: SteerRequest
    measured: Measured
    stem: str
    record: dict[str, Any]


def run_steer(run: Run, request: SteerRequest, *, progress: ProgressOf = silent) -> SteerOutcome:
    """Measure the response to every amount, and write `steer_*` into `interventions/` of the run.

    Amounts that a stopped command has finished are taken over. Raises the project's errors; the request is checked
    before anything is written.
    """
    check_request(request)
    of, stem = stimulus(run, request), stem_of(request)
    with open_results(run, INTERVENTIONS) as writer:
        partial = Partial(writer, partial_name(stem), identity_of(request))
        doses = _doses(request, of, partial, progress)
        found = _measured(run, request, of, doses, progress)
        record = write_steer(writer, stem, request, found)
        partial.remove()
    return SteerOutcome(request, found, stem, record)


def _doses(request: SteerRequest, of: Stimulus, partial: Partial, progress: ProgressOf) -> list[MeasuredDose]:
    done = _finished(partial, len(request.doses))

    def arrays() -> dict[str, np.ndarray]:
        return {f"dose_{i}": np.frombuffer(d.model_dump_json().encode(), np.uint8) for i, d in done.items()}

    with progress("amounts", len(request.doses)) as bar, partial.save_on_error(arrays):
        bar.skip(len(done))
        clean = clean_logits_of(request) if len(done) < len(request.doses) else None
        for i, alpha in enumerate(request.doses):
            if i not in done:
                assert clean is not None
                done[i] = measure(request, of, clean, alpha)
                partial.save_now(arrays())  # some kilobytes, and a dose takes seconds
                bar.advance(1)
    return [done[i] for i in sorted(done)]


def _finished(partial: Partial, n: int) -> dict[int, MeasuredDose]:
    """The doses that a stopped command has measured with the same settings, by their index."""
    try:
        stored = partial.load(max_bytes=_PARTIAL_BYTES)
        done = {
            int(name.removeprefix("dose_")): MeasuredDose.model_validate_json(a.tobytes()) for name, a in stored.items()
        }
    except UsageError:
        log.info("the finished amounts of a stopped command are not used: its settings were others")
        return {}
    except ValueError:
        log.warning("the finished amounts of a stopped command are damaged; starting again")
        return {}
    if done.keys() <= set(range(n)) and done:
        log.info("resuming with %d of %d amounts done", len(done), n)
        return done
    return {}


def _measured(
    run: Run, request: SteerRequest, of: Stimulus, doses: list[MeasuredDose], progress: ProgressOf
) -> Measured:
    alphas = [d.dose.alpha for d in doses]
    how = response(alphas, [d.value for d in doses])
    broken = breaks(alphas, [d.dose.perplexity for d in doses], [d.new_ids for d in doses], factor=request.break_factor)
    found = effects_found(alphas, [d.dose.null for d in doses])
    at = side_effects_at(alphas, broken)
    elsewhere = _elsewhere(run, request, of, at, progress)
    return Measured(
        of.what,
        of.unit,
        of.what_is_random,
        doses,
        how,
        broken,
        found,
        elsewhere and elsewhere.record,
        at if elsewhere else None,
        verdict(doses, found, how, broken, random=of.what_is_random),
        [
            *of.warnings,
            *_warnings(request, len(alphas) - 1),
            *_shifted_nulls(doses),
            *(elsewhere.warnings if elsewhere else ()),
        ],
    )


def side_effects_at(alphas: list[float], broken: Breaks) -> float:
    """The largest amount (positive, if two are as large) whose text is not broken; the largest if all are."""
    whole = [a for a in alphas if a and a not in broken.broken] or [a for a in alphas if a]
    return max(whole, key=lambda a: (abs(a), a))


def _elsewhere(
    run: Run, request: SteerRequest, of: Stimulus, alpha: float, progress: ProgressOf
) -> FoundElsewhere | None:
    c = request.controls
    if c.neutral is None:
        return None
    settings = SideEffectSettings(run.manifest.prepend_bos, c.n_sets, c.seed, c.batch)
    changed = of.elsewhere(alpha, c.n_sets, np.random.default_rng(c.seed))
    return side_effects_of(request.checked.model, changed, c.neutral, settings, progress=progress)


def _shifted_nulls(doses: list[MeasuredDose]) -> list[str]:
    """A warning if random changes of the same size move the target function one way, as any large change of a sure
    prediction does."""
    moved = [(n.mean, d.dose.alpha) for d in doses if (n := d.dose.null) and n.mean and n.std and abs(n.mean) > n.std]
    if not moved:
        return []
    mean, alpha = max(moved, key=lambda m: abs(m[0]))
    what = f"random ones of the same size change the target function by {mean:+.3g} on average at {alpha:g}"
    return [f"{what}: p compares sizes, so see the band too, outside of which a smaller change can lie"]


def _warnings(request: SteerRequest, n_amounts: int) -> list[str]:
    out = []
    if 0 in request.positions:
        out.append("position 0 has massive activations: changes there break the model for any reason")
    n = request.controls.n_random
    if n and n_amounts / (1 + n) > MAX_P:
        out.append(f"{n} controls are too few for {n_amounts} amounts: p cannot be {MAX_P:g} after Bonferroni")
    if request.checked.model.spec.dtype != "fp32":
        out.append(f"differences of forward passes in {request.checked.model.spec.dtype} are coarse; use fp32")
    return out
