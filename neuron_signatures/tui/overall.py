"""Activations of one neuron over all prompts: statistics, and the values on each prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import NamedTuple, TypeVar

import numpy as np

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.run import Run
from neuron_signatures.stats.moments import EMPTY, Moments
from neuron_signatures.tui.faults import fault_text, short_fault
from neuron_signatures.views.acts import OnPrompt, on_prompt, over_prompts, stats_of
from neuron_signatures.views.coords import NeuronAt

T = TypeVar("T")


class Extreme(NamedTuple):
    """A maximum or minimum and where it is."""

    value: float
    prompt: int
    pos: int


class Overall(NamedTuple):
    """Statistics of one neuron over all prompts; None if no value is included."""

    n_prompts: int = 0
    n: int = 0
    n_nonfinite: int = 0
    max: Extreme | None = None
    min: Extreme | None = None
    mean: float | None = None
    std: float | None = None
    fault: str = ""
    """Why the statistics cannot be computed: one prompt that cannot be read is enough."""


def overall_of(prompts: Iterator[OnPrompt]) -> Overall:
    """Statistics over all included tokens; of equal extremes, the one on the first prompt."""
    n_nonfinite = n_prompts = 0
    high: Extreme | None = None
    low: Extreme | None = None
    total = EMPTY
    for p in prompts:
        s = p.stats
        n_prompts, n_nonfinite = n_prompts + 1, n_nonfinite + s.n_nonfinite
        if s.mean is None or s.std is None:
            continue
        assert s.max is not None and s.max_pos is not None and s.min is not None and s.min_pos is not None
        if high is None or s.max > high.value:
            high = Extreme(s.max, p.prompt_index, s.max_pos)
        if low is None or s.min < low.value:
            low = Extreme(s.min, p.prompt_index, s.min_pos)
        total = total.merge(Moments(s.n, s.mean, s.n * s.std**2))
    if high is None:
        return Overall(n_prompts, 0, n_nonfinite)
    mean, std = total.mean_std()
    return Overall(n_prompts, int(total.n), n_nonfinite, high, low, float(mean), float(std))


def overall_or_fault(prompts: Iterator[OnPrompt]) -> Overall:
    """`overall_of`, or the fault if a prompt cannot be read."""
    try:
        return overall_of(prompts)
    except (ProjectError, OSError) as e:
        return Overall(fault=short_fault(e))


def read_overall(run: Run, at: NeuronAt, *, include_bos: bool, stop: Callable[[], bool]) -> Overall | None:
    """`overall_or_fault` of all prompts, read with separate file handles; None if `stop` was set."""
    with run.another_reader() as reader:
        overall = overall_or_fault(until(over_prompts(reader, at, include_bos=include_bos), stop))
    return None if stop() else overall


def each_prompt(run: Run, at: NeuronAt, *, include_bos: bool) -> Iterator[OnPrompt]:
    """`over_prompts`, but a prompt that cannot be read is included with its fault and NaN values."""
    for index, prompt in enumerate(run.prompts):
        try:
            yield on_prompt(run, at, index, include_bos=include_bos)
        except (ProjectError, OSError) as e:
            missing = np.full(prompt.seq_len, np.nan, np.float32)
            nothing = stats_of(missing, np.zeros(prompt.seq_len, bool))
            yield OnPrompt(index, prompt, missing, nothing, short_fault(e), fault_text(e))


def until(items: Iterator[T], stop: Callable[[], bool]) -> Iterator[T]:
    """The items up to the first at which `stop` is set."""
    return takewhile(lambda _: not stop(), items)
