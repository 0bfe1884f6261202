"""How many edited copies a command needs, and how long they take, before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from neuron_signatures.analysis.attribution.forecast import seconds_of_copy
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.runs.files import human_seconds


@dataclass(frozen=True)
class Forecast:
    """The fewest and most edited copies of a prompt, and the seconds that one takes in a batch of `batch`."""

    fewest: int
    most: int
    batch: int
    seconds_per_copy: float
    n_tokens: int
    device: str
    besides: str = ""
    """What else runs, in words."""

    def line(self) -> str:
        low, high = (human_seconds(n * self.seconds_per_copy) for n in (self.fewest, self.most))
        copies = f"{self.fewest:,}" if self.fewest == self.most else f"{self.fewest:,} to at most {self.most:,}"
        passes = math.ceil(self.most / self.batch)
        took = low if low == high else f"{low} to at most {high}"
        more = f"; besides {self.besides}" if self.besides else ""
        return (
            f"forecast: {copies} edited copies of up to {self.n_tokens} tokens, at most {passes:,} forward passes of "
            f"{self.batch}: {took} on {self.device}{more}"
        )


@torch.no_grad()
def forecast(problem: Problem, *, fewest: int, most: int, batch: int, besides: str = "") -> Forecast:
    """The forecast for copies that are edited at the problem's positions; runs the prompt to measure its time."""
    device = str(problem.hf.get_input_embeddings().weight.device)
    seconds = seconds_of_copy(problem, batch)
    return Forecast(fewest, most, batch, seconds, problem.target.pos + 1, device, besides)
