"""The evidence about one neuron in the records of a corpus: what a page or a pane about it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuron_signatures.runs.records.evidence import TokenMean
from neuron_signatures.runs.records.moments import NeuronMoments
from neuron_signatures.runs.records.names import PARTS, POLES, Part, Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.distribution import Distribution, distribution
from neuron_signatures.views.records.often import OftenOn
from neuron_signatures.views.records.passages import Passage, passages
from neuron_signatures.views.scale import Limit, Spread, records_limit

N_INTERVALS, PER_INTERVAL, N_RANDOM, MIN_COUNT = 5, 4, 10, 2
"""Intervals of the activation with the examples of each, random windows, and tokens that a mean needs."""
_SIGN = {"+": 1, "-": -1}
_LEAST = 0.1
"""Share of the largest |activation| from which windows of the other sign are shown."""


class IntervalRow(NamedTuple):
    """Examples whose peak is within an interval of the activation."""

    low: float
    high: float
    n: int
    """Windows in the interval, of which the passages are some."""
    passages: tuple[Passage, ...]


class PoleEvidence(NamedTuple):
    """One pole of a neuron."""

    pole: Pole
    strongest: tuple[Passage, ...]
    """Strongest first, equal texts as one passage; empty if no activation has this sign, or is far from zero."""
    n_windows: int
    """Windows of the list, before equal ones were folded."""
    often: OftenOn
    """The tokens at the peaks of its strongest windows, of the part explain."""

    @property
    def value(self) -> float | None:
        """The strongest activation."""
        return self.strongest[0].value if self.strongest else None

    @property
    def has_sign(self) -> bool:
        """Whether an activation has the sign of the pole. If none has, the passages are those nearest to it."""
        return self.value is not None and (self.value > 0) == (self.pole == "+")


@dataclass(frozen=True)
class Evidence:
    """What is stored of every neuron."""

    at: NeuronAt
    parts: tuple[Part, ...]
    state: str
    """`alive`, `nearly dead` or `dead`, over the whole corpus."""
    poles: tuple[PoleEvidence, PoleEvidence]
    moments: NeuronMoments
    distribution: Distribution
    smallest: float
    largest: float
    """The extremes over the whole corpus, whatever the parts; 0 if none is known."""

    @property
    def state_text(self) -> str:
        """A sentence about a dead or nearly dead neuron; empty for others."""
        share = {"dead": "1 %", "nearly dead": "10 %"}.get(self.state)
        if share is None:
            return ""
        largest = max(self.largest, -self.smallest)
        return (
            f"{self.at.label} is {self.state} on this corpus: its largest |activation| is {largest:.3g}, at most "
            f"{share} of that of the median neuron of its layer."
        )

    def pole(self, pole: Pole) -> PoleEvidence:
        return self.poles[POLES.index(pole)]

    @property
    def first_pole(self) -> Pole:
        """The pole with the larger |activation|."""
        high, low = (abs(p.value or 0.0) if p.has_sign else 0.0 for p in self.poles)
        return "-" if low > high else "+"

    @property
    def spread(self) -> Spread | None:
        """The neuron's spread in these parts, with the signs of the tokens in the histogram; None without a value."""
        m, d = self.moments, self.distribution
        if m.mean is None or m.std is None:
            return None
        return Spread(d.n, d.n_positive, d.n_negative, m.mean, m.std)

    def limit(self, *, relative: bool = False) -> Limit:
        """The full scale of colours over the corpus."""
        return records_limit(self.smallest, self.largest, self.spread if relative else None)


@dataclass(frozen=True)
class SampleEvidence:
    """What is stored of the neurons that pass 2 kept."""

    intervals: dict[Pole, tuple[IntervalRow, ...]]
    """By pole; the strongest interval first."""
    random: tuple[Passage, ...]
    lookup: tuple[TokenMean, ...]
    """By mean activation, the largest first."""


def evidence(records: Records, at: NeuronAt, *, parts: Sequence[Part] = PARTS) -> Evidence:
    """What the records hold of this neuron, in the given parts of the corpus. Raises as the reader does."""
    high, low = (_extreme(records, at, pole, parts) for pole in POLES)
    largest, smallest = (_extreme(records, at, pole, PARTS) for pole in POLES)
    least = _LEAST * max(abs(largest or 0.0), abs(smallest or 0.0))
    poles = [_pole(records, at, pole, parts, least) for pole in POLES]
    return Evidence(
        at=at,
        parts=tuple(parts),
        state=_state(records, at),
        poles=(poles[0], poles[1]),
        moments=records.moments(at.layer, at.neuron, parts=parts),
        distribution=distribution(records.histogram(at.layer, at.neuron, parts=parts), low, high),
        smallest=smallest or 0.0,
        largest=largest or 0.0,
    )


def sample_evidence(
    records: Records, at: NeuronAt, *, parts: Sequence[Part] = PARTS, seed: int = 0,
    n_intervals: int = N_INTERVALS, per_interval: int = PER_INTERVAL, n_random: int = N_RANDOM,
) -> SampleEvidence | None:  # fmt: skip
    """What pass 2 kept of this neuron; None if it did not keep the neuron."""
    if not records.sampled(*at):
        return None
    found = {
        pole: tuple(
            IntervalRow(i.low, i.high, i.n, tuple(passages(i.windows)))
            for i in records.by_interval(
                *at, pole, n_intervals=n_intervals, per_interval=per_interval, parts=parts, seed=seed
            )
        )
        for pole in POLES
    }
    return SampleEvidence(
        found,
        tuple(passages(records.random_windows(*at, n_random, parts=parts, seed=seed), fold=False)),
        tuple(records.lookup(*at, parts=parts, min_count=MIN_COUNT)),
    )


def _state(records: Records, at: NeuronAt) -> str:
    row = records.layers.index(at.layer) * records.d_mlp + at.neuron
    return str(records.neurons().column("state")[row].as_py())


def _extreme(records: Records, at: NeuronAt, pole: Pole, parts: Sequence[Part]) -> float | None:
    """The strongest activation of a pole; None if there is none in these parts."""
    first = records.strongest(*at, pole, parts=parts, k=1, rows=False)
    return first[0].value if first else None


def _pole(records: Records, at: NeuronAt, pole: Pole, parts: Sequence[Part], least: float) -> PoleEvidence:
    """Without windows whose peak is zero or of the other sign.

    If all are of the other sign, as for a neuron that is always on, those whose peak is at least `least` in magnitude.
    """
    windows = [w for w in records.strongest(*at, pole, parts=parts) if w.value and math.isfinite(w.value)]
    own = [w for w in windows if (w.value or 0.0) * _SIGN[pole] > 0]
    own = own or [w for w in windows if abs(w.value or 0.0) >= least]
    often = records.often(*at, pole)
    return PoleEvidence(pole, tuple(passages(own)), len(own), OftenOn(often.tokens, often.share))
