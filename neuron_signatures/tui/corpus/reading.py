"""The records of a corpus, opened once for a run, with a cache of the neurons that were read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from neuron_signatures.runs.records.meta import RecordsMeta
from neuron_signatures.runs.records.names import PARTS, POLES, Part, Pole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.views.coords import NeuronAt
from neuron_signatures.views.records.evidence import Evidence, SampleEvidence, evidence, sample_evidence
from neuron_signatures.views.records.neuron_order import CorpusNeurons

K = TypeVar("K")
T = TypeVar("T")
_CACHE_SIZE = 32
"""Neurons whose evidence is cached: each holds some hundred windows of text."""

Section = Literal["strongest", "intervals", "random", "tokens", "histogram"]
SECTIONS: tuple[Section, ...] = ("strongest", "intervals", "random", "tokens", "histogram")
OF_SAMPLE: tuple[Section, ...] = ("intervals", "random", "tokens")
"""Sections for which the stage must have kept the activations of the neuron."""


class Shown(NamedTuple):
    """What the corpus screen shows of a neuron."""

    section: Section = "strongest"
    pole: Pole | None = None
    """None: the pole with the larger |activation|."""
    part: Part | None = None
    """None: all parts of the corpus."""

    @property
    def parts(self) -> tuple[Part, ...]:
        return PARTS if self.part is None else (self.part,)

    def step(self, by: int) -> Shown:
        """The next or previous section."""
        return self._replace(section=SECTIONS[(SECTIONS.index(self.section) + by) % len(SECTIONS)])

    def next_part(self) -> Shown:
        parts: Sequence[Part | None] = (None, *PARTS)
        return self._replace(part=parts[(parts.index(self.part) + 1) % len(parts)])


AS_OPENED = Shown()


class OpenedCorpus:
    """Reads what is asked for. Methods raise `UsageError` without records, `BadRunError` for damaged ones.

    A thread may read a sample while the drawing thread reads evidence: each has its own open files.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._records: Records | None = None
        self._for_samples: Records | None = None
        self._lock = threading.Lock()
        self._evidence: dict[tuple[NeuronAt, tuple[Part, ...]], Evidence] = {}
        self._samples: dict[tuple[NeuronAt, tuple[Part, ...]], SampleEvidence | None] = {}

    @property
    def records(self) -> Records:
        if self._records is None:
            self._records = Records.open(self._run_dir)
        return self._records

    @property
    def meta(self) -> RecordsMeta:
        return self.records.meta

    @cached_property
    def neurons(self) -> CorpusNeurons:
        """All recorded neurons, to list them."""
        return CorpusNeurons(self.records.neurons())

    def evidence(self, at: NeuronAt, parts: tuple[Part, ...]) -> Evidence:
        """What is stored of every neuron. Raises `UsageError` if this one is not recorded."""
        key = (at, parts)
        if key not in self._evidence:
            _store(self._evidence, key, evidence(self.records, at, parts=parts))
        return self._evidence[key]

    def known_sample(self, at: NeuronAt, parts: tuple[Part, ...]) -> SampleEvidence | None:
        """What `sample` found; None if it was not called, or the neuron is not in the sample."""
        return self._samples.get((at, parts))

    def has_sample(self, at: NeuronAt) -> bool:
        """Whether the activations of this neuron in a sample of windows are stored."""
        return self.records.sampled(*at)

    def sample(self, at: NeuronAt, parts: tuple[Part, ...]) -> SampleEvidence | None:
        """What is stored of the chosen neurons; None for another one. For a thread."""
        with self._lock:
            key = (at, parts)
            if key not in self._samples:
                if self._for_samples is None:
                    self._for_samples = Records.open(self._run_dir)
                _store(self._samples, key, sample_evidence(self._for_samples, at, parts=parts))
            return self._samples[key]

    def extremes(self, at: NeuronAt) -> tuple[float, float] | None:
        """The smallest and the largest activation in the corpus; None if the neuron is not recorded, or has none."""
        if not self.records.holds(*at):
            return None
        high, low = (self.records.strongest(*at, pole, k=1, rows=False) for pole in POLES)
        if not high or not low:
            return None
        return low[0].value or 0.0, high[0].value or 0.0


def _store(cache: dict[K, T], key: K, value: T) -> None:
    if len(cache) >= _CACHE_SIZE:
        cache.pop(next(iter(cache)))
    cache[key] = value
