"""The files of shards: which there are, and whether they make a whole."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.sharding.shard import Shard
from neuron_signatures.runs.writer import refuse_differences


class ShardState(NamedTuple):
    """What a file of a shard says: its items are `first` to `stop` (excluded); shards with other settings do not
    fit together."""

    settings: Mapping[str, Any]
    first: int
    stop: int
    finished: bool


@dataclass(frozen=True)
class ShardFiles:
    """The files `<stem>-00001-of-00004<ending>` of the computation `stem` in a folder."""

    folder: Path
    stem: str
    ending: str

    def name(self, shard: Shard) -> str:
        return f"{self.stem}-{shard.name}{self.ending}"

    def stored(self) -> list[Shard]:
        """The shards that have a file, in order."""
        pattern = re.compile(rf"{re.escape(self.stem)}-(\d{{5}})-of-(\d{{5}}){re.escape(self.ending)}", re.ASCII)
        found = (pattern.fullmatch(p.name) for p in self.folder.glob(f"{self.stem}-*{self.ending}"))
        return sorted(Shard(int(m[1]), int(m[2])) for m in found if m is not None)

    def refuse_other_split(self, of: int) -> None:
        """Raise `UsageError` if there are shards of a computation that was split into another number than `of`."""
        if found := sorted({shard.of for shard in self.stored()} - {of}):
            what = f"holds shards of a pass that was split into {' and '.join(map(str, found))}"
            next_step = f"Finish it with --shard and --merge, or remove {self.stem}-*"
            raise UsageError(what, where=str(self.folder), next_step=next_step)

    def complete(self, read: Callable[[Shard], ShardState]) -> list[Shard]:
        """All shards of the computation, in order, if they make a whole; `read` gives the state of one.

        Raises `UsageError` that names them if shards are missing or unfinished, and if they are of different splits or
        settings, or overlap.
        """
        stored = self._of_one_split()
        states = {shard: read(shard) for shard in stored}
        self._refuse_missing(stored, [shard.number for shard, state in states.items() if not state.finished])
        self._refuse_misfits(states)
        return stored

    def refuse_missing(self) -> None:
        """Raise `UsageError` that names them if shards have no file."""
        self._refuse_missing(self._of_one_split(), [])

    def _of_one_split(self) -> list[Shard]:
        stored = self.stored()
        splits = sorted({shard.of for shard in stored})
        if len(splits) != 1:
            found = "no shards" if not splits else f"shards of {' and '.join(map(str, splits))}"
            next_step = "Run each --shard i/n with the same n, then --merge"
            raise UsageError(f"holds {found}", where=str(self.folder / self.stem), next_step=next_step)
        return stored

    def _refuse_missing(self, stored: list[Shard], unfinished: list[int]) -> None:
        of, there = stored[0].of, {shard.number for shard in stored}
        missing = [i for i in range(1, of + 1) if i not in there]
        if missing or unfinished:
            faults = (("missing", missing), ("unfinished", unfinished))
            texts = [f"{_shards(some, of)} {what}" for what, some in faults if some]
            next_step = "Run them with --shard i/n, then --merge again"
            raise UsageError("; ".join(texts), where=str(self.folder), next_step=next_step)

    def _refuse_misfits(self, states: Mapping[Shard, ShardState]) -> None:
        first, *others = states
        for shard in others:
            refuse_differences(
                dict(states[first].settings), dict(states[shard].settings), self.folder,
                what=f"shard {shard} has other settings than shard {first}",
                next_step="Remove the shards that do not belong to this computation",
            )  # fmt: skip
        ordered = sorted(states, key=lambda shard: (states[shard].first, states[shard].stop))
        for before, after in itertools.pairwise(ordered):
            if states[before].stop != states[after].first:
                word = "overlap" if states[before].stop > states[after].first else "leave a gap"
                what, next_step = f"shards {before} and {after} {word}", "Remove their files and run them again"
                raise UsageError(what, where=str(self.folder), next_step=next_step)


def _shards(numbers: list[int], of: int) -> str:
    return (
        f"{'shard' if len(numbers) == 1 else 'shards'} {spans(numbers)} of {of} {'is' if len(numbers) == 1 else 'are'}"
    )
