"""Edits of groups and pins, as values: each function returns new groups, for `groups.write_groups`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from neuron_signatures.runs.circuits.groups import Group, GroupsFile
from neuron_signatures.runs.errors import UsageError


def pin(groups: GroupsFile, nodes: Iterable[str]) -> GroupsFile:
    """Pin nodes, behind those that are pinned."""
    return _with(groups, pinned=tuple(dict.fromkeys([*groups.pinned, *nodes])))


def unpin(groups: GroupsFile, nodes: Collection[str]) -> GroupsFile:
    return _with(groups, pinned=tuple(node for node in groups.pinned if node not in nodes))


def group_nodes(groups: GroupsFile, nodes: Sequence[str], label: str) -> GroupsFile:
    """Make a new group of the nodes, taken out of their groups."""
    rest = ungroup_nodes(groups, nodes)
    new = Group(id=new_id(groups), label=label, nodes=tuple(dict.fromkeys(nodes)))
    return _with(rest, groups=(*rest.groups, new))


def ungroup_nodes(groups: GroupsFile, nodes: Collection[str]) -> GroupsFile:
    """Take nodes out of their groups; a group without nodes disappears."""
    kept = []
    for group in groups.groups:
        left = tuple(node for node in group.nodes if node not in nodes)
        if left == group.nodes:
            kept.append(group)
        elif left:
            kept.append(group.model_copy(update={"nodes": left, "source": "person"}))
    return _with(groups, groups=tuple(kept))


def rename_group(groups: GroupsFile, group_id: str, label: str) -> GroupsFile:
    return _replace(groups, find(groups, group_id), label=label, named_by=None)


def remove_group(groups: GroupsFile, group_id: str) -> GroupsFile:
    """Remove a group; its nodes are in none then."""
    gone = find(groups, group_id)
    return _with(groups, groups=tuple(group for group in groups.groups if group is not gone))


def find(groups: GroupsFile, group_id: str) -> Group:
    """Raises `UsageError` for an unknown id."""
    found = next((group for group in groups.groups if group.id == group_id), None)
    if found is None:
        raise UsageError(f"no group has the id {group_id!a}", next_step="Reload the groups")
    return found


def new_id(groups: GroupsFile) -> str:
    """The first of `g1`, `g2`, ... that no group has."""
    taken = {group.id for group in groups.groups}
    return next(name for i in range(1, len(taken) + 2) if (name := f"g{i}") not in taken)


def _replace(groups: GroupsFile, old: Group, /, **changes: object) -> GroupsFile:
    new = old.model_copy(update={**changes, "source": "person"})
    return _with(groups, groups=tuple(new if group.id == old.id else group for group in groups.groups))


def _with(old: GroupsFile, /, **changes: object) -> GroupsFile:
    return GroupsFile(pinned=old.pinned, groups=old.groups).model_copy(update=changes)
