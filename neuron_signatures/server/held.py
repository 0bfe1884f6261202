"""The loaded model as the functions of `server.live` take it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.api.models import ModelFacts
from neuron_signatures.interventions.session import Session
from neuron_signatures.models.load import LoadedModel

Stop = Callable[[], bool]
"""Whether the request was given up: its client left, it timed out, or the server stops.
Asked between forward passes."""


class GivenUp(Exception):
    """Raised by work whose `Stop` returned True. Nobody waits for its result."""


@dataclass(frozen=True)
class Held:
    """A model, used by one thread. `runs_root` holds the runs that requests name; None: none."""

    model: LoadedModel
    facts: ModelFacts
    runs_root: Path | None
    max_tokens: int
    """Most tokens of a text, the model's context included."""

    @functools.cached_property
    def session(self) -> Session:
        """For edited forward passes; its bridge is made at the first use."""
        ids = self.model.tokenizer("The capital of the state", add_special_tokens=False)["input_ids"]
        return Session(self.model, tuple(ids))
