"""How much work a dose-response is, before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.interventions.steer.request import SteerRequest, check_request
from neuron_signatures.runs.files import human_seconds

_MEASURED_COPIES = 16


@torch.no_grad()
def steer_forecast(request: SteerRequest) -> str:
    """One line: forward passes by kind, and at most how long they take here. Raises `UsageError` as `run_steer`.

    Runs the prompt a few times through the bridge, generates two tokens, and runs some copies.
    """
    check_request(request)
    r, ids = request, list(request.checked.prompt.token_ids)
    n_doses, new = len(r.doses), r.generation.max_new_tokens
    problem = Problem(r.checked.model.hf, ids, r.resolved.target, r.positions)
    suffix = problem.suffix(first=min(r.positions))
    r.session.logits(ids)  # makes the bridge
    whole = _seconds(lambda: r.session.logits(ids))
    token = _seconds(lambda: r.session.generate(ids, max_new_tokens=3)) / 3 if new else 0.0
    copy = _seconds(lambda: problem.value(suffix.run(_MEASURED_COPIES))) / _MEASURED_COPIES
    copies = (n_doses - 1) * r.controls.n_random
    neutral = r.controls.neutral
    prompts = len(neutral.prompts) if neutral else 0
    seconds = n_doses * (whole + new * token) + copies * copy + prompts * (2 * whole + (r.controls.n_sets + 1) * copy)
    return (
        f"forecast: {n_doses} amounts: {n_doses} forward passes of {len(ids)} tokens, {n_doses * new:,} new tokens, "
        f"at most {copies:,} copies with random changes, {prompts} neutral prompts; at most about "
        f"{human_seconds(seconds)} on {r.checked.model.device}"
    )


def _seconds(run: Callable[[], object]) -> float:
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
