"""Groups and pins of a circuit as the supernodes and pins of the format, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from neuron_signatures.runs.circuits.exchange.schema import QParams
from neuron_signatures.runs.circuits.exchange.texts import shown
from neuron_signatures.runs.circuits.groups import MAX_GROUPS, MAX_LABEL, Group, GroupsFile
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest_file import first_error

log = logging.getLogger(__name__)


class Supernodes(NamedTuple):
    pinned: list[str]
    """The pins, and the members of all groups: viewers draw a supernode of those members that are pinned."""
    supernodes: list[list[str]]
    """Label and members of each."""


def to_supernodes(groups: GroupsFile, node_ids: Collection[str]) -> Supernodes:
    """The groups and pins of nodes that the graph has. Labels are unique, and no ids: viewers use them as such."""
    known, taken = set(node_ids), set(node_ids)
    found = []
    for group in groups.groups:
        if members := [node for node in group.nodes if node in known]:
            label = _unique(shown(group.label).strip() or "group", taken)
            taken.add(label)
            found.append([label, *members])
    pinned = [*groups.pinned, *(node for _, *members in found for node in members)]
    return Supernodes([node for node in dict.fromkeys(pinned) if node in known], found)


def from_supernodes(
    params: QParams, exact: GroupsFile | None, node_ids: Collection[str], *, where: str
) -> GroupsFile:  # fmt: skip
    """The groups and pins of a file. `exact` are those it was written with, if it is one of ours: they are returned
    unless a viewer has changed the supernodes or the pins since.

    Pins and members that the graph lacks are dropped with a warning, but for those of `exact`, which no viewer has
    seen. A node stays in its first group only.
    """
    unchanged = Supernodes([], []) if exact is None else to_supernodes(exact, node_ids)
    present = Supernodes(
        unchanged.pinned if params.pinnedIds is None else _pins(params.pinnedIds),
        unchanged.supernodes if params.supernodes is None else _supernodes(params.supernodes, where),
    )
    if exact is not None and present == unchanged:
        return exact
    old, known = exact or GroupsFile(), set(node_ids)
    unseen = [g for g in old.groups if known.isdisjoint(g.nodes)]
    if unknown := {p for p in present.pinned if p not in known}:
        log.warning("%d pinned nodes are not in the graph and are left out", len(unknown))
    try:
        groups = (*_groups(present.supernodes, old, known), *unseen)
        members = {node for group in groups for node in group.nodes}
        seen = [p for p in dict.fromkeys(present.pinned) if p in known and (p in old.pinned or p not in members)]
        return GroupsFile(pinned=(*seen, *(p for p in old.pinned if p not in known)), groups=groups)
    except ValidationError as e:
        raise UsageError(f"qParams: {first_error(e)}", where=where) from e


def _groups(supernodes: Sequence[Sequence[str]], old: GroupsFile, known: set[str]) -> Iterator[Group]:
    """Each with the members that are left for it; those of an earlier group with the same members keep its id."""
    if len(supernodes) > MAX_GROUPS:
        log.warning("of %d supernodes, only the first %d are read", len(supernodes), MAX_GROUPS)
    earlier = {frozenset(known.intersection(group.nodes)): group for group in old.groups}
    free, ids = set(known), {group.id for group in old.groups}
    for label, *members in supernodes[:MAX_GROUPS]:
        nodes = tuple(node for node in dict.fromkeys(members) if node in free)
        if len(nodes) < len(set(members)):
            log.warning("a supernode loses %d members that are in another one, or not in the graph",
                        len(set(members)) - len(nodes))  # fmt: skip
        if not nodes:
            continue
        free -= set(nodes)
        same = earlier.pop(frozenset(nodes), None)
        if same is not None and label == shown(same.label):
            yield same
            continue
        label = label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…"
        if same is not None:
            yield Group(id=same.id, label=label, nodes=same.nodes)
            continue
        id_ = next(i for n in range(1, len(ids) + 2) if (i := f"g{n}") not in ids)
        ids.add(id_)
        yield Group(id=id_, label=label, nodes=nodes)


def _pins(found: list[str] | str) -> list[str]:
    return [p for p in found.split(",") if p] if isinstance(found, str) else list(found)


def _supernodes(found: list[list[str]] | str, where: str) -> list[list[str]]:
    return [s for s in text_lists(found, where=f"{where}, qParams.supernodes") if s]


def text_lists(value: Any, *, where: str) -> list[list[str]]:
    """Lists of texts, which a viewer may have saved as JSON in a text. Raises `UsageError` for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except (ValueError, RecursionError) as e:
            raise UsageError("is text that is not JSON", where=where) from e
    if not isinstance(value, list) or not all(
        isinstance(row, list) and all(isinstance(text, str) for text in row) for row in value
    ):
        raise UsageError("is not a list of lists of texts", where=where)
    return value


def _unique(label: str, taken: Collection[str]) -> str:
    """The label, or with a number behind it."""
    if label not in taken and not label.startswith("supernode-"):  # the viewers' own ids
        return label
    return next(name for n in range(2, len(taken) + 3) if (name := f"{label} ({n})") not in taken)
