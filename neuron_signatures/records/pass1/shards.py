"""The shards of a first pass in a run folder."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.records.pass1.state import Header, read_header, state_files
from neuron_signatures.runs.files import remove_files
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.sharding.files import ShardState
from neuron_signatures.runs.sharding.shard import Shard


def finished_shards(run_dir: Path) -> list[tuple[str, Header]]:
    """The files and headers of all shards of the pass. Raises `UsageError` as `ShardFiles.complete` does."""
    files = state_files(run_dir)

    def read(shard: Shard) -> ShardState:
        header = read_header(run_dir, files.name(shard))
        settings = {**header.settings, "version": header.version}
        return ShardState(settings, header.first, header.stop, header.finished)

    names = [files.name(shard) for shard in files.complete(read)]
    return [(name, read_header(run_dir, name)) for name in names]


def remove_states(run_dir: Path) -> None:
    """Remove all states, once the records are written."""
    files = state_files(run_dir)
    remove_files(run_dir, [files.name(shard) for shard in files.stored()], below=RECORDS)
