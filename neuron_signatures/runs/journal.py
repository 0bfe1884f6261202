"""The journal of an incomplete run, `dump_journal.jsonl`: which shards are complete on disk.

The first line holds the settings that a resumed dump must share. Each further line is a finished shard with its
checksum. A killed process may leave half a line at the end; it is ignored, and that shard is written again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.files import explain_os_errors, sha256_file
from neuron_signatures.runs.manifest import Count, FileRecord, Manifest
from neuron_signatures.runs.names import JOURNAL, inside
from neuron_signatures.runs.opening import read_regular

JSONDict = dict[str, Any]

_MAX_BYTES = 64 << 20  # more than 500,000 prompts
_FACTS = frozenset((
    "created_at_utc", "host", "device_name", "cpu_threads", "attn_implementation", "versions", "git_revision",
    "flags_given",
))  # fmt: skip


def _encodable(value: Any) -> Any:
    """The value, if it has no lone surrogates, which cannot be written to the manifest."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _valid_facts(facts: JSONDict) -> JSONDict:
    """The facts, if the manifest can hold them."""
    if unknown := facts.keys() - (_FACTS & Manifest.model_fields.keys()):
        raise ValueError(f"unknown facts {sorted(unknown)[:5]}")
    for name, value in facts.items():
        field = TypeAdapter(Manifest.model_fields[name].rebuild_annotation(), config=ConfigDict(strict=True))
        field.validate_python(value)
    return facts


_Text = Annotated[str, AfterValidator(_encodable)]


class PromptOutcome(NamedTuple):
    """The result of one prompt in a shard. `failed` is the reason why it has no activations, or None."""

    prompt_id: str
    nonfinite: Count
    failed: _Text | None = None


class ShardRecord(BaseModel):
    """A finished shard. `file` is None if every prompt of the shard failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shard: int
    file: FileRecord | None
    outcomes: list[PromptOutcome]
    wall_seconds: float

    def is_intact(self, run_dir: Path) -> bool:
        """Whether the file on disk has the recorded size and checksum."""
        if self.file is None:
            return True
        path = inside(run_dir, self.file.name)
        if not path.is_file() or path.stat().st_size != self.file.bytes:
            return False
        return sha256_file(path) == self.file.sha256


class Header(BaseModel):
    """The first line of the journal. `facts` need not agree on resume (time, versions, device)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    journal_version: Literal[1]
    settings: JSONDict
    facts: Annotated[JSONDict, AfterValidator(_encodable), AfterValidator(_valid_facts)]


def read_journal(run_dir: Path) -> tuple[Header | None, dict[int, ShardRecord]]:
    """The header (None without a journal) and the finished shards by number. Raises `BadRunError` if damaged."""
    path = run_dir / JOURNAL
    try:
        with explain_os_errors(path):
            raw = read_regular(path, max_bytes=_MAX_BYTES) if os.path.lexists(path) else b""
        lines = raw[: raw.rfind(b"\n") + 1].split(b"\n")[:-1]  # drops half a last line
        if not lines:
            return None, {}
        header = Header.model_validate(parse_json(lines[0]))
        records = [ShardRecord.model_validate(parse_json(line)) for line in lines[1:]]
    except ValueError as e:
        raise _damaged(path) from e
    needed = {name for name in _FACTS & Manifest.model_fields.keys() if Manifest.model_fields[name].is_required()}
    if missing := needed - header.facts.keys():
        raise _damaged(path, f"it lacks {', '.join(sorted(missing))}")
    return header, {r.shard: r for r in records}


def _damaged(path: Path, why: str = "") -> BadRunError:
    what = f"the journal is damaged{why and f' ({why})'}"
    return BadRunError(what, where=str(path), next_step="Start again with --overwrite")
