"""Every file name inside a run folder, and the rule for ids that become part of one."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from neuron_signatures.runs.errors import BadRunError, UsageError

MANIFEST = "manifest.json"
JOURNAL = "dump_journal.jsonl"
LOCK = ".lock"
TMP_PREFIX = ".tmp"  # ours are `.tmp-*`; safetensors 0.8 writes a `.tmpXXXXXX` of its own beside them
REPLACED = ".replaced"
STAGE_FOLDERS = ("analysis", "interventions", "records", "explanations", "scores")

ID_RULE = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_ID = re.compile(ID_RULE)


def activation_file(shard: int, n_shards: int, save_format: str) -> str:
    """Name of shard number `shard` (0-based) of `n_shards`; a single shard has no number."""
    stem = "activations" if n_shards == 1 else f"activations-{shard + 1:05d}-of-{n_shards:05d}"
    return f"{stem}.{save_format}"


def is_activation_file(name: str) -> bool:
    return re.fullmatch(r"activations(-\d{5,}-of-\d{5,})?\.(safetensors|pt)", name) is not None


def default_run_dir(root: Path, stage: str) -> Path:
    """A folder name that two runs started in the same second do not share."""
    now = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    return root / f"{stage}_{now}_{secrets.token_hex(3)}"


def check_ids(ids: Iterable[str], *, where: str) -> None:
    """Raise `UsageError` for the first id that cannot be used in a file name or is used twice.

    Ids that differ only in case count as the same, because some file systems fold case.
    """
    seen: dict[str, str] = {}
    for id_ in ids:
        if not _ID.fullmatch(id_):
            shown = id_ if len(id_) <= 60 else f"{id_[:57]}... ({len(id_)} characters)"
            raise UsageError(f"id {shown!r} does not match {ID_RULE}", where=where, next_step="Rename it")
        twin = seen.get(id_.casefold())
        if twin is not None:
            what = f"id {id_!r} is used twice" if twin == id_ else f"ids {twin!r} and {id_!r} differ only in case"
            raise UsageError(what, where=where, next_step="Give every prompt an id of its own")
        seen[id_.casefold()] = id_


def safe_id(text: str) -> str:
    """An id for file names: `text` itself where it follows the rule (format 1 had none), else with a digest."""
    if _ID.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"id_{text}"[:80]) + "_" + digest


def spans(numbers: Sequence[int], *, to: str = "..", between: str = ", ") -> str:
    """Ascending whole numbers in short: `0..4, 7, 9..12`. File names want other signs than messages."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return between.join(str(a) if a == b else f"{a}{to}{b}" for a, b in parts)


def inside(run_dir: Path, name: str) -> Path:
    """The path of `name` in the run folder; raises `BadRunError` if it leads out of it, also by a symlink."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name:
        raise BadRunError(f"file name {name!r} leads out of the run folder", where=str(run_dir / MANIFEST))
    path = run_dir / parts
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(run_dir)):  # `resolve` stops at a loop of links
        raise BadRunError(f"file {name!r} is a link that leads out of the run folder", where=str(run_dir))
    return path
