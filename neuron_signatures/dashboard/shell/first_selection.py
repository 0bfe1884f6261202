"""Which neuron is shown first, and where it stands in its list: a row says only where it stood when it was written."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads as loads
from neuron_signatures.dashboard.shell.list_walk import Filters, default_list, passing, place, row_of, step
from neuron_signatures.dashboard.shell.state import MANUAL, Resolved, Selection
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.views.ranked import ListRef

_POLE = "pole"
"""Whose pole, and which: both poles of a neuron have a row in a list of signatures."""


def in_list(
    run: Run, lists: tuple[ListRef, ...], results_key: str, linked: Mapping[str, str], selection: Selection
) -> Resolved:
    """The selection of an address that may name a list, and which part of the address the list does not hold."""
    if linked.get("list") != selection.list:
        return Resolved(selection, [])
    problems = []
    if "neuron" in linked:
        found = with_row(run, lists, results_key, selection)
        wrong = f"this row of the list is not {selection.at.label}"
    else:
        found = _at_row(run, lists, results_key, selection)
        wrong = "the list has no such row that can be opened"
        if "layer" in linked and found.layer != selection.layer:
            problems.append(f"layer {selection.layer} names no neuron; the list says which is shown")
    if selection.row is not None and found.row != selection.row:
        problems.append(f"row {selection.row + 1}: {wrong}")
    return Resolved(found, problems)


def with_row(run: Run, lists: tuple[ListRef, ...], results_key: str, selection: Selection) -> Selection:
    """The selection with the row that its neuron has in its list, which may have been made anew; None for no row."""
    ref = next((r for r in lists if r.stem == selection.list and not r.problem), None)
    if ref is None:
        return selection
    with contextlib.suppress(BadRunError, UsageError):  # the sidebar says why a list cannot be read
        ranked = loads.ranked(run.path, results_key, ref)
        whose = (selection.run, selection.list, selection.at)
        kept, pole = st.session_state.get(_POLE, (None, ""))
        row = row_of(ranked, selection.at, selection.row, pole if kept == whose else "")
        st.session_state[_POLE] = (whose, "" if row is None else ranked.row(row).pole)
        return replace(selection, row=row)
    return selection


def can_show(run: Run, selection: Selection) -> bool:
    """Whether the run stores the selection's prompt, layer and neuron: it may have been written anew."""
    return run.stores(*selection.at) and selection.prompt < len(run.prompts)


def without_lost_list(lists: tuple[ListRef, ...], selection: Selection) -> Selection:
    """The selection; as a manual one where its list has gone from the run, or cannot be read any more."""
    if selection.list == MANUAL or any(r.stem == selection.list and not r.problem for r in lists):
        return selection
    return replace(selection, list=MANUAL, row=None)


def _at_row(run: Run, lists: tuple[ListRef, ...], results_key: str, selection: Selection) -> Selection:
    """The neuron that the selection's list has in its row, or at its top, where the address names no neuron."""
    ref = next(r for r in lists if r.stem == selection.list)
    with contextlib.suppress(BadRunError, UsageError):  # the sidebar says why a list cannot be read
        ranked = loads.ranked(run.path, results_key, ref)
        rows = passing(ranked, Filters(top_k=len(ranked)), run)
        row = selection.row if place(rows, selection.row) is not None else step(rows, None, 1)
        return selection if row is None else selection.with_neuron(ranked.row(row).at, row)
    return selection


def default_selection(run: Run, name: str, lists: tuple[ListRef, ...], data_key: str, results_key: str) -> Selection:
    """The first neuron of the best list; without a list, the largest |act| of the first prompt."""
    ref = default_list(lists)
    with contextlib.suppress(BadRunError):
        if ref is not None:
            ranked = loads.ranked(run.path, results_key, ref)
            for index in passing(ranked, Filters(top_k=1), run).tolist():
                row = ranked.row(index)
                prompt = next((i for i, p in enumerate(run.prompts) if p.probe_id == row.prompt_id), 0)
                return Selection(name, prompt, row.at.layer, row.at.neuron, list=ref.stem, row=index)
    lines = [line for line in loads.layers_of(run, data_key, 0, False) if line.max_abs is not None]
    best = max(lines, key=lambda line: line.max_abs or 0.0, default=None)
    if best is None:
        return Selection(name, 0, run.layers[0], 0, list=MANUAL)
    return Selection(name, 0, best.layer, best.neuron or 0, list=MANUAL)
