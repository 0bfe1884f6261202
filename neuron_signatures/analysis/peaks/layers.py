"""Statistics of one layer over all prompts, per neuron. Arrays only.

A neuron has no peak in a prompt where none of its values is finite. For a neuron without any peak, floats are NaN,
counts 0, and codes and positions -1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Integer

from neuron_signatures.analysis.peaks.prompt_stats import first_position, prompt_stats
from neuron_signatures.analysis.tokens.codes import Modes, modes, small_int
from neuron_signatures.stats.moments import EMPTY, moments


class Extreme(NamedTuple):
    """The largest or smallest activation, and the index of its token among all counted tokens (-1: none).

    Ties go to the first prompt and position.
    """

    value: Float32[np.ndarray, " neuron"]
    token: Int32[np.ndarray, " neuron"]


class LayerPeaks(NamedTuple):
    """Statistics per neuron. `frac_functional` is a share of the peaks, `frac_above` a share of the tokens; `norm` is
    the result of `normalised`."""

    mean: Float64[np.ndarray, " neuron"]
    std: Float64[np.ndarray, " neuron"]
    max: Float64[np.ndarray, " neuron"]
    min: Float64[np.ndarray, " neuron"]
    frac_functional: Float64[np.ndarray, " neuron"]
    code: Modes
    pos: Modes
    act_max: Extreme
    act_min: Extreme
    act_mean: Float64[np.ndarray, " neuron"]
    act_std: Float64[np.ndarray, " neuron"]
    frac_above: Float64[np.ndarray, " neuron"]
    norm: Float64[np.ndarray, " neuron"]
    n_peaks: Int32[np.ndarray, " neuron"]
    n_nonfinite: Int32[np.ndarray, " neuron"]


class LayerAccumulator:
    """Accumulates one layer's prompts, in order; stores three numbers (at most 12 bytes) per prompt and neuron.

    `functional` says for each code whether its token is functional.
    """

    def __init__(
        self,
        n_prompts: int,
        n_neurons: int,
        *,
        threshold: float,
        functional: Bool[np.ndarray, " code"],
        largest_pos: int,
    ) -> None:
        self._threshold = threshold
        self._functional = np.append(functional, False)  # the last entry is for the code -1
        self._peak = np.full((n_prompts, n_neurons), -1, np.float32)
        self._pos = np.full((n_prompts, n_neurons), -1, small_int(largest_pos))
        self._code = np.full((n_prompts, n_neurons), -1, small_int(len(functional)))
        self._above, self._nonfinite = np.zeros(n_neurons, np.int32), np.zeros(n_neurons, np.int32)
        self._shift: Float32[np.ndarray, " neuron"] = np.zeros(n_neurons, np.float32)
        self._moments = EMPTY
        self._poles = np.full((2, n_neurons), -np.inf, np.float32)
        self._pole_token = np.full((2, n_neurons), -1, np.int32)
        self._n_prompts = self._n_tokens = 0

    def add(self, acts: Float32[np.ndarray, "pos neuron"], *, start: int, codes: Integer[np.ndarray, " pos"]) -> int:
        """Add the counted positions of the next prompt, which begin at `start`; `codes` are their tokens.

        Returns the number of values that are not finite.
        """
        prompt, self._n_prompts = self._n_prompts, self._n_prompts + 1
        if prompt == 0:
            self._shift = np.nan_to_num(acts.mean(axis=0), nan=0, posinf=0, neginf=0)
        s = prompt_stats(acts, self._shift, threshold=self._threshold)
        self._peak[prompt], self._pos[prompt], self._code[prompt] = s.peak, s.pos + start, codes.take(s.pos)
        nonfinite = 0
        if isinstance(s.n_finite, np.ndarray):
            self._pos[prompt, s.n_finite == 0] = self._code[prompt, s.n_finite == 0] = -1
            self._nonfinite += len(acts) - s.n_finite
            nonfinite = int((len(acts) - s.n_finite).sum())
        self._above += s.n_above
        self._moments = self._moments.merge(s.moments)
        self._update_poles(s.poles, acts)
        self._n_tokens += len(acts)
        return nonfinite

    def finish(self) -> LayerPeaks:
        has_peak = self._peak >= 0
        n_peaks = has_peak.sum(axis=0, dtype=np.int32)
        none = n_peaks == 0
        some, n_finite = (np.where(none, np.nan, n) for n in (n_peaks, self._n_tokens - self._nonfinite))
        mean, std = moments(self._peak, where=None if has_peak.all() else has_peak).mean_std()
        act_mean, act_std = self._moments.mean_std()
        return LayerPeaks(
            mean=mean,
            std=std,
            max=np.where(none, np.nan, self._peak.max(axis=0).astype(np.float64)),
            min=np.where(none, np.nan, self._peak.min(axis=0, where=has_peak, initial=np.inf).astype(np.float64)),
            frac_functional=self._functional.take(self._code).sum(axis=0) / some,
            code=modes(self._code),
            pos=modes(self._pos),
            act_max=Extreme(self._poles[0], self._pole_token[0]),
            act_min=Extreme(-self._poles[1], self._pole_token[1]),
            act_mean=act_mean,
            act_std=act_std,
            frac_above=self._above / n_finite,
            norm=normalised(mean),
            n_peaks=n_peaks,
            n_nonfinite=self._nonfinite,
        )

    def _update_poles(self, poles: Float32[np.ndarray, "2 neuron"], acts: Float32[np.ndarray, "pos neuron"]) -> None:
        """Update the largest act and -act. Positions are computed only for the few neurons with a new extreme."""
        larger = np.flatnonzero(poles > self._poles)
        pole, neuron = np.divmod(larger, poles.shape[1])
        signed = acts.take(neuron, axis=1) * (1 - 2 * pole).astype(np.float32)
        best = poles.ravel()[larger]
        self._poles.ravel()[larger] = best
        self._pole_token.ravel()[larger] = first_position(signed == best) + self._n_tokens


def normalised(mean_peak: Float64[np.ndarray, " neuron"]) -> Float64[np.ndarray, " neuron"]:
    """Mean peaks of a layer divided by their median; NaN if the median is 0 or undefined."""
    known = mean_peak[~np.isnan(mean_peak)]
    median = float(np.median(known)) if len(known) else 0.0
    return mean_peak / median if median > 0 else np.full(len(mean_peak), np.nan)
