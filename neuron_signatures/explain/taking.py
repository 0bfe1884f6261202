"""Hands out the poles of which something is missing, until enough of them were explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neuron_signatures.runs.records.names import NeuronPole


class Taking(Iterator[NeuronPole]):
    """An iterator over poles, which ends when `limit` of them (None: any number) gave an explanation.

    A pole that gives nothing new, because it has too little evidence or no mistake to revise by, does not count:
    otherwise the first such poles would take up the limit of every command.
    """

    def __init__(self, poles: Sequence[NeuronPole], limit: int | None) -> None:
        self._poles, self._limit = poles, limit
        self._taken = self._idle = 0

    def __next__(self) -> NeuronPole:
        if self.all_taken or (self._limit is not None and self._taken - self._idle >= self._limit):
            raise StopIteration
        self._taken += 1
        return self._poles[self._taken - 1]

    def gave_nothing(self) -> bool:
        """One that was handed out gave nothing new. Returns whether another is handed out in its place."""
        self._idle += 1
        return self._limit is not None and not self.all_taken

    @property
    def all_taken(self) -> bool:
        return self._taken == len(self._poles)
