"""Activations of one neuron over all prompts: statistics, and the values on each prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.faults import fault_text, short_fault
from neuron_signatures.views.acts import OnPrompt, counted, on_prompt, over_prompts, stats_of
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.scale import NEURON_PERCENTILE, Limit, Spread, limit_of, relative, spread_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

T = TypeVar("T")
N_STRONGEST = 12
"""Number of prompts that are kept for a neuron."""
_CONTEXT = 100
"""Number of tokens kept on either side of a peak: a prompt may have a hundred thousand."""


_NO_LIMIT = Limit(0.0, NEURON_PERCENTILE, 0)


class Extreme(NamedTuple):
    """A maximum or minimum and where it is."""

    value: float
    prompt: int
    pos: int


class Passage(NamedTuple):
    """A prompt with a large |act| of a neuron: its peak, and the values around it."""

    prompt: int
    pos: int
    """Position of the largest |act|."""
    act: float
    first: int
    """Position of the first of the values."""
    values: Float32[np.ndarray, " pos"]
    counts: Bool[np.ndarray, " pos"]
    """Mask of the included positions."""


class Overall(NamedTuple):
    """Statistics of one neuron over all prompts; None if no value is included."""

    n_prompts: int = 0
    n: int = 0
    n_nonfinite: int = 0
    max: Extreme | None = None
    min: Extreme | None = None
    spread: Spread | None = None
    limit: Limit = _NO_LIMIT
    """Full scale of the activations."""
    relative_limit: Limit = _NO_LIMIT
    """Full scale of (act - mean) / std."""
    strongest: tuple[Passage, ...] = ()
    """The prompts with the largest |act|, largest first."""
    fault: str = ""
    """Why the statistics cannot be computed: one prompt that cannot be read is enough."""


def overall_of(run: Run, prompts: Iterable[OnPrompt], *, include_bos: bool) -> Overall:
    """Statistics over all included tokens; of equal extremes, the one on the first prompt."""
    n_nonfinite = n_prompts = 0
    high: Extreme | None = None
    low: Extreme | None = None
    included: list[np.ndarray] = []
    peaks: list[tuple[float, int, Passage]] = []
    for p in prompts:
        s, mask = p.stats, counted(run, p.prompt, include_bos=include_bos)
        n_prompts, n_nonfinite = n_prompts + 1, n_nonfinite + s.n_nonfinite
        if s.max is None or s.max_pos is None or s.min is None or s.min_pos is None:
            continue
        if high is None or s.max > high.value:
            high = Extreme(s.max, p.prompt_index, s.max_pos)
        if low is None or s.min < low.value:
            low = Extreme(s.min, p.prompt_index, s.min_pos)
        included.append(p.values[mask])
        size = max(s.max, -s.min)
        if len(peaks) < N_STRONGEST or size > -peaks[-1][0]:
            peaks = sorted([*peaks, (-size, p.prompt_index, passage(p, mask))], key=lambda x: x[:2])[:N_STRONGEST]
    if not included:
        return Overall(n_prompts, 0, n_nonfinite)
    values = np.concatenate(included)
    spread = spread_of(values)
    assert spread is not None
    limit, relative_limit = (limit_of(v, NEURON_PERCENTILE) for v in (values, relative(values, spread)))
    strongest = tuple(p for *_, p in peaks)
    return Overall(n_prompts, spread.n, n_nonfinite, high, low, spread, limit, relative_limit, strongest)


def passage(p: OnPrompt, mask: np.ndarray) -> Passage:
    """The values around the largest |act| of the prompt."""
    pos = p.stats.peak_pos or 0
    shown = slice(max(0, pos - _CONTEXT), pos + _CONTEXT + 1)
    return Passage(p.prompt_index, pos, float(p.values[pos]), shown.start, p.values[shown].copy(), mask[shown].copy())


def overall_or_fault(run: Run, prompts: Iterable[OnPrompt], *, include_bos: bool) -> Overall:
    """`overall_of`, or the fault if a prompt cannot be read."""
    try:
        return overall_of(run, prompts, include_bos=include_bos)
    except (ProjectError, OSError) as e:
        return Overall(fault=short_fault(e))


def read_overall(run: Run, at: NeuronAt, *, include_bos: bool, stop: Callable[[], bool]) -> Overall | None:
    """`overall_or_fault` of all prompts, read with separate file handles; None if `stop` was set."""
    with run.another_reader() as reader:
        prompts = until(over_prompts(reader, at, include_bos=include_bos), stop)
        overall = overall_or_fault(reader, prompts, include_bos=include_bos)
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
