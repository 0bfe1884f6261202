"""A sample of activations of bounded size (neurons x tokens), with a record of how it was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neuron_signatures.dashboard.data.neuron_stats import NeuronStats, Progress, neuron_at, no_progress, top_by_peak
from neuron_signatures.dashboard.data.run_tokens import TokenIndex
from neuron_signatures.runs.run import Run
from neuron_signatures.views.coords import NeuronAt

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Int64

MAX_NEURONS, MAX_TOKENS = 5_000, 4_000
"""80 MB of float32."""


@dataclass(frozen=True)
class SampleRecord:
    """How the sample was drawn; part of every export."""

    n_neurons: int
    """Neurons in the sample, without those left out."""
    n_neurons_of: int
    n_nonfinite: int
    """Neurons left out because a sampled value is NaN or infinite."""
    n_constant: int
    """Neurons left out because all sampled values are equal."""
    neurons_by: str
    n_tokens: int
    n_tokens_of: int
    """Included tokens of the run."""
    tokens_by: str
    bos: str
    seed: int


@dataclass(frozen=True)
class Sample:
    """Read only, because it is shared through a cache."""

    at: tuple[NeuronAt, ...]
    flat: Int64[np.ndarray, " neuron"]
    """Flat indices of the neurons."""
    peak: Float32[np.ndarray, " neuron"]
    """Over all included tokens of the run, not only the sample."""
    acts: Float32[np.ndarray, "neuron token"]
    place: Int64[np.ndarray, " token"]
    """Flat indices of the tokens."""
    code: Int32[np.ndarray, " token"]
    tokens: tuple[str, ...]
    """Raw text by `code`."""
    peak_tokens: tuple[str, ...]
    """Raw token of each neuron's largest sampled |act|; the first one wins a tie, and a maximum before a minimum."""
    record: SampleRecord


def draw_sample(
    run: Run, index: TokenIndex, stats: NeuronStats, *, max_neurons: int, max_tokens: int, seed: int,
    progress: Progress = no_progress,
) -> Sample:  # fmt: skip
    """The neurons with the largest peaks, at a random draw of tokens if there are more than `max_tokens`.

    Reads only these tokens, one at a time.
    """
    chosen, place = top_by_peak(stats, max_neurons), draw(np.flatnonzero(index.counts), max_tokens, seed)
    acts = np.empty((len(place), len(chosen)), np.float32)
    for done, flat in enumerate(place):
        if done % 16 == 0:
            progress(done, len(place))
        acts[done] = run.acts(int(index.prompt[flat]), pos=int(index.pos[flat])).reshape(-1)[chosen]
    progress(len(place), len(place))
    finite = np.isfinite(acts).all(axis=0)
    varies = np.zeros(len(chosen), bool) if not len(place) else acts.max(axis=0) > acts.min(axis=0)
    keep = finite & varies
    if not keep.all():
        acts, chosen = acts[:, keep], chosen[keep]
    acts.setflags(write=False)
    record = SampleRecord(
        n_neurons=len(chosen), n_neurons_of=len(stats.peak), n_nonfinite=int((~finite).sum()),
        n_constant=int((finite & ~varies).sum()), neurons_by=f"largest |act| over the run, from {stats.source}",
        n_tokens=len(place), n_tokens_of=index.n_counted,
        tokens_by="all included tokens" if len(place) == index.n_counted else "drawn at random without replacement",
        bos="included" if index.include_bos else "excluded", seed=seed,
    )  # fmt: skip
    at = tuple(neuron_at(run, i) for i in chosen)
    texts = tuple(kind.token for kind in index.kinds)
    here = [index.token(flat) for flat in place]
    peak_tokens = tuple(_peak_token(column, here) for column in acts.T)
    return Sample(at, chosen, stats.peak[chosen], acts.T, place, index.code[place], texts, peak_tokens, record)


def draw(items: Int64[np.ndarray, " item"], at_most: int, seed: int) -> Int64[np.ndarray, " drawn"]:
    """All of the ascending `items`, or `at_most` drawn at random without replacement, ascending."""
    if len(items) <= at_most:
        return items
    return np.sort(np.random.default_rng(seed).choice(items, at_most, replace=False))


def _peak_token(acts: Float32[np.ndarray, " token"], texts: list[str]) -> str:
    high, low = int(acts.argmax()), int(acts.argmin())
    return texts[high if acts[high] >= -acts[low] else low]
