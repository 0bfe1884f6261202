"""Statistics of one layer over all prompts, per neuron. Arrays only.

A neuron has no peak in a prompt where none of its values is finite. For a neuron without any peak, floats are NaN,
counts 0, and codes and positions -1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Integer

from neuron_signatures.analysis.peaks.prompt_stats import first_position, prompt_stats
from neuron_signatures.analysis.tokens.codes import modes, small_int
from neuron_signatures.stats.moments import EMPTY, moments


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

    def finish(self) -> dict[str, np.ndarray]:
        """The columns of docs/poc2.md, with codes instead of token ids and texts.

        `max_act_*` and `min_act_*` have the index of the token among all counted tokens of the run.
        """
        has_peak = self._peak >= 0
        n_peaks = has_peak.sum(axis=0, dtype=np.int32)
        none = n_peaks == 0
        some, n_finite = (np.where(none, np.nan, n) for n in (n_peaks, self._n_tokens - self._nonfinite))
        mean, std = moments(self._peak, where=None if has_peak.all() else has_peak).mean_std()
        act_mean, act_std = self._moments.mean_std()
        code, pos = modes(self._code), modes(self._pos)
        return {
            "mean_peak_abs": mean,
            "std_peak_abs": std,
            "max_peak_abs": np.where(none, np.nan, self._peak.max(axis=0).astype(np.float64)),
            "min_peak_abs": np.where(
                none, np.nan, self._peak.min(axis=0, where=has_peak, initial=np.inf).astype(np.float64)
            ),
            "frac_peak_functional": self._functional.take(self._code).sum(axis=0) / some,
            "mode_peak_token_id": code.value,
            "mode_peak_token": code.value,
            "mode_peak_token_count": code.times,
            "n_unique_peak_token_id": code.n_distinct,
            "mode_peak_ctx_idx": pos.value,
            "mode_peak_ctx_count": pos.times,
            "n_unique_peak_ctx_idx": pos.n_distinct,
            **_extreme("max_act", self._poles[0], self._pole_token[0]),
            **_extreme("min_act", -self._poles[1], self._pole_token[1]),
            "mean_act": act_mean,
            "std_act": act_std,
            "frac_act_above": self._above / n_finite,
            "mean_peak_abs_over_layer_median": _over_median(mean),
            "n_peaks": n_peaks,
            "n_nonfinite": self._nonfinite,
        }

    def _update_poles(self, poles: Float32[np.ndarray, "2 neuron"], acts: Float32[np.ndarray, "pos neuron"]) -> None:
        """Update the largest act and -act. Positions are computed only for the few neurons with a new extreme."""
        larger = np.flatnonzero(poles > self._poles)
        pole, neuron = np.divmod(larger, poles.shape[1])
        signed = acts.take(neuron, axis=1) * (1 - 2 * pole).astype(np.float32)
        best = poles.ravel()[larger]
        self._poles.ravel()[larger] = best
        self._pole_token.ravel()[larger] = first_position(signed == best) + self._n_tokens


def _extreme(
    name: str, value: Float32[np.ndarray, " neuron"], token: Int32[np.ndarray, " neuron"]
) -> dict[str, np.ndarray]:
    """The largest or smallest activation, and the first token with it."""
    columns = dict.fromkeys((f"{name}_{what}" for what in ("prompt", "pos", "token_id", "token")), token)
    return {name: np.where(token < 0, np.nan, value.astype(np.float64)), **columns}


def _over_median(mean_peak: Float64[np.ndarray, " neuron"]) -> Float64[np.ndarray, " neuron"]:
    """Mean peaks of a layer divided by their median; NaN if the median is 0 or undefined."""
    known = mean_peak[~np.isnan(mean_peak)]
    median = float(np.median(known)) if len(known) else 0.0
    return mean_peak / median if median > 0 else np.full(len(mean_peak), np.nan)
