"""The shards of a first pass in a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neuron_signatures.records.corpus.blocks import Block, blocks, shard_blocks, span
from neuron_signatures.records.pass1.state import STATE_VERSION, Header, read_header, state_files
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import remove_files
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.sharding.files import ShardState
from neuron_signatures.runs.sharding.shard import Shard


class FinishedShard(NamedTuple):
    """A shard, the name of its file in `records/`, and its header."""

    shard: Shard
    name: str
    header: Header


def finished_shards(run_dir: Path) -> list[FinishedShard]:
    """All shards of the pass. Raises `UsageError` as `ShardFiles.complete` does."""
    files = state_files(run_dir)

    def read(shard: Shard) -> ShardState:
        header = read_header(run_dir, files.name(shard))
        settings = {**header.settings, "version": header.version}
        return ShardState(settings, header.first, header.stop, header.finished)

    names = {shard: files.name(shard) for shard in files.complete(read)}
    return [FinishedShard(shard, name, read_header(run_dir, name)) for shard, name in names.items()]


def refuse_other_blocks(run_dir: Path, shards: Sequence[FinishedShard], corpus: Corpus) -> None:
    """Raise `UsageError` if a shard of this corpus holds other blocks than its own, as after a copy or a renaming."""
    found = blocks(corpus, shards[0].header.settings["batch_size"])
    for shard, name, header in shards:
        if (header.first, header.stop) != span(shard_blocks(corpus, found, shard)):
            what, where = f"does not hold the documents of shard {shard}", str(run_dir / RECORDS / name)
            raise UsageError(what, where=where, next_step=f"Remove this file and run --shard {shard} again")


def is_finished(run_dir: Path, shard: Shard, own: Sequence[Block], settings: dict[str, Any]) -> bool:
    """Whether the run has the finished state of this shard with its `own` blocks and these settings."""
    name = state_files(run_dir).name(shard)
    if not (run_dir / RECORDS / name).exists():
        return False
    header = read_header(run_dir, name)
    same = {**header.settings, "version": header.version} == {**settings, "version": STATE_VERSION}
    return header.finished and same and (header.first, header.stop) == span(own)


def remove_states(run_dir: Path) -> None:
    """Remove all states, once the records are written."""
    files = state_files(run_dir)
    remove_files(run_dir, [files.name(shard) for shard in files.stored()], below=RECORDS)
