"""The list of all explanations of a run: search, filters, order, and one page of rows at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import ExplanationList, shared
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.explanations.frames import ROW_HELP, row_frame
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import show_error, small, table
from neuron_signatures.dashboard.widgets.number_input import whole_number
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.table import SORTS, STATES, ExplanationRow, Is, SortBy, Wanted, parse
from neuron_signatures.views.explanations.texts import status_words

ROWS = 200
"""Rows of one page."""
_FIND_HELP = (
    'Every word must be in the text, in any case; "a phrase" in quotes. L3, L3N14 and L3N14- are a layer, a neuron and '
    "a pole, >0.5 and <0.2 bounds of the score. set:, status:, explainer:, author: and is: filter too, such as "
    "author:human or is:locked."
)
_SORT_NAMES: dict[SortBy, str] = {
    "neuron": "neuron", "score": "largest score", "votes": "most votes", "made": "newest", "set": "set",
    "status": "status", "text": "text",
}  # fmt: skip
_KEYS = {"sets": "Set", "statuses": "Status", "explainers": "Explainer", "authors": "Author"}
_STATE_HELP = "current: the one to read for its pole in its set. All that are selected must hold."
_AUTHORS = ("human", "model")


def read_list(ctx: PageContext) -> ExplanationList:
    """The list, which may be of older files if it takes long to read. Raises `BadRunError`."""
    update = bool(st.session_state.pop("exp_update", False))
    listed: ExplanationList = shared(ctx.run_dir).listed(ctx.explanations_key, update=update)
    return listed


def list_panel(ctx: PageContext, listed: ExplanationList) -> None:
    if shared(ctx.run_dir).needs_update(ctx.explanations_key):
        made = time.strftime("%H:%M:%S", time.localtime(listed.made_at))
        st.caption(f"This list was read at {made}; explanations were added since.")
        st.button("Read again", key="exp_read", on_click=lambda: st.session_state.update(exp_update=True))
    wanted = _wanted(listed)
    rows = listed.rows(wanted)
    n_pages = max(1, -(-len(rows) // ROWS))
    left, right = st.columns([4, 1.2], vertical_alignment="bottom")
    with right:
        page = _page(wanted, n_pages)
    shown = rows[ROWS * page : ROWS * (page + 1)]
    with left:
        _caption(len(listed.table.every), len(rows), page, len(shown))
    if shown:
        _table(ctx, shown)


def _wanted(listed: ExplanationList) -> Wanted:
    """The filters as they are set. An invalid search is ignored, with the reason."""
    with st.container(key="controls_explanations"):
        left, right, end = st.columns([4, 1.5, 1], vertical_alignment="bottom")
        left.text_input("Find", key="ui_exp_find", placeholder='"state capital"   L3   author:human   >0.5',
                        help=_FIND_HELP)  # fmt: skip
        sort = right.selectbox("Order", SORTS, key="ui_exp_sort", format_func=_SORT_NAMES.__getitem__)
        reverse = end.checkbox("Reversed", key="ui_exp_reverse")
        columns = st.columns(len(_KEYS) + 1)
        chosen = [_names(listed, kind, column) for kind, column in zip(_KEYS, columns, strict=False)]
        states = columns[-1].multiselect("State", STATES, key="ui_exp_states", placeholder="any", help=_STATE_HELP)
    try:
        typed = parse(str(st.session_state["ui_exp_find"] or ""))
    except UsageError as e:
        show_error(e)
        typed = Wanted()
    return _joined(typed, chosen, states, sort, reverse=reverse)


def _names(listed: ExplanationList, kind: str, column: st.delta_generator.DeltaGenerator) -> tuple[str, ...]:
    every = listed.names(kind)
    options = [*_AUTHORS, *(n for n in every if n not in _AUTHORS)] if kind == "authors" else every
    key = f"ui_exp_{kind}"
    st.session_state[key] = [n for n in st.session_state.get(key, []) if n in options]
    shown = status_words if kind == "statuses" else brief
    return tuple(column.multiselect(_KEYS[kind], options, key=key, placeholder="any", format_func=shown))


def _joined(
    typed: Wanted, chosen: Sequence[tuple[str, ...]], states: Sequence[Is], sort: SortBy, *, reverse: bool
) -> Wanted:
    """What is typed, where it says something, else what is chosen."""
    sets, statuses, explainers, authors = chosen
    return replace(
        typed, sets=typed.sets or sets, statuses=typed.statuses or statuses,
        explainers=typed.explainers or explainers, authors=typed.authors or authors,
        states=cast("tuple[Is, ...]", tuple(dict.fromkeys((*typed.states, *states)))), sort=sort, reverse=reverse,
    )  # fmt: skip


def _page(wanted: Wanted, n_pages: int) -> int:
    """The page to show, from 0; the first one after a change of the filters."""
    if st.session_state.get("exp_wanted") != wanted:
        st.session_state["exp_wanted"] = wanted
        st.session_state["exp_page"] = 1
    st.session_state["exp_page"] = min(int(st.session_state.get("exp_page") or 1), n_pages)
    if n_pages == 1:
        return 0
    return whole_number(f"Page (of {n_pages:,})", "exp_page", low=1, high=n_pages, default=1) - 1


def _caption(n_all: int, n_found: int, page: int, n_shown: int) -> None:
    matching = "" if n_found == n_all else f"{n_found:,} that match, of "
    where = f"rows {ROWS * page + 1:,} to {ROWS * page + n_shown:,}; " if n_shown < n_found else ""
    click = "; click a cell to open the neuron" if n_shown else ""
    small(f"{where}{matching}{count_of(n_all, 'explanation')}{click}")


def _table(ctx: PageContext, shown: Sequence[ExplanationRow]) -> None:
    neurons = tuple(r.at for r in shown)  # the callback lives as long as the session: it must not hold the rows
    stores = [ctx.run.stores(*at) for at in neurons]

    def open_neuron(row: int) -> None:
        if stores[row]:
            ctx.open_neuron(neurons[row])

    frame = row_frame(shown)
    table(
        frame, "explanations_table", help=ROW_HELP, height=560, widths={"explanation": 520}, on_row=open_neuron,
        formats={"score": "%.3f"} if "score" in frame else None,
    )  # fmt: skip
    if not all(stores):
        small("A neuron whose activations this run does not store cannot be opened.")
    with st.popover("Export"):
        downloads(frame, "explanations", "explanations_export")
