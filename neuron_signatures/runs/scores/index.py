"""The index of one log of scores: keys, scores and offsets of its lines, in few bytes each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.runs.llm.status import Status
from neuron_signatures.runs.logs.following import FollowedLog
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.line import LineKey
from neuron_signatures.runs.scores.lines import KeptLine, KeptScore, parse_line
from neuron_signatures.runs.scores.names import LOGS, Control
from neuron_signatures.runs.scores.packed import PackedScores, Place
from neuron_signatures.stats.pooled_null import Null, null_of

LEAST_DRAWS = 10
"""Defined draws of a layer for a null of its own; below, the draws of all layers are used."""

NO_EVIDENCE = frozenset({"too_few_examples", "constant_truth", "no_windows"})
"""Reasons that lie in the neuron, not in the explanation: such draws say nothing about the null, and are left out. One
that cannot predict, or predicts the same everywhere, is a draw that is worse than any value."""


class Indexed(NamedTuple):
    """A line of the index."""

    status: Status
    place: Place
    n_requests: int
    n_ok: int
    start: int
    size: int


class ScoreIndex(FollowedLog):
    """The newest line of each key."""

    def __init__(self, run_dir: Path, name: str) -> None:
        super().__init__(LOGS, run_dir, name)
        self._packed = PackedScores()
        self._lines: dict[LineKey, Indexed] = {}
        self._poles: dict[NeuronPole, list[LineKey]] = {}
        self._own: dict[str, LineKey] = {}
        self._draws: dict[str, dict[int, list[float | None]]] | None = None

    def read_more(self) -> bool:
        """Read the lines that were appended. Returns whether there were any.

        Raises `AnotherFileError` if the log is not the one that was read before, or is gone.
        """
        before = self.end
        for line in self._new_lines(parse_line):
            self._add(line)
        if self.end > before:
            self._draws = None
        return self.end > before

    def __contains__(self, key: LineKey) -> bool:
        return key in self._lines

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def keys(self) -> Iterator[LineKey]:
        return iter(self._lines)

    @property
    def poles(self) -> Mapping[NeuronPole, list[LineKey]]:
        """The keys of each pole, in the order of their first lines."""
        return self._poles

    def get(self, key: LineKey) -> Indexed | None:
        return self._lines.get(key)

    def kept(self, key: LineKey) -> KeptLine:
        """The line of a key that the log has."""
        line = self._lines[key]
        return KeptLine(
            key, line.status, dict(self._packed.items(line.place)), line.n_requests, line.n_ok, line.start, line.size
        )

    def scores(self, key: LineKey) -> dict[str, KeptScore]:
        """Of a line; empty if there is none."""
        line = self._lines.get(key)
        return {} if line is None else dict(self._packed.items(line.place))

    def own_key(self, explanation: str) -> LineKey | None:
        """The key of the line in which an explanation was scored on its own neuron."""
        return self._own.get(explanation)

    def of_control(self, at: NeuronPole, control: Control) -> list[LineKey]:
        return [key for key in self._poles.get(at, ()) if key.control == control]

    def null(self, score: str, layer: int) -> tuple[Null, bool]:
        """The pooled null of a score in a layer, and whether it is that of the layer, not of all layers."""
        of_layers = self._null_draws().get(score, {})
        own = null_of(of_layers.get(layer, []))
        if len(own.values) >= LEAST_DRAWS:
            return own, True
        return null_of([value for values in of_layers.values() for value in values]), False

    def draws(self, score: str, layer: int | None = None) -> list[float | None]:
        """The draws of the null of a score, of one layer or of all, in the order of the log; None where undefined."""
        of_layers = self._null_draws().get(score, {})
        chosen = of_layers.values() if layer is None else [of_layers.get(layer, [])]
        return [value for values in chosen for value in values]

    def _null_draws(self) -> dict[str, dict[int, list[float | None]]]:
        if self._draws is None:
            self._draws = defaultdict(lambda: defaultdict(list))
            for key, line in self._lines.items():
                if key.control == "other" and line.status == "ok":
                    for name, score in self._packed.items(line.place):
                        if score.undefined not in NO_EVIDENCE:
                            self._draws[name][key.at.layer].append(score.value)
        return self._draws

    def _add(self, line: KeptLine) -> None:
        key = line.key
        if key not in self._lines:
            self._poles.setdefault(key.at, []).append(key)
        place = self._packed.add(line.scores)
        self._lines[key] = Indexed(line.status, place, line.n_requests, line.n_ok, line.start, line.size)
        if key.control == "own":
            self._own[key.explanation] = key
