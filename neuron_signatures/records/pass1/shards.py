"""The shards of a first pass in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuron_signatures.records.pass1.state import STATE_VERSION, Header, read_header, state_files
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


def is_finished(run_dir: Path, shard: Shard, settings: dict[str, Any]) -> bool:
    """Whether the run has the finished state of this shard with these settings."""
    name = state_files(run_dir).name(shard)
    if not (run_dir / RECORDS / name).exists():
        return False
    header = read_header(run_dir, name)
    return header.finished and {**header.settings, "version": header.version} == {**settings, "version": STATE_VERSION}


def remove_states(run_dir: Path) -> None:
    """Remove all states, once the records are written."""
    files = state_files(run_dir)
    remove_files(run_dir, [files.name(shard) for shard in files.stored()], below=RECORDS)
