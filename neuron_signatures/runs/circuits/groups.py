"""Groups (supernodes) and pins of a circuit: the suggestion of a stage, and the file that people and viewers edit.

`groups.json` is a person's work. It is written by hand, or by a viewer that a person uses; no stage writes over it.
Until it is there, `suggested_groups.json` of the newest trace is shown.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from neuron_signatures.runs.bounded_json import parse_json
from neuron_signatures.runs.circuits.folder import GROUPS, SUGGESTED_GROUPS, circuit_folder
from neuron_signatures.runs.errors import BadRunError, EnvironmentProblem, UsageError, shorten
from neuron_signatures.runs.files import json_text, whole_file
from neuron_signatures.runs.lock import lock_file
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.names import ID_RULE, TMP_PREFIX, check_ids, inside
from neuron_signatures.runs.opening import NotReadableError, read_regular
from neuron_signatures.runs.tokens import brief, encodable

FORMAT_VERSION: Final = 1
MAX_BYTES: Final = 4 << 20
MAX_GROUPS: Final = 2_000
MAX_NODES: Final = 20_000
"""Of one group, and of the pins."""
MAX_LABEL: Final = 200
MAX_NODE_ID: Final = 200

_LOCK: Final = f"{TMP_PREFIX}-groups-lock"  # a temporary file, so that a stage sweeps one that a killed viewer left
_MEND: Final = "Correct it by hand, or rename the file to begin again; nothing was written over it"
_NOTHING: Final = "Nothing was written"

Origin = Literal["suggested", "person"]
Evidence = Literal["explanations", "write_scores", "signatures"]


def _encodable(text: str) -> str:
    if encodable(text) != text:
        raise ValueError("has half a surrogate pair, which UTF-8 cannot hold")
    return text


NodeId = Annotated[str, Field(min_length=1, max_length=MAX_NODE_ID), AfterValidator(_encodable)]
Label = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_encodable)]
_Nodes = Annotated[tuple[NodeId, ...], Field(min_length=1, max_length=MAX_NODES, strict=False)]


class Group(BaseModel):
    """A group of nodes. Its nodes need not be in the present graph: a new trace may have dropped or added some."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=f"^{ID_RULE}$")]
    label: Label
    """As it was written: raw, so it is escaped wherever it is shown."""
    nodes: _Nodes
    source: Origin = "person"
    named_by: Evidence | None = None
    """What a suggested label was made of."""


class GroupsFile(BaseModel):
    """What `groups.json` and `suggested_groups.json` hold. Each node is in at most one group."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: Literal[1] = FORMAT_VERSION
    pinned: Annotated[tuple[NodeId, ...], Field(max_length=MAX_NODES, strict=False)] = ()
    groups: Annotated[tuple[Group, ...], Field(max_length=MAX_GROUPS, strict=False)] = ()

    @field_validator("pinned")
    @classmethod
    def _pins_differ(cls, pinned: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_twins(pinned, "{} is there twice")
        return pinned

    @field_validator("groups")
    @classmethod
    def _are_disjoint(cls, groups: tuple[Group, ...]) -> tuple[Group, ...]:
        _refuse_twins([group.id for group in groups], "two groups have the id {}")
        _refuse_twins([node for group in groups for node in group.nodes], "node {} is there twice")
        return groups

    def unknown(self, node_ids: Iterable[str]) -> tuple[str, ...]:
        """The pinned and grouped ids that are not among these. They are kept, and come back with their nodes."""
        known = set(node_ids)
        mentioned = dict.fromkeys([*self.pinned, *(node for g in self.groups for node in g.nodes)])
        return tuple(node for node in mentioned if node not in known)

    def group_of(self) -> dict[str, Group]:
        """The group of each node that is in one."""
        return {node: group for group in self.groups for node in group.nodes}


class Groups(GroupsFile):
    """A file of groups as it was read."""

    origin: Origin | Literal["none"] = "none"
    """Whether it is a person's file, the suggestion, or there is neither."""
    etag: str = ""
    """SHA-256 of the file's bytes; empty without a file."""

    def content(self) -> GroupsFile:
        return GroupsFile(pinned=self.pinned, groups=self.groups)


def read_groups(run_dir: Path, name: str) -> Groups:
    """The groups of circuit `name`: those of people, else the suggestion, else none.

    Raises `BadRunError` with path and field for a damaged file, `UsageError` if `name` cannot be a circuit's name.
    """
    path, raw, origin = _read(run_dir, name)
    if raw is None:
        return Groups()
    content = parse_groups(raw, where=str(path))
    return Groups(pinned=content.pinned, groups=content.groups, origin=origin, etag=_etag(raw))


def write_groups(run_dir: Path, name: str, groups: GroupsFile, *, expected_etag: str) -> Groups:
    """Write a person's groups to `groups.json`, whole or not at all; returns them as they were read again.

    `expected_etag` is that of what `read_groups` gave: if the file has changed since then, nothing is written. The
    second exception to the rule that viewers never write: this file is a person's, no stage writes to it, and so the
    run's lock is not taken; a lock of its own keeps two viewers apart.

    Raises `UsageError` if the file has changed or the groups are invalid or too many, `EnvironmentProblem` if the
    folder cannot be written to, and as `read_groups` for a damaged file.
    """
    raw = groups_text(groups).encode("utf-8")
    folder = inside(run_dir, _below(name))
    if not folder.is_dir():
        raise UsageError("there is no such circuit", where=str(folder), next_step=_NOTHING)
    if not os.access(folder, os.W_OK):
        raise EnvironmentProblem("the folder is read-only", where=str(folder), next_step=_NOTHING)
    with lock_file(folder, _LOCK, "another viewer is saving groups of this circuit", wait=True):
        path, there, _ = _read(run_dir, name)
        if _etag(there) != expected_etag:
            raise UsageError("has changed on disk since it was read", where=str(path), next_step=f"{_NOTHING}; reload")
        with whole_file(run_dir, GROUPS, below=_below(name), needed=len(raw)) as f:
            f.write(raw)
    return read_groups(run_dir, name)


def groups_text(groups: GroupsFile) -> str:
    """The text of a file of groups: indent 2, groups in the given order. Raises `UsageError` if they are invalid."""
    try:
        checked = GroupsFile(pinned=groups.pinned, groups=tuple(Group(**g.model_dump()) for g in groups.groups))
    except ValidationError as e:
        raise UsageError(first_error(e), where="groups", next_step=_NOTHING) from e
    text = json_text(checked.model_dump(mode="json", exclude_none=True))
    if len(text.encode("utf-8")) > MAX_BYTES:
        raise UsageError(f"larger than {MAX_BYTES} bytes", where="groups", next_step=_NOTHING)
    return text


def parse_groups(raw: bytes, *, where: str) -> GroupsFile:
    """The groups in the bytes of a file. Raises `BadRunError` with `where` and the field."""
    try:
        content = parse_json(raw)
        version = content.get("format_version", FORMAT_VERSION) if isinstance(content, dict) else FORMAT_VERSION
        if version != FORMAT_VERSION:
            what = f"format_version is {brief(str(version))}, this version reads {FORMAT_VERSION}"
            raise BadRunError(what, where=where, next_step="Update the software that reads it")
        return GroupsFile.model_validate(content)
    except ValidationError as e:
        raise BadRunError(first_error(e), where=where, next_step=_MEND) from e
    except ValueError as e:
        raise BadRunError(f"not valid JSON ({e})", where=where, next_step=_MEND) from e


def _read(run_dir: Path, name: str) -> tuple[Path, bytes | None, Origin]:
    """The file that counts now, and its bytes; None without one."""
    files: tuple[tuple[str, Origin], ...] = ((GROUPS, "person"), (SUGGESTED_GROUPS, "suggested"))
    for file, origin in files:
        path = inside(run_dir, f"{_below(name)}/{file}")
        try:
            return path, read_regular(path, max_bytes=MAX_BYTES), origin
        except FileNotFoundError:
            continue
        except NotReadableError as e:
            raise BadRunError(str(e), where=str(path), next_step=_MEND) from e
        except OSError as e:
            raise BadRunError(f"cannot be read ({e.strerror or e})", where=str(path), next_step=_MEND) from e
    return inside(run_dir, f"{_below(name)}/{GROUPS}"), None, "suggested"


def _below(name: str) -> str:
    check_ids([name], where="circuit")
    return circuit_folder(name).folder


def _etag(raw: bytes | None) -> str:
    return "" if raw is None else hashlib.sha256(raw).hexdigest()


def _refuse_twins(values: Sequence[str], what: str) -> None:
    twin = next((value for value, n in Counter(values).items() if n > 1), None)
    if twin is not None:
        raise ValueError(what.format(ascii(shorten(twin, 60))))
