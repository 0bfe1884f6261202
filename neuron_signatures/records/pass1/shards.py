"""The shards of a first pass in a run folder: which there are, and whether they make a whole."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from pathlib import Path

from neuron_signatures.records.pass1.state import Header, read_header
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import remove_files
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.records.names import RECORDS
from neuron_signatures.runs.writer import refuse_differences

_NAME = re.compile(r"pass1-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)


def state_files(run_dir: Path) -> list[str]:
    """Names of the states in the run, in order."""
    return sorted(p.name for p in (run_dir / RECORDS).glob("pass1-*-of-*.safetensors") if _NAME.fullmatch(p.name))


def refuse_other_split(run_dir: Path, n_shards: int | None) -> None:
    """Raise `UsageError` if the run holds shards of a pass that was split into another number than `n_shards`.

    None stands for any number.
    """
    found = sorted({_split_of(name) for name in state_files(run_dir)} - {n_shards})
    if found and n_shards is not None:
        what = f"holds shards of a pass that was split into {' and '.join(map(str, found))}"
        next_step = "Finish it with --shard and --merge, or start anew with --overwrite"
        raise UsageError(what, where=str(run_dir / RECORDS), next_step=next_step)


def finished_shards(run_dir: Path) -> list[tuple[str, Header]]:
    """All shards of the pass, finished and of the same settings.

    Raises `UsageError` if shards are missing, unfinished, of different splits or of different settings.
    """
    by_split: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for name in state_files(run_dir):
        match = _NAME.fullmatch(name)
        assert match is not None
        by_split[int(match[2])][int(match[1])] = name
    where = str(run_dir / RECORDS)
    if len(by_split) != 1:
        found = "no shards" if not by_split else f"shards of {' and '.join(map(str, sorted(by_split)))}"
        raise UsageError(f"holds {found}", where=where, next_step="Run each --shard i/n with the same n, then --merge")
    ((n, names),) = by_split.items()
    headers = {i: read_header(run_dir, name) for i, name in sorted(names.items())}
    missing = [i for i in range(1, n + 1) if i not in headers]
    unfinished = [i for i, h in headers.items() if not h.finished]
    if missing or unfinished:
        faults = (("missing", missing), ("unfinished", unfinished))
        texts = [f"shards {spans(some)} of {n} are {what}" for what, some in faults if some]
        raise UsageError("; ".join(texts), where=where, next_step="Run them with --shard i/n, then --merge again")
    _refuse_differences(headers, where)
    return [(names[i], headers[i]) for i in sorted(headers)]


def _split_of(name: str) -> int:
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[2])


def _refuse_differences(headers: dict[int, Header], where: str) -> None:
    first = headers[min(headers)]
    for i, header in headers.items():
        refuse_differences(
            {**first.settings, "version": first.version}, {**header.settings, "version": header.version}, Path(where),
            what=f"shard {i} has other settings than shard {min(headers)}",
            next_step="Remove the shards that do not belong to this pass",
        )  # fmt: skip
    ordered = sorted(headers.values(), key=lambda h: (h.first, h.stop))
    for before, after in itertools.pairwise(ordered):
        if before.stop != after.first:
            word = "overlap" if before.stop > after.first else "leave a gap"
            raise UsageError(f"the blocks of two shards {word}", where=where, next_step="Run the shards again")


def remove_states(run_dir: Path) -> None:
    """Remove all states, once the records are written."""
    remove_files(run_dir, state_files(run_dir), below=RECORDS)
