"""The hits of a search: how many, what is to be known of them, and a table that opens neurons."""

from __future__ import annotations

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import explained_in_words
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.search.frames import HELP, text_frame, token_frame
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import small, table
from neuron_signatures.views.search_run.asked import ORDERS, SCORE_HELP, SCORES, Answer, Asked, count_text, time_text
from neuron_signatures.views.search_run.rows import HitRow, hit_row


def show_results(ctx: PageContext, asked: Asked, found: Answer) -> None:
    rows = [hit_row(hit) for hit in found.hits]
    click = "; click a cell to open the neuron" if rows else ""
    small(f"{count_text(asked, len(rows))} in {time_text(found.seconds)}, ordered by {ORDERS[asked.way]}{click}")
    for note in found.notes:
        small(note)
    if rows:
        _table(ctx, asked, found, rows)


def _table(ctx: PageContext, asked: Asked, found: Answer, rows: list[HitRow]) -> None:
    places = tuple((r.at, r.kind == "exemplar") for r in rows)  # the callback must not hold the rows
    stores = [ctx.run.stores(*at) for at, _ in places]

    def open_neuron(row: int) -> None:
        at, is_exemplar = places[row]
        if stores[row] and is_exemplar:
            ctx.open_on_corpus(at)
        elif stores[row]:
            ctx.open_neuron(at)

    score = SCORES[asked.way]
    if asked.of_tokens:
        with st.spinner("Reading explanations"):
            explained = explained_in_words(ctx, [hit.at for hit in found.hits])
        frame = token_frame(rows, score, explained)
    else:
        frame = text_frame(rows, score, asked.query if asked.way == "words" else "")
    table(
        frame, "search_hits", help={**HELP, score: SCORE_HELP[asked.way]}, at_most=640, on_row=open_neuron,
        widths={"neuron": 92, "found in": 152, "text": 462, "explanation": 520},
        formats={score: "%.3f", "z": "%+.2f", "activation": "%+.3g"},
    )  # fmt: skip
    if not all(stores):
        small("A neuron whose activations this run does not store cannot be opened.")
    with st.popover("Export"):
        downloads(frame, "search", "search_export")
