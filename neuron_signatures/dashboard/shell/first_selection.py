"""The initial selection, and the current row of a neuron in its list (a row in an address may be out of date)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from neuron_signatures.dashboard.data import cached_reads, cached_records
from neuron_signatures.dashboard.shell.list_walk import Filters, index_in, passing, row_of, step
from neuron_signatures.dashboard.shell.state import MANUAL, Resolved, Selection
from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.interventions.results import ResultRef
from neuron_signatures.views.lists.ranked import ListRef

_POLE = "pole"
"""Session key of the selected neuron and its pole: a list of signatures has a row for each pole."""


def in_list(
    run: Run, lists: tuple[ListRef, ...], results_key: str, linked: Mapping[str, str], selection: Selection
) -> Resolved:
    """The selection of an address that may name a list, with the parts of the address that contradict the list."""
    if linked.get("list") != selection.list:
        return Resolved(selection, [])
    problems = []
    if "neuron" in linked:
        found = with_row(run, lists, results_key, selection)
        wrong = f"this row of the list is not {selection.at.label}"
    else:
        found = _at_row(run, lists, results_key, selection)
        wrong = "the list has no such row, or it cannot be opened"
        if "layer" in linked and found.layer != selection.layer:
            problems.append(f"layer {selection.layer} is ignored without a neuron; the list determines it")
    if selection.row is not None and found.row != selection.row:
        problems.append(f"row {selection.row + 1}: {wrong}")
    return Resolved(found, problems)


def with_row(run: Run, lists: tuple[ListRef, ...], results_key: str, selection: Selection) -> Selection:
    """The selection with the current row of its neuron in its list, which may have been recomputed; None for no row."""
    ref = next((r for r in lists if r.stem == selection.list and not r.problem), None)
    if ref is None:
        return selection
    with contextlib.suppress(BadRunError, UsageError):  # the sidebar reports the error
        ranked = cached_reads.ranked(run.path, results_key, ref)
        key = (selection.run, selection.list, selection.at)
        last_key, pole = st.session_state.get(_POLE, (None, ""))
        row = row_of(ranked, selection.at, selection.row, pole if last_key == key else "")
        st.session_state[_POLE] = (key, "" if row is None else ranked.row(row).pole)
        return replace(selection, row=row)
    return selection


def with_result(refs: tuple[ResultRef, ...], selection: Selection) -> Resolved:
    """The selection with an intervention that can be read: its own, else the newest."""
    readable = [r.stem for r in refs if not r.problem]
    if selection.result in readable:
        return Resolved(selection, [])
    newest = replace(selection, result=next(iter(readable), ""), pair=None)
    lost = f"the intervention {selection.result[:60]!r} does not exist or cannot be read; the newest is shown"
    return Resolved(newest, [escape(lost)] if selection.result else [])


def without_lost_list(lists: tuple[ListRef, ...], selection: Selection) -> Selection:
    """The selection, without its list if that no longer exists or cannot be read."""
    if selection.list == MANUAL or any(r.stem == selection.list and not r.problem for r in lists):
        return selection
    return replace(selection, list=MANUAL, row=None)


def _at_row(run: Run, lists: tuple[ListRef, ...], results_key: str, selection: Selection) -> Selection:
    """The selection with the neuron at its row of the list, or at the first row, for an address without a neuron."""
    ref = next(r for r in lists if r.stem == selection.list)
    with contextlib.suppress(BadRunError, UsageError):  # the sidebar reports the error
        ranked = cached_reads.ranked(run.path, results_key, ref)
        rows = passing(ranked, Filters(top_k=len(ranked)), run)
        row = selection.row if index_in(rows, selection.row) is not None else step(rows, None, 1)
        return selection if row is None else selection.with_neuron(ranked.row(row).at, row)
    return selection


def default_selection(run: Run, name: str, lists: tuple[ListRef, ...], data_key: str, results_key: str) -> Selection:
    """The first neuron of the landing list; without a list, the one with the largest |act| on the first prompt.

    In a run without prompts, the first one whose activations the records keep.
    """
    if not run.prompts:
        at = cached_records.first_neuron(run, results_key)
        return Selection(name, 0, at.layer, at.neuron, list=MANUAL)
    ref = cached_reads.first_list(run.path, results_key, lists)
    with contextlib.suppress(BadRunError, UsageError):  # the sidebar reports the error
        if ref is not None:
            ranked = cached_reads.ranked(run.path, results_key, ref)
            for index in passing(ranked, Filters(top_k=1), run).tolist():
                row = ranked.row(index)
                prompt = next((i for i, p in enumerate(run.prompts) if p.probe_id == row.prompt_id), 0)
                return Selection(name, prompt, row.at.layer, row.at.neuron, list=ref.stem, row=index)
    lines = [line for line in cached_reads.layers_of(run, data_key, 0, False) if line.max_abs is not None]
    best = max(lines, key=lambda line: line.max_abs or 0.0, default=None)
    if best is None:
        return Selection(name, 0, run.layers[0], 0, list=MANUAL)
    return Selection(name, 0, best.layer, best.neuron or 0, list=MANUAL)
