"""The lock of one shard. Any number of shards of a run can be computed at the same time.

A shard is locked while the run's lock is held, and whoever changes what shards depend on holds the run's lock and
calls `refuse_running_shards`. So no shard begins or goes on while its inputs change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from neuron_signatures.runs.errors import RunLockedError
from neuron_signatures.runs.lock import lock_file, remove_if_free
from neuron_signatures.runs.names import SHARD_LOCK
from neuron_signatures.runs.sharding.shard import Shard


@contextlib.contextmanager
def shard_lock(run_dir: Path, stem: str, shard: Shard) -> Iterator[None]:
    """Hold a shard of the computation `stem`. Raises `RunLockedError` if another process computes it.

    The caller holds the lock of the run when the block begins; it can end before the block does.
    """
    with lock_file(run_dir, f"{_prefix(stem)}{shard.name}", f"another process computes shard {shard}"):
        yield


def running_shards(run_dir: Path, stem: str = "") -> dict[str, str]:
    """The holders of the shards that are being computed, by the name of the shard; of all computations without `stem`.

    Lock files of killed processes are removed. The caller holds the lock of the run.
    """
    found = {}
    for path in sorted(run_dir.glob(f"{_prefix(stem)}*")):
        holder = remove_if_free(run_dir, path.name)
        if holder is not None:
            found[path.name.removeprefix(SHARD_LOCK)] = holder
    return found


def refuse_running_shards(run_dir: Path, stem: str = "") -> None:
    """Raise `RunLockedError` if a shard is being computed. The caller holds the lock of the run."""
    for name, holder in running_shards(run_dir, stem).items():
        what, next_step = f"shard {name} is being computed: {holder}", "Wait for it to finish, or stop it"
        raise RunLockedError(what, where=str(run_dir), next_step=next_step)


def _prefix(stem: str) -> str:
    return f"{SHARD_LOCK}{stem}-" if stem else SHARD_LOCK
