"""Ranking view: the rows of a ranked list, how well rankings agree with real ablations, and the neurons of a corpus."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from neuron_signatures.dashboard.data import cached_reads
from neuron_signatures.dashboard.data.cached_explanations import explained_in_words
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.ranking.corpus_panel import corpus_panel
from neuron_signatures.dashboard.ranking.figures import MOST_BARS, act_against_score, bars, by_layer
from neuron_signatures.dashboard.ranking.table import BAR, patterns_of, poles_of, rank_frame, rank_help, ranks_of
from neuron_signatures.dashboard.ranking.validation_panel import validation_panel
from neuron_signatures.dashboard.shell.list_walk import Filters, left_out_note, n_not_stored, passing
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.panels import heading, influence_command, stage_2
from neuron_signatures.dashboard.shell.sidebar import FIND, filters, query
from neuron_signatures.dashboard.shell.state import View
from neuron_signatures.dashboard.widgets.elements import chart, empty, facts, show_error, show_lines, small, table
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.views.filters import parse
from neuron_signatures.views.lists.ranked import RankedList
from neuron_signatures.views.lists.validated import unreadable_validations

_PARTS = ("Neurons", "Validation", "Corpus")
_FIND_HELP = (
    "Words are searched in all texts of a row, promoted tokens included. promotes:·Austin, suppresses:, fires:, "
    "class: and often: search one column; L3, L3N14 and >0.5 are a layer, a neuron and a bound of the score. "
    '"·Austin" in quotes matches the whole token, /^·New/ is a regular expression. All terms must match.'
)
_CHARTS = {"per layer": by_layer, "activation against score": act_against_score, "bars": bars}


def render(ctx: PageContext) -> None:
    if not ctx.has_prompts:
        corpus_panel(ctx)
        return
    st.session_state.setdefault("ui_rank_part", _PARTS[0])
    part = st.segmented_control("Part", _PARTS, key="ui_rank_part", label_visibility="collapsed", required=True)
    if part == _PARTS[1]:
        validation_panel(ctx)
    elif part == _PARTS[2]:
        corpus_panel(ctx)
    else:
        _neurons(ctx)


def _neurons(ctx: PageContext) -> None:
    faults = [*(r.problem for r in ctx.lists if r.problem), *unreadable_validations(ctx.run_dir)]
    show_lines("Some results of this run cannot be read.", faults)
    ref = ctx.listed or cached_reads.first_list(ctx.run_dir, ctx.results_key, ctx.lists)
    if ref is None:
        empty("No neurons have been ranked yet. To rank them by peaks (no model needed):", stage_2(ctx.run_dir))
        empty("To rank them by influence on a prediction:", influence_command(ctx.run_dir, ctx.prompt.probe_id))
        return
    ranked = cached_reads.ranked(ctx.run_dir, ctx.results_key, ref)
    checked = cached_reads.validated(ctx.run_dir, ctx.results_key, ctx.lists).get(ref.stem)
    heading(ref.title, checked.short() if checked else "not validated" if ref.kind == "influence" else "")
    show_lines("This result has warnings.", ranked.warnings)
    with st.expander("How this list was computed, and how far to trust it"):
        facts([*(checked.lines() if checked else ()), *ranked.meta])
    for note in ranked.described.notes:
        small(note)
    if ctx.listed is None:
        st.caption(
            "No list is selected on the left, so this one is shown: the best validated one of the newest target."
        )
    bounds = _bounds(selected=ctx.listed is not None)
    every = passing(ranked, replace(bounds, top_k=len(ranked)), ctx.run)
    rows = every[: bounds.top_k]
    # the sidebar counts the rows that are left out of a selected list
    left_out = "" if ctx.listed else left_out_note(n_not_stored(ranked, bounds, ctx.run))
    _row_caption(ranked, len(rows), len(every), left_out)
    if not len(rows):
        st.info("No row of a stored neuron passes the filters." if len(ranked) else "The list is empty.")
        return
    frame = rank_frame(ranked, rows, patterns_of(bounds.query), explained_in_words(ctx, poles_of(ranked, rows)))
    full = float(np.nanmax(np.abs(ranked.score), initial=0.0))
    table(frame, f"rank_{ref.stem}", help=rank_help(ranked), height=420, bars={BAR: full},
          widths={"explanation": 280},
          labels={ranked.score_name: "score", BAR: ""}, formats={"share": "percent"},
          on_row=lambda i: ctx.open_neuron(ranked.row(rows[i]).at, list=ref.stem, row=int(rows[i])))  # fmt: skip
    with st.popover("Export"):
        downloads(frame, ref.stem, "rank")
    if np.isfinite(ranked.score[rows]).any():
        _chart(ctx, ranked, rows)
    else:
        empty("No score is finite, so there is no chart and the order is not meaningful.")


def _bounds(*, selected: bool) -> Filters:
    """The search box, and the filters on the left for a selected list. An invalid query is ignored, with the reason."""
    st.text_input("Find", key=FIND, placeholder="Texas   promotes:·Austin   fires:is   class:say_x   L3   >0.5",
                  help=_FIND_HELP)  # fmt: skip
    try:
        parse(str(st.session_state[FIND] or ""))
    except UsageError as e:
        show_error(e)
    return filters() if selected else Filters(query=query())


def _row_caption(ranked: RankedList, n: int, n_passing: int, left_out: str) -> None:
    """The number of rows shown and passing the filters, where they were scored, and what is left out."""
    matching = f"{n_passing:,} that match, of {len(ranked):,}" if n_passing < len(ranked) else f"{n_passing:,}"
    parts = (f"{n:,} of {matching} rows", ranked.place_text(), f"score: {ranked.score_name}", left_out.rstrip("."))
    small("; ".join(filter(None, (*parts, "click a point or a cell to open the neuron"))))


def _chart(ctx: PageContext, ranked: RankedList, rows: np.ndarray) -> None:
    names = [n for n in _CHARTS if n != "activation against score" or ranked.ref.kind not in ("signatures", "contrast")]
    if st.session_state.get("ui_rank_chart") not in names:
        st.session_state["ui_rank_chart"] = names[0]
    name = st.segmented_control("Chart", names, key="ui_rank_chart", label_visibility="collapsed", required=True)
    if name == "bars" and len(rows) > MOST_BARS:
        st.caption(f"The first {MOST_BARS}.")
    figure = _CHARTS[name](ranks_of(ranked, rows), ranked.score_name)
    if name == "per layer":
        figure.update_xaxes(range=[min(ctx.run.layers) - 0.6, max(ctx.run.layers) + 0.6])
    chart(ctx, figure, f"rank_chart_{name}", opens=View.NEURON, list=ranked.ref.stem)
