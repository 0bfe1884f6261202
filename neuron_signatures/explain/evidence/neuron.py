"""`NeuronEvidence` gathers what is known of one pole of a neuron, when an explainer asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuron_signatures.explain.evidence import output
from neuron_signatures.explain.evidence.excerpts import Excerpt, cut, fold, folded_text
from neuron_signatures.explain.evidence.settings import EvidenceSettings
from neuron_signatures.explain.evidence.silent import (
    WindowVectors,
    nearest_silent,
    neighbours_windows,
    silent_windows,
)
from neuron_signatures.runs.records.evidence import NEARLY_ZERO
from neuron_signatures.runs.records.names import NeuronPole, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.records.windows import Pick, Window, text_window
from neuron_signatures.runs.run import Run
from neuron_signatures.scoring.texts import SIGN, Text, strongest_texts, text_of

_PARTS: tuple[Part, ...] = ("explain",)
_SPARE = 10
"""Candidates beyond those needed, because some are shown already."""


class TokenRow(NamedTuple):
    """A token and the mean activation of the pole at its occurrences in the sample."""

    token: str
    """Raw."""
    mean: float
    n: int


class TokenTable(NamedTuple):
    """Tokens by mean activation, the largest first, and the mean over all tokens that count."""

    rows: tuple[TokenRow, ...]
    overall: float
    n: int
    """Tokens that count."""


class NeuronEvidence:
    """One pole of a neuron. Everything is read when it is asked for, from documents of the part `explain` only.

    Activations are those of the pole: for `-` they are multiplied by -1. Raises as `Records` does, so `UsageError` for
    a neuron whose activations are not stored.
    """

    def __init__(
        self, records: Records, at: NeuronPole, settings: EvidenceSettings, *, run_dir: Path | None = None,
        vectors: WindowVectors | None = None, neighbours: Sequence[NeuronPole] = (),
    ) -> None:  # fmt: skip
        """`vectors` and `neighbours` add kinds of hard negatives: windows near by embedding, and those of other
        neurons, such as the next in the ranking. Without a `run_dir` nothing is known of the output."""
        self.records, self.at, self.settings = records, at, settings
        self._run_dir, self._vectors, self._neighbours = run_dir, vectors, tuple(neighbours)
        self._only: frozenset[int] | None = None

    @classmethod
    def open(
        cls, records: Records, at: NeuronPole, settings: EvidenceSettings, run: Run | None = None, *,
        vectors: WindowVectors | None = None, neighbours: Sequence[NeuronPole] = (),
    ) -> NeuronEvidence:  # fmt: skip
        """The evidence about a pole. Without a run (as for a bare folder of records) nothing is known of the output."""
        run_dir = None if run is None else run.path
        return cls(records, at, settings, run_dir=run_dir, vectors=vectors, neighbours=neighbours)

    @cached_property
    def strongest(self) -> list[Excerpt]:
        """All stored strongest windows with a positive peak, cut around it, strongest first; equal texts are folded."""
        texts = strongest_texts(self.records, self.at)
        kept = (t for t in texts if self._only is None or t.window in self._only)
        return fold(self._cut(t, t.peak_pos) for t in kept)

    @property
    def largest(self) -> float:
        """The largest activation; 0 if none is positive."""
        return self.strongest[0].largest if self.strongest else 0.0

    @cached_property
    def tokens(self) -> TokenTable:
        """Tokens with a positive mean and at least `min_count` occurrences in the sample; ties by token."""
        sign = SIGN[self.at.pole]
        found = self.records.lookup(*self.at[:2], parts=_PARTS, min_count=self.settings.min_count)
        rows = [TokenRow(t.token, sign * t.mean, t.count) for t in found if sign * t.mean > 0]
        sample = self.records.sample(*self.at[:2], parts=_PARTS)
        acts = sign * sample.acts[sample.counts].astype(np.float64)
        overall = float(acts.mean()) if len(acts) else 0.0
        return TokenTable(tuple(sorted(rows, key=lambda r: (-r.mean, r.token))), overall, len(acts))

    def silent(self, n: int) -> list[Excerpt]:
        """Hard negatives: no activation above a tenth of the largest. The kinds take turns: the token of a peak
        (`pos`) without an activation, windows near by embedding, windows in which the neighbours are strong."""
        same = (self._around(w) for w in self.records.hard_negatives(*self.at, n + _SPARE, parts=_PARTS))
        kinds: list[Iterable[Excerpt]] = [same]
        if self._vectors is not None:
            kinds.append(self._read(nearest_silent(self._own_windows, self._silent, self._vectors, n + _SPARE)))
        if self._neighbours:
            mute = set(self._silent)
            kinds.append(self._read(w for w in neighbours_windows(self.records, self._neighbours) if w in mute))
        limit = NEARLY_ZERO * self.largest
        return _in_turn([(e for e in kind if e.largest <= limit) for kind in kinds], n)

    def within(self, windows: Iterable[int]) -> NeuronEvidence:
        """The same evidence, with no other strongest windows than these."""
        return self._copy(self.settings, frozenset(windows))

    def with_settings(self, settings: EvidenceSettings) -> NeuronEvidence:
        return self._copy(settings, self._only)

    def _copy(self, settings: EvidenceSettings, only: frozenset[int] | None) -> NeuronEvidence:
        found = NeuronEvidence(
            self.records, self.at, settings, run_dir=self._run_dir, vectors=self._vectors,
            neighbours=self._neighbours,
        )  # fmt: skip
        found._only = only
        return found

    def intervals(self, *, n_intervals: int, per_interval: int, shown: Sequence[Excerpt]) -> list[Excerpt]:
        """Excerpts by their peak in intervals between 0 and the largest, some of each at random, strongest first.

        Those in `shown` are left out, so an interval can have fewer.
        """
        found = self.records.by_interval(
            *self.at, n_intervals=n_intervals, per_interval=per_interval + _SPARE, parts=_PARTS,
            seed=self.settings.seed,
        )  # fmt: skip
        random, seen, out = np.random.default_rng(self.settings.seed), _Seen(shown), list[Excerpt]()
        for interval in found:
            order = random.permutation(len(interval.windows))
            chosen = seen.new((self._around(interval.windows[i]) for i in order), per_interval)
            out += sorted(chosen, key=lambda e: -e.largest)
        return out

    def random(self, n: int, shown: Sequence[Excerpt]) -> list[Excerpt]:
        """Excerpts of windows of the uniform sample, each around its largest activation."""
        most = n + len(shown)
        windows = self.records.random_windows(*self.at[:2], most, parts=_PARTS, seed=self.settings.seed)
        return _Seen(shown).new((self._around(w) for w in windows), n)

    def out_of_context(self, n: int, shown: Sequence[Excerpt]) -> list[Excerpt]:
        """Excerpts around the tokens of the strongest peaks in other contexts, at any activation."""
        windows = self.records.out_of_context(*self.at, n + _SPARE, parts=_PARTS)
        return _Seen(shown).new((self._around(w) for w in windows), n)

    @cached_property
    def writes(self) -> output.Writes | None:
        """None without write scores (stage 2, `--mode write_scores`)."""
        return None if self._run_dir is None else output.writes(self._run_dir, self.at)

    @cached_property
    def changes(self) -> list[output.MeasuredChange]:
        """Measured by stage 3, largest first."""
        return [] if self._run_dir is None else output.measured_changes(self._run_dir, self.at)

    @cached_property
    def steered(self) -> list[output.SteeredText]:
        """Texts of stage 3 under steering of this neuron alone."""
        return [] if self._run_dir is None else output.steered_texts(self._run_dir, self.at)

    @property
    def _own_windows(self) -> list[int]:
        return [e.window for e in self.strongest[: self.settings.n_windows]]

    @cached_property
    def _silent(self) -> list[int]:
        return silent_windows(self.records.sample(*self.at[:2], parts=_PARTS), self.largest)

    def _around(self, window: Window) -> Excerpt:
        """Around its position, else its largest activation."""
        text = text_of(window, self.at.pole)
        return self._cut(text, text.peak_pos if window.pos is None else window.pos)

    def _read(self, windows: Iterable[int]) -> Iterable[Excerpt]:
        sample = self.records.sample(*self.at[:2], parts=_PARTS)
        place = {int(w): i for i, w in enumerate(sample.windows)}
        picks = (Pick(w, acts=sample.acts_of(place[w])) for w in windows)
        return (self._around(text_window(self.records.corpus, pick)) for pick in picks)

    def _cut(self, text: Text, pos: int) -> Excerpt:
        return cut(text, pos, before=self.settings.before, after=self.settings.after)


class _Seen:
    """Tells new excerpts from those whose window or text is shown already."""

    def __init__(self, shown: Sequence[Excerpt]) -> None:
        self._windows = {e.window for e in shown}
        self._texts = {folded_text(e) for e in shown}

    def new(self, excerpts: Iterable[Excerpt], n: int) -> list[Excerpt]:
        """The first `n` that are not shown yet; they count as shown from now on."""
        out: list[Excerpt] = []
        left = iter(excerpts)
        while len(out) < n and (excerpt := next(left, None)) is not None:
            if excerpt.window not in self._windows and folded_text(excerpt) not in self._texts:
                out.append(excerpt)
                self._windows.add(excerpt.window)
                self._texts.add(folded_text(excerpt))
        return out


def _in_turn(kinds: Iterable[Iterable[Excerpt]], n: int) -> list[Excerpt]:
    """One of each kind in turn until there are `n` or no more; each text once."""
    seen, left, out = _Seen(()), [iter(k) for k in kinds], list[Excerpt]()
    while left and len(out) < n:
        for kind in list(left):
            found = seen.new(kind, 1) if len(out) < n else []
            out += found
            if not found:
                left.remove(kind)
    return out
