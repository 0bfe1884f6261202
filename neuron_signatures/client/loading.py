"""Waiting for a model that the server loads."""

from __future__ import annotations

import time
from collections.abc import Callable

from neuron_signatures.api.models import Health, ModelState
from neuron_signatures.client.problem import ServerProblem, no_answer
from neuron_signatures.runs.files import human_seconds

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
_LOST_IN_A_ROW = 5


def wait_for_model(
    url: str, health: Callable[[], Health], model_name: str, state: ModelState, seconds: float
) -> ModelState:
    """The state when the model is ready. `state` is what the server said first.

    Raises `ServerProblem`: "load_failed", "no_model" if somebody else loads another model, "no_answer" if it takes
    longer, and what `health` raises if the server stops answering.
    """
    end, wait, lost = time.monotonic() + seconds, _FIRST_WAIT, 0
    while not (state.state == "ready" and state.model_name == model_name):
        if state.state == "failed" and state.model_name == model_name:
            raise ServerProblem("load_failed", state.failure or f"{model_name} could not be loaded", status=200)
        if state.state != "loading":
            what = f"the server has {state.model_name or 'no model'} now, not {model_name}: another client changed it"
            raise ServerProblem("no_model", what, status=200, next_step="Load the model again")
        if time.monotonic() + wait > end:
            raise no_answer(url, f"{model_name} is still being loaded after {human_seconds(seconds)}")
        time.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT)
        try:
            state, lost = health().model, 0
        except ServerProblem as e:
            lost += 1
            if e.type not in ("no_server", "no_answer") or lost == _LOST_IN_A_ROW:
                raise
    return state
