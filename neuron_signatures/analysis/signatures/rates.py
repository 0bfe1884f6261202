"""How often a token is expected at a pole's peaks if only their positions mattered, and the p-values from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Integer

from neuron_signatures.analysis.signatures.labels import Labels
from neuron_signatures.analysis.signatures.metrics import TokenMetrics
from neuron_signatures.analysis.signatures.nulls import aligned_to
from neuron_signatures.stats.chance import binomial_tail

_CELLS = 1 << 22  # neurons times keys at once


class PositionRates:
    """For each counted token of the run, the keys at its position in the prompts that `of_other_prompts` draws from."""

    def __init__(self, labels: Labels, donors: Sequence[Integer[np.ndarray, " _"]]) -> None:
        self._n_keys = len(labels.names)
        lengths = [len(p.key) for p in labels.prompts]
        self._first_row = np.cumsum([0, *lengths[:-1]]).astype(np.int64)[:, None]
        self._keys = np.full((sum(lengths), max((len(d) for d in donors), default=0)), -1, np.int32)
        self._weight = np.zeros(sum(lengths))
        for row, length, choices in zip(self._first_row[:, 0], lengths, donors, strict=True):
            for d, other in enumerate(choices):
                self._keys[row : row + length, d] = labels.prompts[other].key[aligned_to(length, lengths[other])]
            self._weight[row : row + length] = 1 / max(len(choices), 1)

    def mode_p(
        self,
        pos: Int32[np.ndarray, "prompt neuron"],
        counted: Bool[np.ndarray, "prompt neuron"],
        times: Int32[np.ndarray, "labels neuron"],
        tested: Bool[np.ndarray, "labels neuron"],
    ) -> Float64[np.ndarray, "labels neuron"]:
        """Upper bound of the chance that any key has `times` or more of the peaks counted; NaN where not `tested`.

        The peaks keep their positions, and each prompt has the labels of one of its donors. The number of peaks on a
        key is a sum of independent trials, whose tail is taken to be the binomial one with their mean rate; the tails
        of all keys are added, because the mode is the largest count. `times` has a row for each set of labels.
        """
        out = np.full(times.shape, np.nan)
        neurons = np.flatnonzero(tested.any(axis=0)) if self._keys.shape[1] else np.empty(0, np.intp)
        width = max(1, _CELLS // max(self._n_keys, 1))
        for start in range(0, len(neurons), width):
            part = neurons[start : start + width]
            n = counted[:, part].sum(axis=0)
            of, key = np.nonzero(rates := self._rates(pos[:, part], counted[:, part], n))
            for row in range(len(times)):
                use = tested[row, part][of]
                who = of[use]
                tail = binomial_tail(times[row, part][who], n[who], rates[who, key[use]])
                p = np.minimum(np.bincount(who, tail, minlength=len(part)), 1)
                out[row, part] = np.where(tested[row, part], p, np.nan)
        return out

    def _rates(
        self, pos: Int32[np.ndarray, "prompt neuron"], counted: Bool[np.ndarray, "prompt neuron"], n: np.ndarray
    ) -> Float64[np.ndarray, "neuron key"]:
        """Mean over the peaks counted of the share of donors with each key at the peak's position."""
        neuron = np.nonzero(counted)[1]
        row = (self._first_row + pos)[counted]
        keys = self._keys[row]
        cell = neuron[:, None] * self._n_keys + keys
        weight = np.broadcast_to((self._weight[row] / n[neuron])[:, None], keys.shape)
        there = keys >= 0
        total = np.bincount(cell[there], weight[there], minlength=len(n) * self._n_keys)
        return np.minimum(total, 1).reshape(len(n), self._n_keys)


class TargetRates:
    """For each functional key, how often each key is its target in the run; the same text counts once."""

    def __init__(self, labels: Labels, texts: Sequence[Int32[np.ndarray, " _"]]) -> None:
        counts: dict[int, Counter[int]] = {}
        seen: set[int] = set()
        for p, codes in zip(labels.prompts, texts, strict=True):
            for i in np.flatnonzero(p.functional):
                if int(codes[i]) not in seen:
                    seen.add(int(codes[i]))
                    counts.setdefault(int(p.key[i]), Counter())[int(p.target[i])] += 1
        self._shares = {
            key: np.array([n for target, n in c.items() if target >= 0]) / c.total() for key, c in counts.items()
        }

    def target_p(self, t: TokenMetrics, which: Bool[np.ndarray, " neuron"]) -> Float64[np.ndarray, " neuron"]:
        """Upper bound of the chance that any target is as frequent as the pole's, if it were active at any occurrence
        of its functional token; NaN where not `which`. The sum of binomial tails over the targets of that token.
        """
        out = np.full(len(which), np.nan)
        found: dict[tuple[int, int, int], float] = {}
        for i in np.flatnonzero(which):
            case = (int(t.functional.value[i]), int(t.target.times[i]), int(t.n_functional[i]))
            if case not in found:
                found[case] = self._p(*case)
            out[i] = found[case]
        return out

    def _p(self, key: int, times: int, of: int) -> float:
        rates: Float64[np.ndarray, " target"] = self._shares[key]
        if not times:
            return 1.0
        counts: Int64[np.ndarray, " target"] = np.full(len(rates), times)
        return float(min(1.0, binomial_tail(counts, np.full(len(rates), of), rates).sum()))
