"""The scored sets with the summaries of their first scores, and the choice of one set and score."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from neuron_signatures.dashboard.data.cached_scores import shared
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.scores.frames import FORMATS, SET_HELP, SetLine, set_frame
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import show_lines, small, table
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.scores.names import SIMULATORS
from neuron_signatures.runs.scores.reader import ScoredSet
from neuron_signatures.runs.tokens import brief, escape

_SET, _SCORE = "scores_set", "scores_score"


class Chosen(NamedTuple):
    """One score of one scored set."""

    info: ScoredSet
    score: str


def sets_panel(ctx: PageContext) -> list[ScoredSet]:
    """A row per scored set that can be read; a click shows it below. Returns these sets."""
    lines = []
    for info in shared(ctx.run_dir).sets(ctx.scores_key):
        with contextlib.suppress(ProjectError, OSError):  # it is a problem now
            lines.append(line_of(ctx, info))
    sets = [line.info for line in lines]
    if not sets:
        return []
    frame, names = set_frame(lines), [info.name for info in sets]
    table(frame, "score_sets", help=SET_HELP, on_row=lambda i: ctx.open_scores(names[i]),
          formats={c: how for c, how in FORMATS.items() if c in frame})  # fmt: skip
    small("The first score of each scorer over the current explanations. Click a cell to show the set below.")
    with st.popover("Export"):
        downloads(frame, "scores_summary", "scores_summary_export")
    return sets


def line_of(ctx: PageContext, info: ScoredSet) -> SetLine:
    """A scored set with the summary of its first score, which values on `select` do not have."""
    score = info.score_names[0] if info.score_names else ""
    summary = shared(ctx.run_dir).summary(ctx.scores_key, info.name, score) if info.split == "report" else None
    return SetLine(info, summary, score)


def choose(ctx: PageContext, sets: Sequence[ScoredSet]) -> Chosen | None:
    """The set and score of the address, which the two boxes change. None if the set has no score."""
    found = chosen_of(sets, ctx.selection.scored, ctx.selection.score)
    if ctx.selection.scored and (found is None or found.info.name != ctx.selection.scored):
        show_lines(
            "The scored set of this page's address does not exist or cannot be read.", [ctx.selection.scored[:100]]
        )
    if found is None:
        return None
    names = [info.name for info in sets]
    st.session_state[_SET] = found.info.name
    st.selectbox(
        "Scored set", names, key=_SET, format_func=escape, on_change=lambda: ctx.open_scores(st.session_state[_SET])
    )
    if not found.info.score_names:
        return None
    st.session_state[_SCORE] = found.score
    st.selectbox(
        "Score", list(found.info.score_names), key=_SCORE, format_func=brief,
        on_change=lambda: ctx.open_scores(found.info.name, st.session_state[_SCORE]),
    )  # fmt: skip
    return found


def chosen_of(sets: Sequence[ScoredSet], name: str, score: str) -> Chosen | None:
    """The set of this name, else the first finished one of a simulator; its score of this name, else its first."""
    first = min(sets, key=lambda i: (i.split != "report", not i.finished, i.scorer not in SIMULATORS), default=None)
    info = next((i for i in sets if i.name == name), first)
    if info is None:
        return None
    return Chosen(info, score if score in info.score_names else next(iter(info.score_names), ""))
