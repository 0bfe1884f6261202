"""The scores of a neuron's explanations on its page: values beside their nulls, and simulated activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from neuron_signatures.dashboard.data.cached_explanations import shared as shared_explanations
from neuron_signatures.dashboard.data.cached_scores import own_line, shared
from neuron_signatures.dashboard.data.exports import downloads
from neuron_signatures.dashboard.scores.aligned_html import key_html, windows_html
from neuron_signatures.dashboard.scores.figures import forest
from neuron_signatures.dashboard.scores.frames import score_frame
from neuron_signatures.dashboard.scores.table_html import FIGURE_KEY, score_tables
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import chart, empty, show_error, show_lines, small
from neuron_signatures.dashboard.widgets.words import count_of
from neuron_signatures.runs.errors import ProjectError
from neuron_signatures.runs.records.names import POLES, NeuronPole
from neuron_signatures.runs.scores.names import SIMULATORS
from neuron_signatures.runs.tokens import brief
from neuron_signatures.views.explanations.reading import has_explanations
from neuron_signatures.views.explanations.shown import NeuronExplanations
from neuron_signatures.views.explanations.texts import status_words, text_or_why
from neuron_signatures.views.scores.commands import score_command
from neuron_signatures.views.scores.reading import has_scores
from neuron_signatures.views.scores.shown import ShownScore
from neuron_signatures.views.scores.texts import score_sentence

_TEXT = 160
"""Characters of an explanation in the selector."""


class Scored(NamedTuple):
    """One explanation with all its scores, the headlines first."""

    explanation_id: str
    at: NeuronPole
    text: str
    """On one line, escaped; of a failed explanation why, in brackets."""
    set: str
    is_current: bool
    scores: tuple[ShownScore, ...]

    @property
    def headlines(self) -> list[ShownScore]:
        return [s for s in self.scores if s.is_headline and s.is_score and not s.failed]

    @property
    def simulated(self) -> list[ShownScore]:
        """One for each scored set whose scorer predicts activations, also on `select`."""
        return [s for s in self.scores if s.is_headline and not s.failed and s.row.scorer in SIMULATORS]


def scores_panel(ctx: PageContext) -> None:
    """Draw the scores of the selected neuron's explanations, or how to make some; nothing without explanations."""
    if not has_scores(ctx.run_dir):
        if has_explanations(ctx.run_dir):
            with st.expander("Scores: none in this run"):
                empty("No explanation of this run has been scored. This command scores look-up rules, without a "
                      "language model:", score_command(ctx.run_dir))  # fmt: skip
        return
    try:
        found = scored_of(ctx)
        problems = shared(ctx.run_dir).problems(ctx.scores_key)
    except (ProjectError, OSError) as e:
        show_error(e)
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("#### Scores of the explanations", help=_HELP, width="content")
        if found:
            with st.popover("Export"):
                downloads(score_frame([s for e in found for s in e.scores]), f"scores_{ctx.at.label}", "neuron_scores")
    show_lines("Some scores of this run cannot be read.", problems)
    if not found:
        st.caption("No explanation of this neuron has been scored.")
        return
    small(FIGURE_KEY)
    first = [s for s in found if s.is_current]
    for scored in first or found[:1]:
        _explanation(ctx, scored)
    _windows(ctx, found)
    if rest := [s for s in found if s not in (first or found[:1])]:
        with st.expander(f"Scores of {count_of(len(rest), 'other explanation')}"):
            for scored in rest:
                _explanation(ctx, scored)


def scored_of(ctx: PageContext) -> list[Scored]:
    """The explanations of the selected neuron with scores, + first, current ones first."""
    rows = [s for p in POLES for s in shared(ctx.run_dir).rows(ctx.scores_key, NeuronPole(*ctx.at, p))]
    explained = shared_explanations(ctx.run_dir).of(ctx.explanations_key, ctx.at) if rows else None
    return with_texts(rows, explained)


def with_texts(rows: Sequence[ShownScore], explained: NeuronExplanations | None) -> list[Scored]:
    """Scores by explanation, with its text."""
    texts = {v.entry.id: v for v in explained.shown} if explained is not None else {}
    groups: dict[str, list[ShownScore]] = {}
    for s in rows:
        groups.setdefault(s.row.explanation_id, []).append(s)
    found = []
    for id_, some in groups.items():
        view, row = texts.get(id_), some[0].row
        ordered = sorted(some, key=lambda s: (s.failed, not s.is_score, not s.is_headline))
        text = "(its text is not there any more)" if view is None else text_or_why(view)
        found.append(Scored(id_, row.at, text, row.set, row.current, tuple(ordered)))
    return sorted(found, key=lambda s: (POLES.index(s.at.pole), not s.is_current))


def score_lines(ctx: PageContext, at: NeuronPole, explanation_id: str) -> list[str]:
    """The first score of each scorer of one explanation, or that it failed, one line each, for its card."""
    if not has_scores(ctx.run_dir):
        return []
    try:
        rows = shared(ctx.run_dir).rows(ctx.scores_key, at)
    except (ProjectError, OSError):  # the panel below reports it
        return []
    own = [s for s in rows if s.row.explanation_id == explanation_id and s.is_headline and s.is_score]
    return [f"{score_sentence(s.row)} ({brief(s.scorer)}{'' if s.is_finished else ', not finished'})" for s in own]


def _explanation(ctx: PageContext, scored: Scored) -> None:
    small(f"{scored.at.label} · {scored.set} · {scored.text}")
    for s in scored.scores:
        if s.failed:
            small(f"{brief(s.scorer)} could not score it: {status_words(s.row.status)}.")
    good = [s for s in scored.scores if not s.failed]
    if not good:
        return
    shown = [s for s in scored.headlines if s.row.value is not None]
    left, right = st.columns([1, 1.9]) if shown else (None, st.container())
    key = f"{scored.at.label}_{scored.explanation_id}"
    if left is not None:
        with left:
            chart(ctx, forest(shown), f"score_forest_{key}")
    with right:
        st.html(score_tables(good))


def _windows(ctx: PageContext, found: Sequence[Scored]) -> None:
    """True above simulated activations, of one explanation and scorer at a time."""
    options = [(scored, s) for scored in found for s in scored.simulated]
    if not options:
        return
    st.markdown("##### True and simulated activations", help=_WINDOWS_HELP)
    names = {f"{s.name} {scored.explanation_id}": (scored, s) for scored, s in options}
    chosen = next(iter(names))
    if len(names) > 1:
        chosen = st.selectbox(
            "Explanation and scorer", list(names), format_func=lambda k: _option(*names[k]),
            key=f"score_windows_{ctx.at.label}",
        )  # fmt: skip
    scored, s = names[chosen]
    try:
        with st.spinner("Reading scores", show_time=True):
            own = own_line(ctx, s.name, scored.explanation_id)
    except (ProjectError, OSError) as e:
        show_error(e)
        return
    if own is None or not own.windows:
        st.caption("No window is stored.")
        return
    st.html(key_html())
    st.html(windows_html(own.windows))
    small(f"{score_sentence(s.row)}. Click a text to open or close the whole window.")


def _option(scored: Scored, s: ShownScore) -> str:
    return f"{scored.at.label} · {brief(s.scorer)} · {s.row.set} · {scored.text[:_TEXT]}"


_HELP = (
    "How well a scorer predicts the neuron from the explanation. A score is worth what it has above its null: what "
    "explanations of other neurons score on neurons of this layer. Empty cells are undefined, with the reason."
)
_WINDOWS_HELP = (
    "The same tokens twice: what the neuron did above what was predicted from the explanation. The two rows have "
    "different scales."
)
