"""Pins and groups: what people change is written to the circuit's own file, unless that file changed meanwhile.

Everything here is a callback of a button; what went wrong is shown by the next `show_group_outcome`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import streamlit as st

from neuron_signatures.dashboard.circuit.opened_page import CircuitPage
from neuron_signatures.dashboard.widgets.elements import show_error, small
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.circuits import regroup
from neuron_signatures.runs.circuits.folder import circuit_folder
from neuron_signatures.runs.circuits.groups import MAX_LABEL, Groups, GroupsFile, write_groups
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.tokens import encodable

_OUTCOME: Final = "circuit_outcome"
_LABEL: Final = "circuit_group_label"
_COLLAPSED: Final = "ui_circuit_collapsed"
_GROUPED = ("neuron", "embedding", "rest")


def group_panel(page: CircuitPage) -> None:
    """Draw what can be done with the selection, and all groups."""
    groups = page.groups
    if groups is None:
        return
    can_write = is_writable(page.ctx.run_dir, page.name)
    with st.container(horizontal=True, vertical_alignment="bottom", key="controls_circuit_groups"):
        if page.selected and can_write:
            _actions(page, groups)
        if groups.groups:
            _collapse_buttons(page, groups)
    show_group_outcome()
    if page.selected and not can_write:
        st.caption("This run folder is read-only, so pins and groups cannot be changed here.")
    unknown = groups.unknown(page.index.nodes)
    whose = {"suggested": "suggested by the trace; the first change makes them yours", "person": "made by people"}
    if groups.groups or groups.pinned:
        lost = f"; {count_of(len(unknown), 'node')} of them are not in this graph" if unknown else ""
        small(f"{count_of(len(groups.groups), 'group')}, {count_of(len(groups.pinned), 'pin')}, "
              f"{whose.get(groups.origin, '')}{lost}.")  # fmt: skip


def collapsed(name: str) -> frozenset[str]:
    """Ids of the groups of this circuit that are drawn as one node."""
    return frozenset(_all_collapsed().get(name, ()))


def is_writable(run_dir: Path, name: str) -> bool:
    return os.access(run_dir / circuit_folder(name).folder, os.W_OK)


def show_group_outcome() -> None:
    """Report a change that was not saved."""
    problem = st.session_state.pop(_OUTCOME, None)
    if problem is not None:
        show_error(problem, "This was not saved.")
        st.button("Reload the groups", key="circuit_groups_reload")


def _actions(page: CircuitPage, groups: Groups) -> None:
    ids = [n.id for n in page.selected_nodes if n.kind != "target"]
    pinned = set(groups.pinned)
    if ids and pinned.issuperset(ids):
        st.button("Unpin", key="circuit_unpin", on_click=save_unpinned, args=(page, groups, ids))
    elif ids:
        st.button("Pin", key="circuit_pin", on_click=save_pinned, args=(page, groups, ids),
                  help="Shown whatever the thresholds say.")  # fmt: skip
    in_groups = list(dict.fromkeys(i.group for i in page.selected if i.group))
    one = page.group(in_groups[0]) if len(in_groups) == 1 else None
    members = [n.id for n in page.selected_nodes if n.kind in _GROUPED]
    is_that_group = one is not None and set(members) <= set(one.nodes)
    st.text_input("Name of the group", key=_LABEL, max_chars=MAX_LABEL, width=200,
                  placeholder="Name of the group", label_visibility="collapsed")  # fmt: skip
    if one is not None and is_that_group:
        st.button("Rename the group", key="circuit_rename", on_click=save_name, args=(page, groups, one.id))
    if members and not (is_that_group and one is not None and set(members) == set(one.nodes)):
        st.button("Group", key="circuit_group", on_click=save_group, args=(page, groups, members),
                  help="One group of the selected nodes; they leave the groups that they were in.")  # fmt: skip
    if in_groups:
        st.button("Ungroup", key="circuit_ungroup", on_click=save_ungrouped, args=(page, groups, in_groups))


def _collapse_buttons(page: CircuitPage, groups: Groups) -> None:
    now, every = collapsed(page.name), {g.id for g in groups.groups}
    chosen = {i.group for i in page.selected if i.group}
    if chosen:
        is_open = not chosen <= now
        st.button("Draw as one node" if is_open else "Draw its nodes", key="circuit_collapse_one",
                  on_click=_set_collapsed, args=(page.name, now | chosen if is_open else now - chosen))  # fmt: skip
    if every - now:
        st.button("All groups as one node each", key="circuit_collapse", on_click=_set_collapsed,
                  args=(page.name, every))  # fmt: skip
    if every & now:
        st.button("All groups as their nodes", key="circuit_expand", on_click=_set_collapsed, args=(page.name, set()))


def save_pinned(page: CircuitPage, groups: Groups, ids: Collection[str]) -> None:
    _write(page, groups, regroup.pin(groups, sorted(ids)))


def save_unpinned(page: CircuitPage, groups: Groups, ids: Collection[str]) -> None:
    _write(page, groups, regroup.unpin(groups, ids))


def save_group(page: CircuitPage, groups: Groups, members: Sequence[str]) -> None:
    """Make a group of these nodes, with the typed name."""
    if _write(page, groups, regroup.group_nodes(groups, members, _typed())):
        st.session_state[_LABEL] = ""


def save_name(page: CircuitPage, groups: Groups, group_id: str) -> None:
    """Give a group the typed name."""
    if _write(page, groups, regroup.rename_group(groups, group_id, _typed())):
        st.session_state[_LABEL] = ""


def save_ungrouped(page: CircuitPage, groups: Groups, group_ids: Collection[str]) -> None:
    _write(page, groups, functools.reduce(regroup.remove_group, group_ids, groups.content()))


def _typed() -> str:
    return encodable(str(st.session_state.get(_LABEL) or "").strip())[:MAX_LABEL]


def _write(page: CircuitPage, groups: Groups, changed: GroupsFile) -> bool:
    try:
        write_groups(page.ctx.run_dir, page.name, changed, expected_etag=groups.etag)
    except (ProjectError, OSError) as e:
        st.session_state[_OUTCOME] = e
        return False
    return True


def _all_collapsed() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = st.session_state.get(_COLLAPSED, {})
    return found


def _set_collapsed(name: str, ids: Collection[str]) -> None:
    st.session_state[_COLLAPSED] = {**_all_collapsed(), name: frozenset(ids)}
