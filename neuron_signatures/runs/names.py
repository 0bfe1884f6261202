"""The file names in a run folder, and the rule for ids that become part of a file name."""

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
PIPELINE = "pipeline.json"
PIPELINE_LOCK = ".pipeline-lock"
SHARD_LOCK = ".lock-"  # and the name of a shard
TMP_PREFIX = ".tmp"  # ours are `.tmp-*`; safetensors 0.8 writes its own `.tmpXXXXXX`
REPLACED = ".replaced"
MOVING = ".replaced-moving"
REPORT = "report.html"
STAGE_FOLDERS = (
    "analysis", "interventions", "records", "explanations", "scores", "skills", "weights", "corpus_analysis",
    "comparisons", "circuits", "search", "llm",
)  # fmt: skip
CORPUS_ANALYSIS = "corpus_analysis"
COMPARISONS = "comparisons"
CIRCUITS = "circuits"
META = "_meta.json"
"""The ending of a stage record's name."""

ID_RULE = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_ID = re.compile(ID_RULE)


def activation_file(shard: int, n_shards: int, save_format: str) -> str:
    """The file name of shard `shard` (from 0) of `n_shards`; a single shard has no number."""
    stem = "activations" if n_shards == 1 else f"activations-{shard + 1:05d}-of-{n_shards:05d}"
    return f"{stem}.{save_format}"


def is_activation_file(name: str) -> bool:
    return re.fullmatch(r"activations(-\d{5,}-of-\d{5,})?\.(safetensors|pt)", name) is not None


def default_run_dir(root: Path, stage: str) -> Path:
    """A new folder name, unique even if two runs start in the same second."""
    now = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    return root / f"{stage}_{now}_{secrets.token_hex(6)}"


def check_ids(ids: Iterable[str], *, where: str) -> None:
    """Raise `UsageError` for the first id that is used twice or cannot be used in a file name.

    Ids that differ only in case count as equal, because some file systems ignore case.
    """
    seen: dict[str, str] = {}
    for id_ in ids:
        if not _ID.fullmatch(id_):
            raise UsageError(f"id {_shown(id_)} does not match {ID_RULE}", where=where, next_step="Rename it")
        twin = seen.get(id_.casefold())
        if twin is not None:
            what = f"id {id_!r} is used twice" if twin == id_ else f"ids {twin!r} and {id_!r} differ only in case"
            raise UsageError(what, where=where, next_step="Give every prompt a unique id")
        seen[id_.casefold()] = id_


def safe_id(text: str) -> str:
    """`text` if it is a valid id, else a valid id made from it and a digest. (Format 1 has no rule for ids.)"""
    if _ID.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"id_{text}"[:80]) + "_" + digest


def spans(numbers: Sequence[int], *, to: str = "..", between: str = ", ") -> str:
    """Ascending integers in short form: `0..4, 7, 9..12`. File names need other separators than messages."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return between.join(str(a) if a == b else f"{a}{to}{b}" for a, b in parts)


def inside(run_dir: Path, name: str) -> Path:
    """The path of `name` in the run folder. Raises `BadRunError` if it leads outside, also through a symlink, or if no
    file can have this name."""
    parts = PurePosixPath(name.replace("\\", "/"))
    where = str(run_dir / MANIFEST)
    if not name or parts.is_absolute() or ".." in parts.parts or ":" in name or "\0" in name:
        raise BadRunError(f"file name {_shown(name)} leads out of the run folder", where=where)
    if not parts.parts:
        raise BadRunError(f"file name {_shown(name)} names no file", where=where)
    try:
        too_long = max(len(part.encode()) for part in parts.parts) > 255 or len(name) > 1000
    except UnicodeEncodeError as e:
        raise BadRunError(f"file name {_shown(name)} has a lone surrogate", where=where) from e
    if too_long:
        raise BadRunError(f"file name {_shown(name)} is too long", where=where)
    path = run_dir / parts
    # `resolve` raises for circular links
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(run_dir)):
        raise BadRunError(f"file {_shown(name)} is a link that leads out of the run folder", where=str(run_dir))
    return path


def _shown(name: str) -> str:
    return ascii(name) if len(name) <= 60 else f"{name[:57]!a}... ({len(name)} characters)"
