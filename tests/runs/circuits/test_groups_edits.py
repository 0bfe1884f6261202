"""Edits of groups and pins as values."""

from __future__ import annotations

import pytest

from neuron_signatures.runs.circuits import regroup
from neuron_signatures.runs.circuits.groups import Group, GroupsFile
from neuron_signatures.runs.errors import UsageError

A = Group(id="g1", label="Texas", nodes=("a", "b"), source="suggested", named_by="explanations")
B = Group(id="g3", label="capital", nodes=("c",), source="suggested")
START = GroupsFile(pinned=("a",), groups=(A, B))


def labels(groups: GroupsFile) -> dict[str, tuple[str, ...]]:
    return {g.label: g.nodes for g in groups.groups}


def test_pins_keep_their_order_and_are_there_once():
    assert regroup.pin(START, ["b", "a"]).pinned == ("a", "b")
    assert regroup.unpin(START, ["a", "x"]).pinned == ()


def test_a_new_group_takes_nodes_out_of_others():
    new = regroup.group_nodes(START, ["b", "c", "d", "d"], "mine")
    assert labels(new) == {"Texas": ("a",), "mine": ("b", "c", "d")}
    assert [g.id for g in new.groups] == ["g1", "g2"] and {g.source for g in new.groups} == {"person"}
    assert labels(START) == {"Texas": ("a", "b"), "capital": ("c",)}


def test_nodes_move_between_groups():
    assert labels(regroup.ungroup_nodes(START, ["a", "b"])) == {"capital": ("c",)}


def test_a_renamed_group_is_a_persons():
    renamed = regroup.find(regroup.rename_group(START, "g1", "Dallas"), "g1")
    assert (renamed.label, renamed.source, renamed.named_by, renamed.nodes) == ("Dallas", "person", None, ("a", "b"))
    assert labels(regroup.remove_group(START, "g1")) == {"capital": ("c",)}


def test_an_unknown_group_is_refused():
    for edit in (regroup.remove_group, lambda g, i: regroup.rename_group(g, i, "x")):
        with pytest.raises(UsageError, match="no group has the id"):
            edit(START, "\x1b[31m")
