"""The shards of a set: each explains consecutive poles into a set of its own, and a merge joins them (docs/scale.md).

A shard's set is `<set>-00001-of-00004`. It is a set like any other until the merge, so viewers show what it has.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.explanations.lines import read_entries
from neuron_signatures.runs.explanations.log import ids_in_use
from neuron_signatures.runs.explanations.meta import read_set_meta, read_settings
from neuron_signatures.runs.explanations.names import EXPLANATIONS, SETS
from neuron_signatures.runs.explanations.stage import begin_set, finish_set, remove_set
from neuron_signatures.runs.logs.names import log_name
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.results import open_results
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.sharding.files import ShardFiles, ShardState
from neuron_signatures.runs.sharding.locks import refuse_running_shards, shard_lock
from neuron_signatures.runs.sharding.shard import Shard, items_of

_OWN = ("shard", "poles")


def shard_set(set_name: str, shard: Shard) -> str:
    """The name of the set of a shard."""
    return f"{set_name}-{shard.name}"


def poles_of_shard(poles: Sequence[NeuronPole], shard: Shard) -> list[NeuronPole]:
    return [poles[i] for i in items_of([1] * len(poles), shard)]


def poles_digest(poles: Sequence[NeuronPole]) -> str:
    """Of the names of the poles in their order."""
    return hashlib.sha256(" ".join(at.label for at in poles).encode()).hexdigest()


@contextlib.contextmanager
def begin_shard(run_dir: Path, set_name: str, shard: Shard) -> Iterator[None]:
    """Hold a shard of a set. The caller holds the lock of the run when the block begins, and may end it in the block.

    Raises `UsageError` if there are shards of another split, `RunLockedError` if another process computes the shard.
    """
    _files(run_dir, set_name).refuse_other_split(shard.of)
    with shard_lock(run_dir, set_name, shard):
        yield


def merge_shards(run: Run, set_name: str, settings: Mapping[str, Any], poles: Sequence[NeuronPole]) -> None:
    """Join the shards to the set, finish it, and remove them. A merge that was killed is continued.

    Raises `UsageError` that names them for shards that are missing, unfinished or of other settings, if they were not
    made for these poles, and if the set has explanations of these poles that are of no shard; `RunLockedError` if one
    is being computed.
    """
    files = _files(run.path, set_name)
    with open_results(run, EXPLANATIONS):
        refuse_running_shards(run.path, set_name)
        if SETS.is_finished(run.path, set_name) and _holds_all(run.path, set_name, files.stored()):
            _remove(run.path, set_name, files.stored())  # of a merge that was killed before
            return
        shards = files.complete(lambda shard: _state(run.path, set_name, shard, poles))
        _refuse_explained(run.path, set_name, shards, poles)
        with begin_set(run, set_name, settings) as into:
            there = ids_in_use(run.path, sets=[set_name])
            for shard in shards:
                for entry in read_entries(run.path, shard_set(set_name, shard)):
                    if entry.id not in there:
                        into.append(entry.model_copy(update={"set": set_name}))
        finish_set(run, set_name, skipped=_left_out(run.path, set_name, shards), shards=len(shards))
        _remove(run.path, set_name, shards)


def _holds_all(run_dir: Path, set_name: str, shards: Sequence[Shard]) -> bool:
    """Whether the set has every entry of these shards."""
    there = ids_in_use(run_dir, sets=[set_name])
    return ids_in_use(run_dir, sets=[shard_set(set_name, shard) for shard in shards]) <= there


def _refuse_explained(run_dir: Path, set_name: str, shards: Sequence[Shard], poles: Sequence[NeuronPole]) -> None:
    """Raise `UsageError` if the set has explanations of these poles that are of no shard: there would be two of each.

    A merge that was killed leaves only lines of the shards.
    """
    if set_name not in SETS.names(run_dir):
        return
    asked_for = set(poles)
    of_shards = ids_in_use(run_dir, sets=[shard_set(set_name, shard) for shard in shards])
    for e in read_entries(run_dir, set_name):
        if e.author == "model" and e.id not in of_shards and (e.layer, e.neuron, e.pole) in asked_for:
            what = f"has explanations of {e.neuron_name} and perhaps others that are not of the shards"
            next_step = "Remove the set or its shards"
            raise UsageError(what, where=str(run_dir / EXPLANATIONS / log_name(set_name)), next_step=next_step)


def _remove(run_dir: Path, set_name: str, shards: Sequence[Shard]) -> None:
    for shard in shards:
        remove_set(run_dir, shard_set(set_name, shard))


def _state(run_dir: Path, set_name: str, shard: Shard, poles: Sequence[NeuronPole]) -> ShardState:
    name = shard_set(set_name, shard)
    stored = read_settings(run_dir, name)
    wanted = items_of([1] * len(poles), shard)
    own = poles_digest([poles[i] for i in wanted])
    if stored is None or stored.settings.get("poles") != own:
        what, next_step = "was made for other neurons", "Give the flags of the shards, or compute it again"
        raise UsageError(what, where=str(run_dir / EXPLANATIONS / log_name(name)), next_step=next_step)
    settings = {key: value for key, value in stored.settings.items() if key not in _OWN}
    return ShardState(settings, wanted.start, wanted.stop, SETS.is_finished(run_dir, name))


def _left_out(run_dir: Path, set_name: str, shards: Sequence[Shard]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for shard in shards:
        for reason, names in read_set_meta(run_dir, shard_set(set_name, shard)).skipped.items():
            found.setdefault(reason, []).extend(names)
    return found


def _files(run_dir: Path, set_name: str) -> ShardFiles:
    return ShardFiles(run_dir / EXPLANATIONS, set_name, log_name(""))
